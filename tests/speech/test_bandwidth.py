"""The bandwidth of speech: of noise with a known bandwidth, and of real speech through a narrow-band channel."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_parts import FRAME, events_in, voice, white, windows

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.bandwidth import NARROW_BAND_HZ, bandwidth
from voiceauthd.speech.segmenter import Segmenter

DEV = Path(__file__).resolve().parents[3] / "shared" / "speech" / "dev"
RECORDINGS_PER_SOURCE = 4
TELEPHONE_RATE = 8000


def bandwidth_of(samples: Samples, length: int = FRAME) -> float | None:
    """Return the bandwidth of `samples`, taken as speech, in frames of `length` samples."""
    return bandwidth([samples[at : at + length] for at in range(0, len(samples) - length + 1, length)])


def through(samples: Samples, rate: int, gain_db: float = 0.0) -> Samples:
    """Return `samples` after a channel with another sampling rate, and 16 bit."""
    narrow = soxr.resample(soxr.resample(samples, RATE, rate), rate, RATE)[: len(samples)]
    return (np.round(narrow * 10.0 ** (gain_db / 20.0) * 2**15) / 2**15).astype(np.float32)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SpeechConfig())


@pytest.mark.parametrize("length", [FRAME, 3 * FRAME // 2])
def test_white_noise_reaches_up_to_half_the_sampling_rate(length: int) -> None:
    for dbfs in (-6.0, -20.0, -60.0):
        assert bandwidth_of(white(2.0, dbfs), length) == RATE / 2


@pytest.mark.parametrize("length", [FRAME, 3 * FRAME // 2])
@settings(max_examples=20, deadline=None)
@given(edge=st.integers(600, 7800))
def test_noise_that_ends_at_a_frequency_has_that_bandwidth(length: int, edge: int) -> None:
    spectrum = np.fft.rfft(white(2.0, -20.0))
    spectrum[2 * edge :] = 0.0  # bins of half a hertz
    found = bandwidth_of(np.fft.irfft(spectrum).astype(np.float32), length)
    assert found is not None
    assert edge - 50 <= found <= edge + 400, "up to the next whole band, and the leakage of the taper"


def test_silence_has_no_bandwidth() -> None:
    for samples in (np.zeros(RATE, np.float32), np.full(RATE, 0.3, np.float32), white(1.0, -105.0)):
        assert bandwidth_of(samples) is None
    assert bandwidth([]) is None


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_samples_that_are_not_finite_have_no_bandwidth() -> None:
    for value in (math.nan, math.inf, -math.inf):
        samples = white(1.0, -20.0)
        samples[777] = value
        assert bandwidth_of(samples) is None


def test_neither_hum_nor_direct_current_hides_the_speech() -> None:
    hum = 0.3 * np.sin(2.0 * np.pi * 50.0 * np.arange(2 * RATE) / RATE) + 0.1
    assert bandwidth_of((white(2.0, -50.0) + hum).astype(np.float32)) == RATE / 2


def bandwidths(samples: Samples, segmenter: Segmenter) -> list[float]:
    """Return the bandwidth of each window in `samples`."""
    found = [window.quality.bandwidth for window in windows(events_in(samples, segmenter))]
    assert len(found) >= 2
    assert None not in found
    return [each for each in found if each is not None]


def test_a_voice_through_a_telephone_is_narrow_however_quiet_it_is(segmenter: Segmenter) -> None:
    speech = voice("ralph-1")
    assert min(bandwidths(speech, segmenter)) > 7000
    for gain_db in (0.0, -15.0, -30.0):
        narrow = bandwidths(through(speech, TELEPHONE_RATE, gain_db), segmenter)
        assert all(3000 <= each <= 4000 for each in narrow)


def some_of_each_source() -> list[Path]:
    chosen: dict[str, list[Path]] = {}
    with (DEV / "manifest.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            chosen.setdefault(row["source"], []).append(DEV / row["path"])
    count = RECORDINGS_PER_SOURCE
    return [path for paths in chosen.values() for path in paths[:: len(paths) // count][:count]]


@pytest.mark.skipif(not DEV.is_dir(), reason="no recorded speech: ../shared/speech is missing")
def test_real_speech_is_wide_and_narrow_through_a_telephone(segmenter: Segmenter) -> None:
    correct, total = 0, 0
    for path in some_of_each_source():
        speech = read_recording(path)[: 5 * RATE]
        for channel in (RATE, TELEPHONE_RATE):
            for window in windows(events_in(through(speech, channel), segmenter)):
                assert window.quality.bandwidth is not None
                total += 1
                correct += (window.quality.bandwidth < NARROW_BAND_HZ) == (channel == TELEPHONE_RATE)
    assert total > 80
    assert correct >= 0.98 * total


def test_wide_band_noise_around_narrow_band_speech_does_not_count(segmenter: Segmenter) -> None:
    speech = through(voice("ralph-1"), TELEPHONE_RATE)
    samples = np.concatenate((white(1.0, -35.0), speech, white(1.0, -35.0)))
    assert max(bandwidths(samples, segmenter)) < NARROW_BAND_HZ
