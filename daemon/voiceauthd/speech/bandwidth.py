"""Up to which frequency speech has energy: tells an 8 kHz headset or a telephone from a microphone.

A narrow channel is resampled to 16 kHz like any other and then looks like wide-band sound, but nothing is in its upper
half. That half is never quite empty: quantisation and the resampler leave traces. So the question is how far below the
strongest part of the speech the highest frequencies are. Sound that went through a resampler without a proper filter
(linear interpolation) has mirror images up there, and passes for wide-band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Samples

BAND = 200
"""Hz. A whole number of the bins of a frame of 20 ms (50 Hz) and of 30 ms (33.3 Hz). The lowest band is left out: hum
and rumble would count as the strongest part of the speech."""

DEPTH_DB = 55.0
"""A band so far below the strongest one holds no speech. Measured: in 965 windows of read speech the strongest band
above 4.5 kHz is at most 49 dB down; after a detour through 8 kHz and 16 bit it is at least 58 dB down."""

QUANTISED = 4.0 * (2.0 / 2**16) ** 2 / 12.0
"""Variance of the noise that rounding to 16 bit leaves (Bennett 1948, "Spectra of quantized signals"), four times over
for dither. What does not rise above it is not there, however quiet the speech is."""

NARROW_BAND = 4500.0
"""Hz. Speech that ends below came through a channel sampled at 8 kHz, which ends at 4 kHz at the latest; half a
kilohertz is for the slope of its filter."""


PART = 50
"""Frames that are transformed together: arrays that stay in the processor's cache. All at once takes twice as long."""


def bandwidth(frames: Sequence[Samples]) -> float | None:
    """The upper edge, in Hz, of the highest band that holds speech; up to half the sampling rate.

    frames: of speech, all 20 or all 30 ms at 16 kHz. None for silence, for no frames, and for samples that are not
    numbers. The periodograms of the frames are averaged as in Welch (1967, "The use of fast Fourier transform for the
    estimation of power spectra"), so that the loud frames decide. About 0.4 ms for 3 s.
    """
    if not frames:
        return None
    length = len(frames[0])
    taper = np.hanning(length + 1)[:-1]  # periodic; without it the strong low frequencies leak everywhere
    sums = [_sum_of_periodograms(frames[at : at + PART], taper) for at in range(0, len(frames), PART)]
    density = np.sum(sums, axis=0)[1:] / (len(frames) * np.dot(taper, taper))  # of white noise: its variance
    bands = density.reshape(RATE // 2 // BAND, -1).mean(axis=1)[1:]
    least = max(float(np.max(bands)) * 10.0 ** (-DEPTH_DB / 10.0), QUANTISED)
    found = np.flatnonzero(bands > least)
    return float((found[-1] + 2) * BAND) if len(found) else None


def _sum_of_periodograms(frames: Sequence[Samples], taper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (bins,)."""
    sound = np.stack(frames)
    # The taper makes it float64: for float32 numpy takes ten times as long.
    spectrum = np.fft.rfft((sound - sound.mean(axis=1, keepdims=True)) * taper, axis=1)
    return np.asarray(np.sum(spectrum.real**2 + spectrum.imag**2, axis=0), np.float64)
