"""How usable a stretch of sound is: net speech, signal-to-noise ratio, clipping, level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.speech.window import Quality

CLIPPED = 0.999
"""A sample at or above this is taken as clipped: full scale less the rounding of 16-bit and of the resampler."""

NOISE_FLOOR = 10.0 ** (-90.0 / 10.0)
"""Power that no microphone's noise is below, about the quantisation noise of 16 bit: keeps the ratio finite when a
recording has digital silence between the words."""

NOISE_TIME = 1.0
"""Seconds over which the noise is averaged: follows a fan that starts, not a door that slams."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of sound and what was found of it. `power` is the mean square of its samples."""

    samples: Samples
    power: float
    speech: bool


def power(samples: Samples) -> float:
    """The mean square. NaN for samples that are not finite."""
    return float(np.dot(samples, samples)) / len(samples)


class NoiseMeter:
    """The power of what is not speech, averaged over about `NOISE_TIME`."""

    def __init__(self, frame_samples: int) -> None:
        self._weight = frame_samples / RATE / NOISE_TIME
        self._count = 0
        self.power: float | None = None

    def hear(self, frame: Frame) -> None:
        """Takes in a frame without speech."""
        if not math.isfinite(frame.power):
            return
        self._count += 1
        weight = max(self._weight, 1.0 / self._count)
        before = self.power if self.power is not None else 0.0
        self.power = before + weight * (frame.power - before)


def measure(samples: Samples, frames: Sequence[Frame], noise: float | None) -> Quality:
    """The quality of `samples`, which `frames` make up. `noise`: power around it, None if none was heard."""
    speech = [frame.power for frame in frames if frame.speech]
    net_speech = sum(len(frame.samples) for frame in frames if frame.speech) / RATE
    level = float(np.mean(speech)) if speech else 0.0
    snr = None
    if noise is not None and speech:
        floor = max(noise, NOISE_FLOOR)
        snr = 10.0 * math.log10(max(level - floor, NOISE_FLOOR) / floor)
    return Quality(
        net_speech=net_speech,
        snr_db=snr,
        clipping=float(np.mean(np.abs(samples) >= CLIPPED)),
        level_dbfs=10.0 * math.log10(max(level, NOISE_FLOOR)),
    )
