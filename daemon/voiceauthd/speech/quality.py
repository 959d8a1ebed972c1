"""How usable a stretch of sound is: net speech, signal-to-noise ratio, clipping, level, bandwidth."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.speech.bandwidth import bandwidth
from voiceauthd.speech.window import Quality

CLIPPED = 0.999
"""A sample at or above this is taken as clipped: full scale less the rounding of 16-bit and of the resampler."""

NOISE_FLOOR = 10.0 ** (-90.0 / 10.0)
"""Power that no microphone's noise is below, about the quantisation noise of 16 bit: keeps the ratio finite when a
recording has digital silence between the words."""

NOISE_TIME = 2.0
"""Seconds of noise that are remembered: follows a fan that starts. The median of them is taken, so that a click, a
cough or the thump of a microphone being switched on does not count as the noise of the room."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of sound and what was found of it.

    power  the variance of its samples
    start  samples since the source was first opened, before it
    """

    samples: Samples
    power: float
    speech: bool
    start: int


def power(samples: Samples) -> float:
    """The variance of a frame: its mean square without the direct current that cheap microphones add, which would
    count as noise. NaN for samples that are not finite."""
    mean = float(np.add.reduce(samples)) / len(samples)  # np.mean takes three times as long, for every frame
    return max(float(np.dot(samples, samples)) / len(samples) - mean * mean, 0.0)


class NoiseMeter:
    """The power of what is not speech: the median of the last `NOISE_TIME` of it."""

    def __init__(self, frame_samples: int) -> None:
        self._powers: deque[float] = deque(maxlen=round(NOISE_TIME * RATE / frame_samples))

    def hear(self, frame: Frame) -> None:
        """Takes in a frame without speech."""
        if math.isfinite(frame.power):
            self._powers.append(frame.power)

    @property
    def power(self) -> float | None:
        """Variance; None if nothing but speech was heard yet."""
        return float(np.median(self._powers)) if self._powers else None


def measure(samples: Samples, frames: Sequence[Frame], noise: float | None) -> Quality:
    """The quality of `samples`, which `frames` of equal length make up.

    noise: power around it; None if none was heard
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
        clipping=float(np.mean(np.abs(samples) >= CLIPPED)),
        level_dbfs=10.0 * math.log10(max(level, NOISE_FLOOR)),
        bandwidth=bandwidth(spoken),
    )
