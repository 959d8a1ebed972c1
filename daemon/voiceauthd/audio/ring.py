"""The ring buffer between PortAudio's thread and the reader: one producer, one consumer, no lock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.wakeup import Wakeup

MAX_AGE = 0.5
"""Seconds. If a driver reports that its frames are older than this when it delivers them, the report is ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class CapturedFrames:
    """The frames of one callback, or of several in a row without loss between them.

    frames    shape (n, channels)
    captured  when the last frame was captured, in seconds on the monotonic clock
    gap       audio was lost just before these frames
    """

    frames: NDArray[np.float32]
    captured: float
    gap: bool


class Ring:
    """A fixed number of slots, each for the frames of one callback, allocated once.

    `put` and `finish` run in PortAudio's thread, `take` in the reader's. Each counter has one writer, and a slot is
    filled before the counter that publishes it changes; the interpreter's lock keeps these two in order.
    """

    def __init__(self, slots: int, frames: int, channels: int, rate: float) -> None:
        self._wakeup = Wakeup()
        self._slots = slots
        self._rate = rate
        self._frames = np.zeros((slots, frames, channels), dtype=np.float32)
        self._bytes = self._frames.data.cast("B")
        self._slot_bytes = frames * channels * self._frames.itemsize
        self._frame_bytes = channels * self._frames.itemsize
        self._sizes = [0] * slots
        self._captured = [0.0] * slots
        self._gaps = [False] * slots
        self._put = 0
        self._taken = 0
        self._wake_at = 1  # filled slots at which the reader is woken
        self._gap = False
        self._overflows = 0
        self._finished = False
        self._released = False

    @property
    def overflows(self) -> int:
        """How often PortAudio or a full ring lost frames."""
        return self._overflows

    @property
    def finished(self) -> bool:
        """Whether no more callbacks will come."""
        return self._finished

    # PortAudio's objects come through cffi and have no types.
    def put(self, data: Any, frames: int, timing: Any, status: Any) -> None:  # noqa: ANN401
        """PortAudio's callback: copy the frames, note the time, wake the reader. Never raises, never waits."""
        if status.input_overflow:
            self._overflows += 1
            self._gap = True
        if self._put - self._taken >= self._slots or len(data) > self._slot_bytes:
            self._overflows += 1
            self._gap = True
            return
        slot = self._put % self._slots
        start = slot * self._slot_bytes
        self._bytes[start : start + len(data)] = data
        age = timing.currentTime - timing.inputBufferAdcTime - frames / self._rate
        self._captured[slot] = time.monotonic() - (age if 0.0 < age < MAX_AGE else 0.0)
        self._sizes[slot] = frames
        self._gaps[slot] = self._gap
        self._gap = False
        self._put += 1
        if self._put - self._taken >= self._wake_at:
            self._wakeup.set()

    def finish(self) -> None:
        """PortAudio's notice that the stream has ended: it was stopped, or the device is gone."""
        self._finished = True
        self._wakeup.set()

    def release(self) -> None:
        """End the current `wait` and all later ones. May be called from any thread."""
        self._released = True
        self._wakeup.set()

    def wait(self, slots: int, timeout: float) -> None:
        """Wait up to `timeout` seconds until `slots` slots are filled, the stream has ended, or `release` is called.

        The fewer wake-ups, the less CPU a quiet room costs.
        """
        self._wake_at = slots
        self._wakeup.clear()  # before the counters are read, so that a later `set` is not lost
        if self._put - self._taken < slots and not self._finished and not self._released:
            self._wakeup.wait(timeout)

    def take(self, slots: int = 1) -> CapturedFrames | None:
        """Return a copy of the oldest frames, of at most `slots` callbacks and up to the next gap; None if empty."""
        last = min(self._put, self._taken + slots)
        if last == self._taken:
            return None
        taken = [self._taken % self._slots]
        while self._taken + len(taken) < last:
            slot = (self._taken + len(taken)) % self._slots
            if self._gaps[slot]:
                break
            taken.append(slot)
        frames = np.concatenate([self._frames[slot, : self._sizes[slot]] for slot in taken])
        captured = CapturedFrames(frames, self._captured[taken[-1]], self._gaps[taken[0]])
        self._taken += len(taken)
        return captured
