"""SNR, clipping and level, on audio for which the right values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_parts import FRAME, events_in, voice, white, windows

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.quality import NOISE_FLOOR, Frame, NoiseMeter, measure_quality, power
from voiceauthd.speech.segmenter import Segmenter


def as_frames(samples: Samples, speech: bool = True) -> list[Frame]:
    pieces = [(at, samples[at : at + FRAME]) for at in range(0, len(samples) - FRAME + 1, FRAME)]
    return [Frame(piece, power(piece), speech, at) for at, piece in pieces]


def decibels(ratio: float) -> float:
    return 10.0 * math.log10(ratio)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SpeechConfig())


def test_the_snr_of_speech_in_known_noise_is_right_within_two_decibels(segmenter: Segmenter) -> None:
    quiet = np.zeros(2 * RATE, np.float32)
    speech = np.concatenate((quiet, voice("ralph-1", "ralph-2"), quiet))
    clean = windows(events_in(speech + white(len(speech) / RATE, -75.0), segmenter))
    speech_power = float(np.mean([10.0 ** (window.quality.level_dbfs / 10.0) for window in clean]))
    for snr in (6.0, 10.0, 20.0, 30.0):
        noise = white(len(speech) / RATE, decibels(speech_power) - snr, seed=2)
        noisy = windows(events_in(speech + noise, segmenter))
        assert len(noisy) >= 4
        measured = [window.quality.snr_db for window in noisy]
        assert None not in measured
        assert np.mean([each for each in measured if each is not None]) == pytest.approx(snr, abs=2.0)


def test_the_level_is_that_of_the_speech_alone() -> None:
    for dbfs in (-60.0, -30.0, -12.0):
        loud, quiet = white(1.0, dbfs), white(1.0, -80.0)
        frames = as_frames(loud) + as_frames(quiet, speech=False)
        quality = measure_quality(np.concatenate((loud, quiet)), frames, None)
        assert quality.level_dbfs == pytest.approx(dbfs, abs=0.2)
        assert quality.net_speech == 1.0


def test_a_full_scale_square_wave_has_level_zero() -> None:
    square = np.tile(np.repeat(np.float32([1.0, -1.0]), 40), RATE // 80)
    assert measure_quality(square, as_frames(square), None).level_dbfs == pytest.approx(0.0, abs=1e-6)


def test_clipping_is_the_share_of_samples_at_full_scale() -> None:
    for share in (0.0, 0.01, 0.25, 1.0):
        sound = white(1.0, -30.0)
        clipped = round(share * len(sound))
        sound[:clipped] = np.where(np.arange(clipped) % 2, 1.0, -32767 / 32768)  # both ends of 16 bit
        assert measure_quality(sound, as_frames(sound), None).clipping == pytest.approx(share)


def test_loud_speech_just_below_full_scale_is_not_clipped() -> None:
    sound = np.full(RATE, 0.99, np.float32)
    assert measure_quality(sound, as_frames(sound), None).clipping == 0.0


def test_without_noise_or_without_speech_there_is_no_snr() -> None:
    sound = white(1.0, -20.0)
    assert measure_quality(sound, as_frames(sound), None).snr_db is None
    assert measure_quality(sound, as_frames(sound, speech=False), 1e-6).snr_db is None
    assert NoiseMeter(FRAME).power is None


def test_digital_silence_gives_finite_numbers() -> None:
    meter = NoiseMeter(FRAME)
    silence = np.zeros(RATE, np.float32)
    for frame in as_frames(silence, speech=False):
        meter.add(frame)
    assert meter.power == 0.0
    speech = measure_quality(white(1.0, -20.0), as_frames(white(1.0, -20.0)), meter.power)
    assert speech.snr_db == pytest.approx(-20.0 - decibels(NOISE_FLOOR), abs=0.5)
    silent = measure_quality(silence, as_frames(silence), meter.power)
    assert silent.level_dbfs == pytest.approx(decibels(NOISE_FLOOR))
    assert silent.snr_db is not None
    assert math.isfinite(silent.snr_db)


def test_speech_between_digital_silence_has_a_finite_snr(segmenter: Segmenter) -> None:
    silence = np.zeros(2 * RATE, np.float32)
    found = windows(events_in(np.concatenate((silence, voice("susan-1") * np.float32(0.5), silence)), segmenter))
    assert found
    for window in found:
        assert window.quality.snr_db is not None
        assert 20.0 < window.quality.snr_db < 90.0


def test_direct_current_is_neither_speech_nor_noise() -> None:
    sound = white(1.0, -50.0)
    meters = [NoiseMeter(FRAME), NoiseMeter(FRAME)]
    for meter, offset in zip(meters, (0.0, 0.05), strict=True):
        for frame in as_frames(sound + np.float32(offset), speech=False):
            meter.add(frame)
    assert meters[0].power is not None
    assert meters[1].power is not None
    assert decibels(meters[1].power / meters[0].power) == pytest.approx(0.0, abs=0.1)


def test_the_noise_level_follows_a_fan_and_ignores_a_door() -> None:
    meter = NoiseMeter(FRAME)

    def level_after(seconds: float, dbfs: float) -> float:
        for frame in as_frames(white(seconds, dbfs), speech=False):
            meter.add(frame)
        assert meter.power is not None
        return decibels(meter.power)

    assert level_after(3.0, -60.0) == pytest.approx(-60.0, abs=1.0)
    assert level_after(0.2, -10.0) == pytest.approx(-60.0, abs=1.0), "a door slams"
    assert level_after(3.0, -40.0) == pytest.approx(-40.0, abs=1.0), "a fan starts"


@pytest.mark.filterwarnings("ignore:overflow")
@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True, width=32), st.integers(0, FRAME - 1))
def test_a_sample_that_is_not_finite_gives_no_finite_power_and_no_noise(value: float, at: int) -> None:
    samples = white(FRAME / RATE, -40.0)
    samples[at] = value
    meter = NoiseMeter(FRAME)
    meter.add(Frame(white(FRAME / RATE, -40.0), 1e-4, speech=False, start=0))
    meter.add(Frame(samples, power(samples), speech=False, start=FRAME))
    assert meter.power is not None
    assert math.isfinite(meter.power)
    if not math.isfinite(value):
        assert math.isnan(power(samples))
        assert meter.power == 1e-4


def test_speech_below_the_noise_has_a_low_and_finite_snr() -> None:
    for level in (-20.0, -60.0):
        sound = white(1.0, level)
        quality = measure_quality(sound, as_frames(sound), 10.0 ** (level / 10.0) * 2.0)
        assert quality.snr_db is not None
        assert math.isfinite(quality.snr_db)
        assert quality.snr_db < 0.0
