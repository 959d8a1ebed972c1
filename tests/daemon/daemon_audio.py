"""Audio for the daemon's standard input: recordings played in the noise of a quiet room, and the demo's voices."""

from __future__ import annotations

import collections
import functools
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

import voiceauthd
from voiceauthd.audio.pcm import pcm16

RATE = 16_000
FRAME = RATE // 50
"""Samples that are written at a time: 20 ms."""

ROOM_TONE_DBFS = -75.0
"""Noise level of a quiet room through a good microphone. No microphone delivers zeros."""

VOICES = Path(voiceauthd.__file__).parent / "demo" / "voices"
PEOPLE = ("Ralph", "Susan")
CONVERSATION = (
    ("turn-01-ralph", "Ralph"),
    ("turn-02-susan", "Susan"),
    ("turn-03-stranger", None),
    ("turn-04-susan", "Susan"),
    ("turn-05-ralph", "Ralph"),
    ("turn-06-stranger", None),
    ("turn-07-ralph", "Ralph"),
    ("turn-08-susan", "Susan"),
)


@functools.cache
def voice(name: str) -> np.ndarray:
    """Return a recording of the demo: float32, 16 kHz, mono."""
    samples, rate = soundfile.read(VOICES / f"{name}.flac", dtype="float32")
    assert rate == RATE
    assert samples.ndim == 1
    samples.setflags(write=False)
    return samples


def takes(person: str) -> list[np.ndarray]:
    """Return three recordings to enrol somebody from, with 14 s of speech."""
    return [voice(f"{person.lower()}-{number}") for number in (1, 2, 5)]


def quiet(seconds: float, seed: int = 0) -> np.ndarray:
    """Return only the noise of the room."""
    tone = np.random.default_rng(seed).normal(0.0, 10.0 ** (ROOM_TONE_DBFS / 20.0), round(seconds * RATE))
    return tone.astype(np.float32)


def noisy(samples: np.ndarray, snr_db: float) -> np.ndarray:
    """Return speech in white noise, which begins half a second before it and ends half a second after it."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) / 10.0 ** (snr_db / 10.0)
    noise = np.random.default_rng(1).normal(0.0, power**0.5, len(samples) + RATE)
    noise[RATE // 2 : RATE // 2 + len(samples)] += samples
    return noise.astype(np.float32)


class Clip:
    """Samples to play. `over` is set when they have been written; `start` is their position in seconds of audio."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples
        self.start = 0.0
        self.over = threading.Event()


class AudioFeed:
    """Writes 16-bit PCM to `pipe` from its own thread: clips in their order, and room tone before and after them.

    speed: multiples of real time. A slower reader makes it wait.
    """

    def __init__(self, pipe: IO[bytes], speed: float) -> None:
        self._pipe = pipe
        self._speed = speed
        self._clips: collections.deque[Clip] = collections.deque()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="audio feed", daemon=True)
        self._thread.start()

    def play(self, samples: np.ndarray, pause: float = 0.5) -> Clip:
        """Queue samples after `pause` seconds of quiet. Returns at once."""
        clip = Clip(np.concatenate([quiet(pause), samples]))
        self._clips.append(clip)
        return clip

    def play_through(self, samples: np.ndarray, pause: float = 0.5) -> float:
        """Play samples to their end, and return where they began, in seconds of audio."""
        clip = self.play(samples, pause)
        assert clip.over.wait(60.0), "the daemon does not read the audio"
        return clip.start + pause

    def play_quiet(self, seconds: float) -> None:
        """Play only the noise of the room."""
        self.play_through(np.zeros(0, np.float32), seconds)

    def stop_playing(self) -> None:
        """Stop the clip that is playing, and drop the clips after it."""
        self._clips.clear()
        self.play_quiet(0.1)

    def close(self) -> None:
        """End the audio."""
        self._open = False
        self._thread.join(10.0)
        try:
            self._pipe.close()
        except OSError:  # the daemon has ended
            pass

    def _run(self) -> None:
        tone = quiet(60.0, seed=2)
        position = 0
        due = time.monotonic()
        while self._open:
            clip = self._clips[0] if self._clips else None
            if clip is None:
                begin = position % (len(tone) - FRAME)
                position += FRAME
                alive = self._write(tone[begin : begin + FRAME])
            else:
                clip.start = position / RATE
                alive = True
                for begin in range(0, len(clip.samples), FRAME):
                    if not (alive and self._open and self._clips and self._clips[0] is clip):
                        break
                    frame = clip.samples[begin : begin + FRAME]
                    position += len(frame)
                    alive = self._write(frame)
                    due = self._pace(due)
                clip.over.set()
                if self._clips and self._clips[0] is clip:
                    self._clips.popleft()
            if not alive:
                return
            due = self._pace(due)

    def _pace(self, due: float) -> float:
        due += FRAME / RATE / self._speed
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        return due if wait > -0.5 else time.monotonic()

    def _write(self, frame: np.ndarray) -> bool:
        try:
            self._pipe.write(pcm16(frame))
            self._pipe.flush()
        except (OSError, ValueError):
            return False
        return True
