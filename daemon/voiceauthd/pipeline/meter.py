"""A level meter for a person who is speaking: how loud it is now, and how long the running utterance is."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE, Samples

METER_SECONDS = 0.25
"""Seconds of audio behind one reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading.

    level_dbfs  root mean square of the newest `METER_SECONDS`, in dBFS; None for digital silence and without audio
    utterance   ordinal of the utterance that is running; 0 while nobody speaks
    speech      seconds of speech in that utterance so far
    """

    level_dbfs: float | None = None
    utterance: int = 0
    speech: float = 0.0


class Meter:
    """`reading` is the newest one. One thread adds audio; any thread may read."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._recent: deque[tuple[int, float]] = deque()  # samples and energy of each block
        self._samples = 0

    def add(self, samples: Samples, utterance: int, speech: float) -> None:
        """Add a block of audio; `utterance` and `speech` as in `Reading`."""
        self._recent.append((len(samples), float(np.sum(np.square(samples, dtype=np.float64)))))
        self._samples += len(samples)
        while self._samples - self._recent[0][0] >= METER_SECONDS * RATE:
            self._samples -= self._recent.popleft()[0]
        power = sum(energy for _, energy in self._recent) / max(1, self._samples)
        level = 10.0 * math.log10(power) if 0.0 < power < math.inf else None
        self.reading = Reading(level, utterance, speech)
