"""A block of sound, the form in which every source delivers what it hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Samples a second of everything behind a source: both models and both voice activity detectors are made for it."""

Samples = NDArray[np.float32]
"""Shape (n,), mono, full scale ±1.0."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`samples` as a source delivered them, in order and without gaps unless `gap` says otherwise.

    start     samples at 16 kHz since the source was first opened, before this block
    captured  seconds on `time.monotonic()`'s clock at which the last sample was heard
    gap       sound was lost just before this block (an overflow, a device that was reopened)
    """

    samples: Samples
    start: int
    captured: float
    gap: bool = False


class Source(Protocol):
    """Where samples come from. One thread owns a source; only `close` may be called from another.

    live       sound that is not read in time is lost, so a full queue must drop; False: the source waits
    held_open  the source must be read from start to end (a pipe); False: it may be closed while nobody needs it
    finite     the source ends by itself
    """

    live: bool
    held_open: bool
    finite: bool

    @property
    def description(self) -> str:
        """What this source is, for a person: "microphone 'pulse' at 48000 Hz, 1 channel"."""
        ...

    @property
    def overflows(self) -> int:
        """How often sound was lost because it was not read in time, since the source was made."""
        ...

    def open(self) -> None:
        """Raises `SourceError` if no sound can be had. May be called again after `close`."""
        ...

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        """The next block, or None if none came within `timeout` seconds, or when closed.

        at_least: seconds of sound worth waking for, 0.2 at most; a source may give less. While nobody speaks,
        0.2 costs half as much of a core as 0; while somebody does, 0 hears the end of the speech sooner.
        Raises `EOFError` at the end of a finite source and `SourceError` when the device is lost.
        """
        ...

    def close(self) -> None:
        """Stops listening. Safe to call twice, and on a source that was never opened."""
        ...
