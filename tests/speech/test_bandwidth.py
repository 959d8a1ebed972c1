"""Up to which frequency there is speech: of sounds where it is known, and of real speech through a narrow channel."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_parts import FRAME, found_in, voice, white, windows

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.bandwidth import NARROW_BAND, bandwidth
from voiceauthd.speech.segmenter import Segmenter

DEV = Path(__file__).resolve().parents[3] / "shared" / "speech" / "dev"
OF_EACH_SOURCE = 4
TELEPHONE = 8000


def of(samples: Samples, length: int = FRAME) -> float | None:
    """Of sound that is all speech."""
    return bandwidth([samples[at : at + length] for at in range(0, len(samples) - length + 1, length)])


def through(samples: Samples, rate: int, gain_db: float = 0.0) -> Samples:
    """Through a channel with another sampling rate, and 16 bit."""
    narrow = soxr.resample(soxr.resample(samples, RATE, rate), rate, RATE)[: len(samples)]
    return (np.round(narrow * 10.0 ** (gain_db / 20.0) * 2**15) / 2**15).astype(np.float32)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SpeechConfig())


@pytest.mark.parametrize("length", [FRAME, 3 * FRAME // 2])
@pytest.mark.parametrize("dbfs", [-6.0, -20.0, -60.0])
def test_white_noise_reaches_up_to_half_the_sampling_rate(dbfs: float, length: int) -> None:
    assert of(white(2.0, dbfs), length) == RATE / 2


@pytest.mark.parametrize("length", [FRAME, 3 * FRAME // 2])
@settings(max_examples=20, deadline=None)
@given(edge=st.integers(600, 7800))
def test_noise_that_ends_at_a_frequency_has_that_bandwidth(length: int, edge: int) -> None:
    spectrum = np.fft.rfft(white(2.0, -20.0))
    spectrum[2 * edge :] = 0.0  # bins of half a hertz
    found = of(np.fft.irfft(spectrum).astype(np.float32), length)
    assert found is not None
    assert edge - 50 <= found <= edge + 400, "the next whole band, and what the taper smears"


@pytest.mark.parametrize(
    "samples", [np.zeros(RATE, np.float32), np.full(RATE, 0.3, np.float32), white(1.0, -105.0)], ids=str
)
def test_silence_has_no_bandwidth(samples: Samples) -> None:
    assert of(samples) is None
    assert bandwidth([]) is None


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_numbers_have_no_bandwidth(value: float) -> None:
    sound = white(1.0, -20.0)
    sound[777] = value
    assert of(sound) is None


def test_neither_hum_nor_direct_current_hides_the_speech() -> None:
    hum = 0.3 * np.sin(2.0 * np.pi * 50.0 * np.arange(2 * RATE) / RATE) + 0.1
    assert of((white(2.0, -50.0) + hum).astype(np.float32)) == RATE / 2


@pytest.mark.parametrize("gain_db", [0.0, -15.0, -30.0])
def test_a_voice_is_narrow_through_a_telephone_however_quiet_it_is(segmenter: Segmenter, gain_db: float) -> None:
    sound = voice("ralph-1")
    wide = windows(found_in(sound, segmenter))
    narrow = windows(found_in(through(sound, TELEPHONE, gain_db), segmenter))
    assert len(wide) >= 2
    assert len(narrow) >= 2
    assert all(window.quality.bandwidth is not None and window.quality.bandwidth > 7000 for window in wide)
    assert all(window.quality.bandwidth is not None and 3000 <= window.quality.bandwidth <= 4000 for window in narrow)


def some_of_each_source() -> list[Path]:
    chosen: dict[str, list[Path]] = {}
    with (DEV / "manifest.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            chosen.setdefault(row["source"], []).append(DEV / row["path"])
    return [path for paths in chosen.values() for path in paths[:: len(paths) // OF_EACH_SOURCE][:OF_EACH_SOURCE]]


@pytest.mark.skipif(not DEV.is_dir(), reason="no recorded speech: ../shared/speech is not there")
def test_real_speech_is_wide_and_narrow_through_a_telephone(segmenter: Segmenter) -> None:
    wide, narrow, both = 0, 0, 0
    for path in some_of_each_source():
        sound = read_recording(path)[: 5 * RATE]
        for channel in (RATE, TELEPHONE):
            for window in windows(found_in(through(sound, channel), segmenter)):
                assert window.quality.bandwidth is not None
                is_narrow = window.quality.bandwidth < NARROW_BAND
                both += 1
                wide += channel == RATE and not is_narrow
                narrow += channel == TELEPHONE and is_narrow
    assert both > 80
    assert wide + narrow >= 0.98 * both


def test_noise_around_the_speech_does_not_count(segmenter: Segmenter) -> None:
    """The speech is narrow; the noise before and behind it is not."""
    speech = through(voice("ralph-1"), TELEPHONE)
    sound = np.concatenate((white(1.0, -35.0), speech, white(1.0, -35.0)))
    found = windows(found_in(sound, segmenter))
    assert found
    assert all(window.quality.bandwidth is not None and window.quality.bandwidth < NARROW_BAND for window in found)
