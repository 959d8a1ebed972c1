"""The ring between PortAudio's thread and the reader: one producer, one consumer, no lock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.wakeup import Wakeup

MAX_AGE = 0.5
"""Seconds. A driver that claims that what it delivers was heard longer ago than this is not believed."""


@dataclass(frozen=True, slots=True, eq=False)
class CapturedFrames:
    """What one callback brought, or several in a row without loss between them: frames of shape (n, channels), when
    the last was heard (monotonic seconds), and whether sound was lost just before."""

    frames: NDArray[np.float32]
    captured: float
    gap: bool


class Ring:
    """Slots of one callback's frames each, allocated once.

    `put` and `finish` run in PortAudio's thread, `take` in the reader's. Each counter has one writer, and the slot is
    filled before the counter that shows it moves; the interpreter's own lock orders the two.
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
        self._enough = 1
        self._gap = False
        self._overflows = 0
        self._finished = False
        self._released = False

    @property
    def overflows(self) -> int:
        """How often PortAudio or a full ring lost sound."""
        return self._overflows

    @property
    def finished(self) -> bool:
        """No more callbacks will come."""
        return self._finished

    # PortAudio's objects come through cffi and have no types.
    def put(self, data: Any, frames: int, timing: Any, status: Any) -> None:  # noqa: ANN401
        """PortAudio's callback: copies, notes the time, wakes the reader. Never raises, never waits."""
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
        if self._put - self._taken >= self._enough:
            self._wakeup.set()

    def finish(self) -> None:
        """PortAudio's end of the stream: stopped, or the device is gone."""
        self._finished = True
        self._wakeup.set()

    def release(self) -> None:
        """Ends a `wait`, this one and all to come. From any thread."""
        self._released = True
        self._wakeup.set()

    def wait(self, slots: int, timeout: float) -> None:
        """Waits until `slots` callbacks' frames are there, the stream has ended, or the reader is released; `timeout`
        seconds at most. The fewer wake-ups, the less a quiet room costs."""
        self._enough = slots
        self._wakeup.clear()  # before what it announces is looked at: what comes later sets it again
        if self._put - self._taken < slots and not self._finished and not self._released:
            self._wakeup.wait(timeout)

    def take(self, slots: int = 1) -> CapturedFrames | None:
        """The oldest frames, copied: of `slots` callbacks at most, none from beyond a loss; None if none wait."""
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
        heard = CapturedFrames(frames, self._captured[taken[-1]], self._gaps[taken[0]])
        self._taken += len(taken)
        return heard
