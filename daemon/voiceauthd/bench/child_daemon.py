"""The daemon that is measured: a child process with a socket, a store and a log of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from voiceauthd.bench.models import Model
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, NotRunningError, VoiceauthError

START_LIMIT = 90.0
"""Seconds for the daemon to load the largest model on a busy machine."""

STOP_LIMIT = 5.0
"""Seconds for it to stop when it is told to: more than twice what it promises."""

POLL = 0.001
"""Seconds between two tries to connect: what the time until the socket answers is uncertain by."""

_OF_A_SERVICE = ("VOICEAUTHD_", "LISTEN_", "WATCHDOG_", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "STATE_DIRECTORY")
"""Beginnings of variables that would make the child take another daemon's socket, configuration or state."""


class ChildDaemon:
    """A daemon, from `with` on. Leaving the `with` ends this child and no other process.

    pid      of the process
    started  seconds on `time.monotonic()`'s clock, just before it was made
    stdin    its standard input, where the source `-` takes sound from
    """

    def __init__(
        self, folder: Path, model: Model, audio: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        """audio: the section of that name of its configuration. environment: instead of this process's own."""
        self._home = Path(tempfile.mkdtemp(prefix="daemon-", dir=folder))
        self.socket = str(self._home / "socket")
        self._log = self._home / "log"
        config = model.config
        self._settings = {
            "model": {
                "name": config.name,
                "device": config.device,
                "threads": config.threads,
                "cache": str(config.cache),
            },
            "audio": dict(audio),
            "socket": {"path": self.socket},
            "profiles": str(self._home / "profiles"),
            "log": {"level": "warning"},
        }
        given = os.environ if environment is None else environment
        self._environment = {key: value for key, value in given.items() if not key.startswith(_OF_A_SERVICE)}
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def __enter__(self) -> ChildDaemon:
        config = self._home / "config.yaml"
        config.write_text(json.dumps(self._settings), encoding="utf-8")  # JSON is YAML too
        with self._log.open("wb") as log:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "voiceauthd.service.main", "--config", str(config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the measurement, which then ends the daemon in order
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:  # it has gone
                pass
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def stdin(self) -> IO[bytes]:
        stream = self._running.stdin
        assert stream is not None
        return stream

    def wait_socket(self) -> float:
        """Waits until the socket accepts a connection. Returns the seconds since the start."""
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(self.socket)
                except OSError:
                    self.check()
                else:
                    return time.monotonic() - self.started
            if time.monotonic() - self.started > START_LIMIT:
                raise NotRunningError(f"the daemon has no socket after {START_LIMIT:.0f} s{self._last_words()}")
            time.sleep(POLL)

    def wait_ready(self) -> float:
        """Waits until the model has loaded. Returns the seconds since the start.

        Raises what the daemon died of, with the end of its log.
        """
        self.wait_socket()
        with Client(self.socket, START_LIMIT) as client:
            try:
                client.call("ListProfiles")  # answered as soon as the daemon is ready, and not before
            except VoiceauthError:
                self.check(patience=STOP_LIMIT)
                raise
            ready = time.monotonic() - self.started
            if not client.call("Status")["ready"]:
                raise NotRunningError("the daemon answers, and says that it is not ready")
        return ready

    def check(self, patience: float = 0.0) -> None:
        """Raises what the daemon died of, if it has died or does within `patience` seconds."""
        try:
            code = self._running.wait(patience)
        except subprocess.TimeoutExpired:
            return
        error = VoiceauthError(f"the daemon ended with exit code {code}{self._last_words()}", "daemon_ended")
        known = code in set(ExitCode) and code != ExitCode.OK
        error.exit_code = ExitCode(code) if known else ExitCode.NOT_RUNNING
        raise error

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the daemon has not been started"
        return self._process

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return f": {lines[-1]}" if lines else ""
