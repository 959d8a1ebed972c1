"""Audio played into a daemon's standard input in real time, as a microphone would deliver it.

The player, the daemon and its clients run on one machine, so they all read the same monotonic clock.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.pcm import pcm16
from voiceauthd.errors import NotRunningError

FRAME = RATE // 50
"""Samples per write: 20 ms, the daemon's own block."""

STOP_LIMIT = 5.0
"""Seconds for the player's thread to end; a daemon that does not read can block it until the daemon is stopped."""


class RealtimePlayer(ABC):
    """Writes frames to a pipe from its own thread, each when its last sample is due; 16-bit PCM at 16 kHz.

    Plays inside the `with` block, until the frames end or nobody reads them any more. The pipe stays open.
    """

    def __init__(self, pipe: IO[bytes], max_lag: float = math.inf) -> None:
        """max_lag: seconds; a player that lags further behind the clock skips the lag rather than catching up."""
        self._pipe = pipe
        self._max_lag = max_lag
        self._write_times: list[float] = []  # on `time.monotonic()`'s clock, just before each write
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(STOP_LIMIT)

    @property
    def playing(self) -> bool:
        """Whether there are frames left and they are being read."""
        return self._thread.is_alive()

    @abstractmethod
    def _frames(self) -> Iterator[Samples]:
        """The frames in order, `FRAME` samples each. The next one is asked for once a frame has been written."""

    def _run(self) -> None:
        due = time.monotonic()
        for frame in self._frames():
            pcm = pcm16(frame)
            due += FRAME / RATE
            wait = due - time.monotonic()
            if wait < -self._max_lag:
                due -= wait
            if self._stopping.wait(max(0.0, wait)):
                return
            now = time.monotonic()
            try:
                self._pipe.write(pcm)
                self._pipe.flush()
            except (OSError, ValueError):
                return
            self._write_times.append(now)


class TimedPlayer(RealtimePlayer):
    """Plays `samples` once, and knows when each of them was played. Samples after the last whole frame are left out."""

    def __init__(self, pipe: IO[bytes], samples: Samples) -> None:
        super().__init__(pipe)
        self._samples = samples[: len(samples) - len(samples) % FRAME]

    def wait(self) -> None:
        """Return when everything has been played. Raises `NotRunningError` if nobody reads any more."""
        self._thread.join()
        if len(self._write_times) * FRAME < len(self._samples):
            raise NotRunningError("the daemon no longer reads its audio", "not_listening")

    def played_at(self, samples: int) -> float:
        """When the last of the first `samples` was played, on `time.monotonic()`'s clock.

        A frame is written when its last sample is due; the samples before it were due that much earlier.
        """
        frame = -(-samples // FRAME) - 1
        return self._write_times[frame] - ((frame + 1) * FRAME - samples) / RATE

    def _frames(self) -> Iterator[Samples]:
        for start in range(0, len(self._samples), FRAME):
            yield self._samples[start : start + FRAME]
