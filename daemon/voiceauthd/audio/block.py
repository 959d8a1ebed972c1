"""`Block`, the piece of audio that every source delivers, and `Source`, the interface of the sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Samples per second of all audio that a source delivers: the models and both voice activity detectors need it."""

Samples = NDArray[np.float32]
"""Shape (n,), mono, full scale ±1.0."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive samples from a source, in order and without gaps unless `gap` is set.

    start     number of samples at 16 kHz before this block, since the source was first opened
    captured  when the last sample was captured, in seconds on the clock of `time.monotonic()`
    gap       audio was lost just before this block (an overflow, or a reopened device)
    """

    samples: Samples
    start: int
    captured: float
    gap: bool = False


class Source(Protocol):
    """Where samples come from. One thread owns a source; only `close` may be called from another.

    live       audio that is not read in time is lost, so a full queue must drop windows; False: the source waits
    held_open  the source must be read from start to end (a pipe); False: it may be closed while nobody needs it
    finite     the source ends on its own
    """

    live: bool
    held_open: bool
    finite: bool

    @property
    def description(self) -> str:
        """The source in words, such as "microphone 'pulse' at 48000 Hz, 1 channel"."""
        ...

    @property
    def overflows(self) -> int:
        """How often audio was lost because it was not read in time, since the source was created."""
        ...

    def open(self) -> None:
        """Start delivering audio. May be called again after `close`. Raises `SourceError` if there is none."""
        ...

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        """Return the next block, or None after `timeout` seconds without one, or when closed.

        at_least: seconds of audio worth waking up for, at most 0.2; a source may deliver less. While nobody speaks,
        0.2 costs half as much CPU as 0; while somebody speaks, 0 detects the end of the speech sooner.
        Raises `EOFError` at the end of a finite source and `SourceError` when the device is lost.
        """
        ...

    def close(self) -> None:
        """Stop delivering audio. Safe to call twice, and on a source that was never opened."""
        ...
