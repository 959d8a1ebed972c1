"""Measures the quality of a window: net speech, signal-to-noise ratio, clipping, level, bandwidth."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.speech.bandwidth import bandwidth
from voiceauthd.speech.window import Quality

CLIPPED_LEVEL = 0.999
"""Absolute value from which a sample counts as clipped: full scale minus rounding to 16 bit and by the resampler."""

NOISE_FLOOR = 10.0 ** (-90.0 / 10.0)
"""Lower bound of the noise power, about the quantisation noise of 16 bit; no microphone has less. Keeps the ratio
finite when a recording has digital silence between the words."""

NOISE_SECONDS = 2.0
"""How much of the latest noise is kept, short enough to follow a fan that starts. Its median is used, so that a click,
a cough or the thump of a microphone being switched on does not count as the noise of the room."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of audio and what was measured of it.

    power   the variance of its samples
    speech  whether the detectors call it speech
    start   number of samples before it, since the source was first opened
    """

    samples: Samples
    power: float
    speech: bool
    start: int


def power(samples: Samples) -> float:
    """Return the variance of a frame, NaN for samples that are not finite.

    Unlike the mean square it ignores the direct current that cheap microphones add, which would count as noise.
    """
    mean = float(np.add.reduce(samples)) / len(samples)  # np.mean takes three times as long, and this runs per frame
    return max(float(np.dot(samples, samples)) / len(samples) - mean * mean, 0.0)


class NoiseMeter:
    """The power of the background noise: the median of the last `NOISE_SECONDS` without speech."""

    def __init__(self, frame_samples: int) -> None:
        self._powers: deque[float] = deque(maxlen=round(NOISE_SECONDS * RATE / frame_samples))

    def add(self, frame: Frame) -> None:
        """Add a frame without speech."""
        if math.isfinite(frame.power):
            self._powers.append(frame.power)

    @property
    def power(self) -> float | None:
        """Variance; None if there has been nothing but speech so far."""
        return float(np.median(self._powers)) if self._powers else None


def measure_quality(samples: Samples, frames: Sequence[Frame], noise: float | None) -> Quality:
    """Return the quality of `samples`, which consist of `frames` of equal length.

    noise: power of the noise around them; None if it is unknown
    """
    speech = [frame.power for frame in frames if frame.speech]
    spoken = [frame.samples for frame in frames if frame.speech]
    level = float(np.mean(speech)) if speech else 0.0
    snr = None
    if noise is not None and speech:
        floor = max(noise, NOISE_FLOOR)
        snr = 10.0 * math.log10(max(level - floor, NOISE_FLOOR) / floor)
    return Quality(
        net_speech=sum(map(len, spoken)) / RATE,
        snr_db=snr,
        clipping=float(np.mean(np.abs(samples) >= CLIPPED_LEVEL)),
        level_dbfs=10.0 * math.log10(max(level, NOISE_FLOOR)),
        bandwidth=bandwidth(spoken),
    )
