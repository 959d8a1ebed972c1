"""What the measured daemon hears, and what it says of it: speech without end, played in real time, and its events.

The feeder, the daemon and the client are on one machine, so that all of them read one monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.client import Client
from voiceauthd.demo.script import VOICES
from voiceauthd.errors import AudioError, NotRunningError, VoiceauthError
from voiceauthd.terminal.recordings import pcm16

FRAME = RATE // 50
"""Samples that are played at a time: 20 ms, the daemon's own block."""

AUDIBLE = 0.01
"""Of full scale. What is quieter at either end of a recording is cut off: speech shall follow speech."""

STARTED_LIMIT = 10.0
"""Seconds for the daemon to begin the stream of events."""

Event = Mapping[str, Any]


def continuous_speech(seconds: float) -> Samples:
    """`seconds` of the demo's voices, one recording right behind the other. Raises `AudioError` if they are gone."""
    clips = [_trimmed(read_recording(path)) for path in sorted(VOICES.glob("*.flac"))]
    if not clips:
        raise AudioError(f"{VOICES}: the demo's voices are not there; install voiceauthd again")
    once = np.concatenate(clips)
    wanted = round(seconds * RATE)
    return np.tile(once, 1 + wanted // len(once))[:wanted]


def noise(seconds: float, level_dbfs: float | None) -> Samples:
    """White noise of that root mean square; None: digital silence."""
    length = round(seconds * RATE)
    if level_dbfs is None:
        return np.zeros(length, dtype=np.float32)
    generator = np.random.default_rng(20)
    return generator.normal(0.0, 10.0 ** (level_dbfs / 20.0), length).astype(np.float32)


class Feeder:
    """Plays samples into a pipe in real time, as a microphone would: a frame when its last sample is due.

    The time of each write is kept. Plays from `with` on; ended by leaving it, or by the last sample.
    """

    def __init__(self, pipe: IO[bytes], samples: Samples) -> None:
        self._pipe = pipe
        whole = len(samples) - len(samples) % FRAME
        self._frames = [pcm16(samples[start : start + FRAME]) for start in range(0, whole, FRAME)]
        self._written: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def wait(self) -> None:
        """Returns when all has been played. Raises `NotRunningError` if nobody reads any more."""
        self._thread.join()
        if len(self._written) < len(self._frames):
            raise NotRunningError("the daemon no longer listens to what is played", "not_listening")

    def heard_at(self, samples: int) -> float:
        """When the last of the first `samples` was heard, on `time.monotonic()`'s clock.

        A frame is handed over when its last sample is heard, so those before it were heard that much earlier.
        """
        frame = -(-samples // FRAME) - 1
        return self._written[frame] - ((frame + 1) * FRAME - samples) / RATE

    def _run(self) -> None:
        began = time.monotonic()
        for index, frame in enumerate(self._frames):
            due = began + (index + 1) * FRAME / RATE
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            now = time.monotonic()
            try:
                self._pipe.write(frame)
                self._pipe.flush()
            except (OSError, ValueError):
                return
            self._written.append(now)


class Monitor:
    """A client that monitors: keeps each event, and when it had come. From `with` on, until the connection ends."""

    def __init__(self, socket: str) -> None:
        self.arrived: list[tuple[float, Event]] = []
        self._client = Client(socket)
        self._changed = threading.Condition()
        self._problem: VoiceauthError | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        self._wait_for(lambda event: event["kind"] == "started", STARTED_LIMIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The connection ends with the daemon; until then the thread waits, and nobody waits for it."""

    def wait_for_source(self, *states: str, limit: float) -> Event:
        """Waits until the source is in one of `states`, such as "open" or "lost". Returns the event that says so."""
        return self._wait_for(
            lambda event: event["kind"] == "source" and str(event["detail"]).partition(":")[0] in states, limit
        )

    def _wait_for(self, wanted: Callable[[Event], bool], limit: float) -> Event:
        """Waits for the first event that is `wanted`.

        Raises what ended the stream before, and `NotRunningError` after `limit` seconds.
        """
        deadline = time.monotonic() + limit
        seen = 0
        with self._changed:
            while True:
                for _, event in self.arrived[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.arrived)
                if self._problem is not None:
                    raise self._problem
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise NotRunningError("the daemon did not tell of what it should have heard", "no_answer")
                self._changed.wait(left)

    def _run(self) -> None:
        try:
            for reply in self._client.stream("Monitor"):
                now = time.monotonic()
                with self._changed:
                    self.arrived.append((now, reply["event"]))
                    self._changed.notify_all()
        except VoiceauthError as problem:
            self._problem = problem
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _trimmed(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]
