"""A simulated room: room tone and played recordings, written to the daemon's standard input in real time."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.bench.realtime_player import FRAME, RealtimePlayer
from voiceauthd.errors import NotRunningError

ROOM_TONE_DBFS = -75.0
"""Level of the silence: a quiet room through a good microphone. No microphone delivers zeros."""

MAX_LAG = 0.5
"""Seconds that the room may lag behind the clock, for example while the model loads, before it skips the lag."""

PLAY_LIMIT = 60.0
"""Seconds that a clip may take beyond its own length."""


@dataclass(slots=True)
class Clip:
    """Audio to be played.

    lead   number of its samples that are the pause before it
    start  in samples since the room was opened; set when the clip begins
    """

    samples: Samples
    lead: int = 0
    start: int = 0
    done: threading.Event = field(default_factory=threading.Event)


class Room(RealtimePlayer):
    """Plays clips one after the other with room tone in between and underneath, inside the `with` block.

    Times are seconds of audio since the room was opened.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(pipe, MAX_LAG)
        self._clips: collections.deque[Clip] = collections.deque()
        self._noise = np.random.default_rng(20)

    def play(self, samples: Samples, pause: float = 0.0) -> Clip:
        """Queue `samples`, after `pause` seconds of room tone. Return at once."""
        silence = np.zeros(round(pause * RATE), dtype=np.float32)
        clip = Clip(np.concatenate([silence, samples]), len(silence))
        self._clips.append(clip)
        return clip

    def wait(self, clip: Clip) -> tuple[float, float]:
        """Wait until `clip` has been played. Return its start (after the pause) and its end.

        Raises `NotRunningError` if the daemon stops reading.
        """
        limit = time.monotonic() + len(clip.samples) / RATE + PLAY_LIMIT
        while not clip.done.wait(0.2):
            if not self.playing or time.monotonic() > limit:
                raise NotRunningError("the daemon no longer reads its audio", "not_listening")
        return (clip.start + clip.lead) / RATE, (clip.start + len(clip.samples)) / RATE

    def rest(self, seconds: float) -> float:
        """Wait while `seconds` of room tone are played. Return when they ended."""
        return self.wait(self.play(np.zeros(0, dtype=np.float32), seconds))[1]

    def _frames(self) -> Iterator[Samples]:
        position = 0
        clip: Clip | None = None
        while True:
            if clip is None and self._clips:
                clip = self._clips.popleft()
                clip.start = position
            frame = self._room_tone()
            if clip is not None:
                piece = clip.samples[position - clip.start : position - clip.start + FRAME]
                frame[: len(piece)] += piece
            yield frame
            position += FRAME
            if clip is not None and position >= clip.start + len(clip.samples):
                clip.done.set()
                clip = None

    def _room_tone(self) -> Samples:
        return self._noise.normal(0.0, 10.0 ** (ROOM_TONE_DBFS / 20.0), FRAME).astype(np.float32)
