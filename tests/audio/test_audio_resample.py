"""The resampler: its output has the right content and does not depend on the blocks, and its delay is short."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.audio.block import RATE
from voiceauthd.audio.mixdown import mean_of
from voiceauthd.audio.resample import Resampler

RATES = [8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000]


def resampled(frames, rate, cuts=()):
    resampler = Resampler(rate, frames.shape[1])
    pieces = [resampler.push(piece) for piece in np.split(frames, list(cuts))]
    return np.concatenate([*pieces, resampler.flush()])


def sine(frequency, rate, seconds):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)[:, None]


def level_db(samples, frequency):
    """Return the level of one frequency in dB relative to a sine of amplitude 0.5, without the edges."""
    inner = samples[2000:-2000].astype(np.float64)
    turns = np.exp(-2j * np.pi * frequency * np.arange(len(inner)) / RATE) * np.hanning(len(inner)) * 2
    return 20 * np.log10(np.abs(np.mean(inner * turns)) * 2 / 0.5 + 1e-12)


@settings(deadline=None, max_examples=30)
@given(
    rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    channels=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 12000), max_size=20),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_output_does_not_depend_on_how_the_frames_are_split(rate, channels, cuts, seed):
    frames = np.random.default_rng(seed).uniform(-1, 1, (12000, channels)).astype(np.float32)
    whole = resampled(frames, rate)
    assert np.array_equal(resampled(frames, rate, sorted(cuts)), whole)
    assert abs(len(whole) - 12000 * RATE / rate) < 1.0


def test_blocks_of_a_single_frame_give_the_same_samples():
    frames = np.random.default_rng(1).uniform(-1, 1, (3000, 2)).astype(np.float32)
    assert np.array_equal(resampled(frames, 48000, range(1, 3000)), resampled(frames, 48000))


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.integers(0, 200))
def test_mono_at_16_khz_passes_bit_exact(values, cut):
    frames = np.array(values, dtype=np.float32)[:, None]
    assert np.array_equal(resampled(frames, RATE, [min(cut, len(frames))]), frames[:, 0])


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_frequency_and_level(rate):
    for frequency in (200.0, 1000.0, 3400.0):
        assert level_db(resampled(sine(frequency, rate, 1.0), rate), frequency) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_the_band_that_the_models_use_is_kept_and_higher_frequencies_do_not_alias(rate):
    assert level_db(resampled(sine(7800.0, rate, 1.0), rate), 7800.0) == pytest.approx(0.0, abs=0.1)
    for above in (8500.0, 10000.0, 13000.0, 20000.0):
        folded = resampled(sine(above, rate, 1.0), rate)[2000:-2000]
        assert 20 * np.log10(np.abs(folded).max() + 1e-12) < -70.0


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_the_delay_is_a_few_milliseconds_and_constant(rate):
    resampler = Resampler(rate, 1)
    block = np.zeros((rate // 50, 1), dtype=np.float32)
    resampler.push(block)
    sizes, pending = [], []
    for _ in range(100):
        sizes.append(len(resampler.push(block)))
        pending.append(resampler.pending)
    assert set(sizes) == {320}
    assert max(pending) < 0.015
    assert max(pending) - min(pending) < 0.001


def test_an_impulse_keeps_its_place_in_time():
    frames = np.zeros((48000, 1), dtype=np.float32)
    frames[24000] = 1.0
    assert np.argmax(np.abs(resampled(frames, 48000))) == pytest.approx(8000, abs=3)


def test_time_does_not_drift_over_ten_minutes():
    resampler = Resampler(44100, 1)
    second = np.zeros((44100, 1), dtype=np.float32)
    samples_out = sum(len(resampler.push(second)) for _ in range(600)) + len(resampler.flush())
    assert samples_out == 600 * RATE


def test_channels_are_mixed_to_their_mean():
    frames = np.array([[1.0, 0.0, -0.5], [0.25, 0.25, 0.25]], dtype=np.float32)
    assert mean_of(frames) == pytest.approx([1 / 6, 0.25])
    assert mean_of(frames).dtype == np.float32


def test_the_output_does_not_share_memory_with_the_callers_buffer():
    frames = np.ones((10, 1), dtype=np.float32)
    samples = Resampler(RATE, 1).push(frames)
    frames[:] = 0.0
    assert (samples == 1.0).all()


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (-44100, 1), (999, 1), (10**7, 1), (48000, 0)])
def test_impossible_formats_are_refused(rate, channels):
    with pytest.raises(ValueError, match=str(rate) if channels else "channels"):
        Resampler(rate, channels)
