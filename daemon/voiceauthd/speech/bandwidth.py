"""The bandwidth of speech: the frequency up to which it has energy. Detects an 8 kHz headset or a telephone.

Audio from a narrow-band channel is resampled to 16 kHz like any other, but its upper half contains no speech. That half
is never quite empty: quantisation and the resampler leave traces. So the level of the highest frequencies is compared
with that of the strongest part of the speech. Audio that went through a resampler without a proper filter (linear
interpolation) has mirror images in the upper half, and counts as wide-band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Samples

BAND_HZ = 200
"""Width of a band: a whole number of the bins of a frame of 20 ms (50 Hz) and of 30 ms (33.3 Hz). The lowest band is
ignored, because hum and rumble would count as the strongest part of the speech."""

MAX_DEPTH_DB = 55.0
"""A band further below the strongest one contains no speech. Measured on 965 windows of read speech: the strongest band
above 4.5 kHz is at most 49 dB down, and at least 58 dB down after resampling to 8 kHz and 16 bit and back."""

QUANTISATION_POWER = 4.0 * (2.0 / 2**16) ** 2 / 12.0
"""Variance of the noise of rounding to 16 bit (Bennett 1948, "Spectra of quantized signals"), times four for dither. A
band below it contains no speech, however quiet the speech is."""

NARROW_BAND_HZ = 4500.0
"""Speech whose bandwidth is lower came through a channel sampled at 8 kHz. Such a channel ends at 4 kHz at the latest;
the rest allows for the slope of its filter."""

CHUNK_FRAMES = 50
"""Number of frames that are transformed together, so that the arrays stay in the processor's cache. Transforming all
frames at once takes twice as long."""


def bandwidth(frames: Sequence[Samples]) -> float | None:
    """Return the upper edge, in Hz, of the highest band that contains speech; at most half the sampling rate.

    frames: of speech, all 20 or all 30 ms at 16 kHz. None for silence, for no frames, and for samples that are not
    numbers. The periodograms of the frames are averaged as in Welch (1967, "The use of fast Fourier transform for the
    estimation of power spectra"), so that the loud frames decide. Takes about 0.4 ms for 3 s.
    """
    if not frames:
        return None
    length = len(frames[0])
    taper = np.hanning(length + 1)[:-1]  # periodic; without it the strong low frequencies leak everywhere
    sums = [_sum_of_periodograms(frames[at : at + CHUNK_FRAMES], taper) for at in range(0, len(frames), CHUNK_FRAMES)]
    density = np.sum(sums, axis=0)[1:] / (len(frames) * np.dot(taper, taper))  # equals the variance for white noise
    bands = density.reshape(RATE // 2 // BAND_HZ, -1).mean(axis=1)[1:]
    threshold = max(float(np.max(bands)) * 10.0 ** (-MAX_DEPTH_DB / 10.0), QUANTISATION_POWER)
    found = np.flatnonzero(bands > threshold)
    return float((found[-1] + 2) * BAND_HZ) if len(found) else None


def _sum_of_periodograms(frames: Sequence[Samples], taper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the power spectra of `frames`, shape (bins,)."""
    samples = np.stack(frames)
    # The taper makes it float64; numpy takes ten times as long for float32.
    spectrum = np.fft.rfft((samples - samples.mean(axis=1, keepdims=True)) * taper, axis=1)
    return np.asarray(np.sum(spectrum.real**2 + spectrum.imag**2, axis=0), np.float64)
