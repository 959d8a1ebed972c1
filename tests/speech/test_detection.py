"""What the real detectors call speech, and what not."""

from __future__ import annotations

import csv
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from speech_parts import CLOCK, as_blocks, blocks_of, events_in, unconfirmed, utterances, voice, white, windows

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.errors import ModelError
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.vad import SILERO_SAMPLES, Confirmation, FirstGate

NOISE = Path(__file__).resolve().parents[3] / "shared" / "speech" / "noise"
RECORDINGS_PER_CATEGORY = 2


def tone(*hertz: float, seconds: float = 5.0, dbfs: float = -20.0) -> Samples:
    """Return a sum of sines of equal strength, at `dbfs` together."""
    time = np.arange(round(seconds * RATE)) / RATE
    mixed = sum(np.sin(2.0 * np.pi * each * time) for each in hertz)
    return (mixed * math.sqrt(2.0 / len(hertz)) * 10.0 ** (dbfs / 20.0)).astype(np.float32)


def clicks(seconds: float = 6.0, a_second: int = 8) -> Samples:
    """Return the sound of a fast typist: decaying bursts of noise of 5 ms."""
    sound = white(seconds, -60.0)
    burst = white(0.02, -6.0, seed=1) * np.exp(-np.arange(round(0.02 * RATE)) / (0.003 * RATE)).astype(np.float32)
    for at in range(0, len(sound) - len(burst), RATE // a_second):
        sound[at : at + len(burst)] += burst
    return sound


NOT_SPEECH = {
    "white noise": white(6.0, -20.0),
    "loud white noise": white(6.0, -6.0),
    "a low tone": tone(150.0),
    "a tone of 1 kHz": tone(1000.0),
    "a chord": tone(220.0, 277.2, 329.6, 440.0),
    "mains hum": tone(50.0, 100.0, 150.0, dbfs=-30.0),
    "key clicks": clicks(),
    "digital silence": np.zeros(5 * RATE, np.float32),
    "a quiet room": white(5.0, -65.0),
    "full scale square wave": np.sign(tone(200.0)),
    "direct current": np.full(5 * RATE, 0.5, np.float32),
}


@pytest.fixture(scope="module")
def confirmed() -> Segmenter:
    return Segmenter(SpeechConfig())


@pytest.mark.parametrize("sound", NOT_SPEECH.values(), ids=NOT_SPEECH.keys())
def test_sound_that_is_not_speech_gives_no_window(confirmed: Segmenter, sound: Samples) -> None:
    assert windows(events_in(sound, confirmed)) == []


def test_without_confirmation_noise_counts_as_speech() -> None:
    for name in ("white noise", "a tone of 1 kHz"):
        found = windows(events_in(NOT_SPEECH[name], Segmenter(unconfirmed())))
        assert sum(window.new_speech for window in found) > 3.0


def recorded_noise() -> list[Path]:
    """Return some recordings of each category, without speech in them."""
    chosen: dict[str, list[Path]] = {}
    with (NOISE / "manifest.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["contains_speech"] == "no":
                chosen.setdefault(row["category"], []).append(NOISE / row["path"])
    return [path for paths in chosen.values() for path in paths[:RECORDINGS_PER_CATEGORY]]


@pytest.mark.skipif(not NOISE.is_dir(), reason="no recorded noise: ../shared/speech is missing")
def test_recorded_noise_gives_no_window(confirmed: Segmenter) -> None:
    recordings = recorded_noise()
    assert len(recordings) >= 20
    mistaken = [path.name for path in recordings if windows(events_in(read_recording(path)[: 4 * RATE], confirmed))]
    assert mistaken == []


@pytest.mark.parametrize("frame_ms", [20, 30])
@pytest.mark.parametrize("confirm", [True, False])
def test_speech_is_found_where_it_is(frame_ms: int, confirm: bool) -> None:
    one, two = voice("turn-01-ralph"), voice("turn-02-susan")
    quiet = white(1.5, -70.0, seed=5)
    sound = np.concatenate((quiet, one, quiet, two, quiet))
    segmenter = Segmenter(SpeechConfig(frame_ms=frame_ms, confirm=confirm))
    # Without the confirmation, the first tenth of a second of any sound counts as speech.
    found = [each for each in utterances(events_in(sound, segmenter)) if each[1] or confirm]
    # Each recording begins with half a second of quiet.
    places = [(1.5, 1.5 + len(one) / RATE), (3.0 + len(one) / RATE, 3.0 + (len(one) + len(two)) / RATE)]
    assert len(found) == 2
    for (begin, end), (began, inside, ended) in zip(places, found, strict=True):
        assert begin + 0.2 < began.start / RATE < begin + 0.8
        assert end - 0.7 < ended.start / RATE < end + 0.2
        assert len(inside) >= 2
        assert len(inside[0].samples) == round(1.5 * RATE / (frame_ms * 16)) * frame_ms * 16
        assert inside[0].start == began.start
        assert ended.net_speech > 0.6 * (end - begin - 0.5)


def test_speech_louder_than_the_noise_around_it_is_found(confirmed: Segmenter) -> None:
    speech = voice("ralph-1")
    found = windows(events_in(speech + white(len(speech) / RATE, -45.0, seed=3), confirmed))
    assert sum(window.new_speech for window in found) > 3.0


# Samples that are not finite


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("value", "confirm"),
    [(math.nan, True), (math.nan, False), (math.inf, True), (-math.inf, False), (1e30, True), (1e30, False)],
)
def test_a_sample_that_is_not_finite_ends_the_utterance_and_reaches_no_window(value: float, confirm: bool) -> None:
    segmenter = Segmenter(SpeechConfig(confirm=confirm))
    samples = np.concatenate((white(1.0, -70.0), voice("ralph-1"), white(1.0, -70.0), voice("susan-1")))
    at = 4 * RATE + 77  # in the middle of the first voice
    samples[at] = value
    found = [each for block in blocks_of(samples, 320) for each in segmenter.push(block)]
    found += segmenter.flush(CLOCK)
    before = [window for window in windows(found) if window.start <= at]
    after = [window for window in windows(found) if window.start > at]
    assert before
    assert all(window.end <= at for window in before)
    assert any(ended.start <= at < again.start for (_, _, ended), (again, _, _) in pairwise(utterances(found)))
    assert sum(window.new_speech for window in after) > 4.0, "the next utterance is found as usual"
    for window in (*before, *after):
        assert np.isfinite(window.samples).all()
        assert math.isfinite(window.quality.level_dbfs)
        assert window.quality.snr_db is not None
        assert 20.0 < window.quality.snr_db < 70.0


def test_samples_that_are_not_finite_leave_the_noise_level_unchanged(confirmed: Segmenter) -> None:
    confirmed.restart()
    for part in (white(1.0, -60.0), np.full(RATE, math.nan, np.float32)):
        for block in blocks_of(part, 320):
            assert confirmed.push(block) == []
    speech = voice("ralph-2")
    found = windows(confirmed.push(as_blocks(speech[RATE // 4 :])[0]))
    assert found
    for window in found:
        assert window.quality.snr_db is not None
        assert 20.0 < window.quality.snr_db < 60.0


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e18])
def test_the_confirmation_recovers_from_samples_that_are_not_finite(value: float) -> None:
    confirmation = Confirmation(0.5)
    assert not confirmation.speech(np.full(2 * SILERO_SAMPLES, value, np.float32))
    speech = voice("ralph-1")
    chunks = range(0, len(speech) - SILERO_SAMPLES, SILERO_SAMPLES)
    assert sum(confirmation.speech(speech[at : at + SILERO_SAMPLES]) for at in chunks) > len(chunks) / 2


# The detectors themselves


@pytest.mark.parametrize(("module", "config"), [("webrtcvad", unconfirmed()), ("silero_vad", SpeechConfig())])
def test_a_detector_that_does_not_load_is_an_error(
    monkeypatch: pytest.MonkeyPatch, module: str, config: SpeechConfig
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match="does not load") as caught:
        Segmenter(config)
    assert caught.value.reason == "vad_unavailable"


def test_full_scale_does_not_wrap_around_in_the_first_gate() -> None:
    gate = FirstGate(2)
    speech = voice("ralph-1")
    loud = np.clip(speech * (1.5 / np.max(np.abs(speech))), -1.5, 1.5)  # the resampler may overshoot
    chunks = range(0, len(speech) - 320, 320)
    assert sum(gate.voiced(loud[at : at + 320]) for at in chunks) > len(chunks) / 2
