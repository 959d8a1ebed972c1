"""What the demo plays on: the real daemon as a child process, and a room whose sound goes to its standard input."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.client import Client
from voiceauthd.config.load import find_config, load_config
from voiceauthd.embed.cache import default_folder
from voiceauthd.embed.manifest import CAMPPLUS
from voiceauthd.errors import ConfigError, ExitCode, NotRunningError, VoiceauthError
from voiceauthd.terminal.recordings import pcm16

FRAME = RATE // 50
"""Samples that the room hands over at a time: 20 ms, the daemon's own block."""

ROOM_TONE_DBFS = -75.0
"""Level of the silence: a quiet room through a good microphone. No microphone delivers zeros."""

LATE = 0.5
"""Seconds that the room may lag behind the clock before it gives the lag up, as while the model loads."""

START_LIMIT = 60.0
"""Seconds for the daemon to load its model."""

STOP_LIMIT = 5.0
"""Seconds for the daemon to stop when it is told to: more than twice what it promises."""


@dataclass(slots=True)
class Clip:
    """Something to be played: `lead` samples of it are the pause before; `start` is set once it has begun, in samples
    since the room was opened."""

    samples: Samples
    lead: int = 0
    start: int = 0
    done: threading.Event = field(default_factory=threading.Event)


class Room:
    """Sound in real time: clips in the order in which they are played, and room tone in between.

    It writes signed 16-bit PCM at 16 kHz to `pipe` from a thread of its own, until it is closed or nobody reads.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._clips: collections.deque[Clip] = collections.deque()
        self._noise = np.random.default_rng(20)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="room", daemon=True)
        self._thread.start()

    def play(self, samples: Samples, pause: float = 0.0) -> Clip:
        """Plays `samples` after `pause` seconds of room tone, behind whatever plays already. Returns at once."""
        silence = np.zeros(round(pause * RATE), dtype=np.float32)
        clip = Clip(np.concatenate([silence, samples]), len(silence))
        self._clips.append(clip)
        return clip

    def wait(self, clip: Clip) -> tuple[float, float]:
        """Waits until `clip` is over. Returns its start (after the pause) and end, seconds of sound since the opening.

        Raises `NotRunningError` if the daemon stops listening.
        """
        limit = time.monotonic() + len(clip.samples) / RATE + START_LIMIT
        while not clip.done.wait(0.2):
            if not self._thread.is_alive() or time.monotonic() > limit:
                raise NotRunningError("the daemon no longer listens to what is played", "not_listening")
        return (clip.start + clip.lead) / RATE, (clip.start + len(clip.samples)) / RATE

    def rest(self, seconds: float) -> float:
        """Lets `seconds` of room tone pass. Returns when they ended, seconds of sound since the opening."""
        return self.wait(self.play(np.zeros(0, dtype=np.float32), seconds))[1]

    def close(self) -> None:
        """Ends the sound."""
        self._open = False
        self._thread.join(STOP_LIMIT)
        try:
            self._pipe.close()
        except OSError:  # nobody reads any more
            pass

    def _run(self) -> None:
        position = 0
        due = time.monotonic()
        clip: Clip | None = None
        while self._open:
            if clip is None and self._clips:
                clip = self._clips.popleft()
                clip.start = position
            frame = self._tone()
            if clip is not None:
                piece = clip.samples[position - clip.start : position - clip.start + FRAME]
                frame[: len(piece)] += piece
            try:
                self._pipe.write(pcm16(frame))
                self._pipe.flush()
            except (OSError, ValueError):
                return
            position += FRAME
            if clip is not None and position >= clip.start + len(clip.samples):
                clip.done.set()
                clip = None
            due += FRAME / RATE
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif wait < -LATE:
                due = time.monotonic()

    def _tone(self) -> Samples:
        return self._noise.normal(0.0, 10.0 ** (ROOM_TONE_DBFS / 20.0), FRAME).astype(np.float32)


class Daemon:
    """The real daemon, on a private socket and store in `folder`, listening to its standard input.

    Leaving the `with` ends this child and no other process.
    """

    def __init__(self, folder: Path, models: Path) -> None:
        """models: the cache that holds `campplus`."""
        self._models = models
        self.socket = str(folder / "socket")
        self.log = folder / "voiceauthd.log"
        self._config = folder / "config.yaml"
        self._profiles = folder / "profiles"
        self._process: subprocess.Popen[bytes] | None = None
        self._room: Room | None = None

    def __enter__(self) -> Daemon:
        settings = {
            "model": {"name": CAMPPLUS, "device": "cpu", "cache": str(self._models)},
            "audio": {"source": "-"},
            "socket": {"path": self.socket},
            "profiles": str(self._profiles),
        }
        self._config.write_text(json.dumps(settings, indent=2), encoding="utf-8")  # JSON is YAML too
        clean = {key: value for key, value in os.environ.items() if not _of_a_service(key)}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "voiceauthd.service.main", "--config", str(self._config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=clean,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the daemon in order
            )
        assert self._process.stdin is not None
        self._room = Room(self._process.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def room(self) -> Room:
        """Where sound is played to the daemon."""
        if self._room is None:
            raise NotRunningError("the daemon has not been started")
        return self._room

    def wait_ready(self, waiting: Callable[[str], None]) -> None:
        """Returns when the model is loaded.

        Raises what the daemon died of, or `NotRunningError` after `START_LIMIT`.
        """
        limit = time.monotonic() + START_LIMIT
        state = "starting"
        while time.monotonic() < limit:
            self._check_alive()
            waiting(state)
            try:
                with Client(self.socket, 2.0) as client:
                    status = client.call("Status")
                if status["ready"]:
                    return
                state = str(status.get("problem") or status["state"])
            except NotRunningError:
                pass
            time.sleep(0.1)
        raise NotRunningError(f"the daemon was not ready after {START_LIMIT:.0f} s: {state}")

    def stop(self) -> int | None:
        """Tells the daemon to stop, and waits; kills it if it does not. Returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._room is not None:
            self._room.close()
        return process.returncode

    def log_tail(self, lines: int = 15) -> str:
        """The end of the daemon's log."""
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _check_alive(self) -> None:
        code = None if self._process is None else self._process.poll()
        if code is None:
            return
        known = code in set(ExitCode) and code != ExitCode.OK
        error = VoiceauthError(f"the daemon ended with exit code {code}", "daemon_ended")
        error.exit_code = ExitCode(code) if known else ExitCode.NOT_RUNNING
        raise error


def models_folder() -> Path:
    """The model cache that `voiceauth model fetch` fills; the usual one if the user's configuration is refused."""
    try:
        configured = load_config(find_config(None, os.environ)).model.cache
    except ConfigError:
        configured = None
    return configured if configured is not None else default_folder()


def _of_a_service(variable: str) -> bool:
    """Variables that would make the child take this process's sockets, configuration or state for its own."""
    return variable.startswith(("VOICEAUTHD_", "LISTEN_", "WATCHDOG_")) or variable in {
        "NOTIFY_SOCKET",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
    }
