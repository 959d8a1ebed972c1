"""The real daemon as a child process, with its own socket, profiles, configuration and log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from voiceauthd.client import Client
from voiceauthd.client.errors import daemon_ended
from voiceauthd.errors import ModelError, NotRunningError, VoiceauthError

START_LIMIT = 90.0
"""Seconds for the daemon to load the largest model on a busy machine."""

STOP_LIMIT = 5.0
"""Seconds for a process to end after SIGTERM: more than twice what the daemon promises."""

CONNECT_INTERVAL = 0.001
"""Seconds between two attempts to connect: the uncertainty of the time until the socket accepts."""

PROGRESS_INTERVAL = 0.1
"""Seconds between two reports of the daemon's state."""

STATUS_LIMIT = 2.0
"""Seconds for the daemon to report its state."""

_INHERITED_PREFIXES = ("VOICEAUTHD_", "LISTEN_", "WATCHDOG_", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "STATE_DIRECTORY")
"""Variables with these prefixes would make the child use another daemon's socket, configuration or state."""


class ChildDaemon:
    """A daemon that runs inside the `with` block. Leaving the block stops this child and no other process.

    socket   path of its socket
    log      file with its standard output and standard error
    started  seconds on `time.monotonic()`'s clock, just before the process was created
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        stdin: int = subprocess.PIPE,
    ) -> None:
        """Prepare a daemon without starting it.

        folder       an existing folder for the socket, the profiles, `config.yaml` and the log
        settings     the configuration; the socket's path is always in `folder`, `profiles` unless it is set here
        environment  the child's variables; None: those of this process
        log          None: `voiceauthd.log` in `folder`
        stdin        as for `subprocess.Popen`; the audio source `-` reads from it
        """
        self.socket = str(folder / "socket")
        self.log = log if log is not None else folder / "voiceauthd.log"
        self.started = 0.0
        self._config = folder / "config.yaml"
        self._settings = {
            "profiles": str(folder / "profiles"),
            **settings,
            "socket": {**settings.get("socket", {}), "path": self.socket},
        }
        variables = os.environ if environment is None else environment
        self._environment = {
            name: value for name, value in variables.items() if not name.startswith(_INHERITED_PREFIXES)
        }
        self._stdin = stdin
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ChildDaemon:
        self._config.write_text(json.dumps(self._settings, indent=2), encoding="utf-8")  # JSON is YAML too
        with self.log.open("wb") as log:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "voiceauthd.service.main", "--config", str(self._config)],
                stdin=self._stdin,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C interrupts the parent only, which then stops the daemon in order
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to the daemon's standard input."""
        stream = self._running.stdin
        assert stream is not None, "the daemon was started without a pipe to its standard input"
        return stream

    def wait_socket(self) -> float:
        """Wait until the socket accepts a connection. Return the seconds since the start."""
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(self.socket)
                except OSError:
                    self.check()
                else:
                    return time.monotonic() - self.started
            if time.monotonic() - self.started > START_LIMIT:
                raise NotRunningError(f"the daemon has no socket after {START_LIMIT:.0f} s{self._last_log_line()}")
            time.sleep(CONNECT_INTERVAL)

    def wait_ready(self, waiting: Callable[[str], None] | None = None) -> float:
        """Wait until the model has loaded. Return the seconds since the start.

        waiting  called with the daemon's state every `PROGRESS_INTERVAL`; without it, no calls disturb the loading
        Raises `ModelError` if the model cannot be loaded, and the error that the daemon died of, with the last line of
        its log.
        """
        if waiting is not None:
            self._report_state(waiting)
        self.wait_socket()
        with Client(self.socket, START_LIMIT) as client:
            try:
                client.call("ListProfiles")  # answered as soon as the daemon is ready, and not before
                ready = time.monotonic() - self.started
                if not client.call("Status")["ready"]:
                    raise NotRunningError("the daemon answers, but says that it is not ready")
            except ModelError:  # it runs on without a model
                raise
            except VoiceauthError:
                self.check(within=STOP_LIMIT)
                raise
        return ready

    def check(self, within: float = 0.0) -> None:
        """Raise the error that the daemon died of, if it has ended or ends `within` that many seconds."""
        try:
            code = self._running.wait(within)
        except subprocess.TimeoutExpired:
            return
        raise daemon_ended(code, self.log_tail(1))

    def stop(self) -> int:
        """Send SIGTERM and wait; kill the daemon if it does not stop. Return its exit code. May be called again."""
        process = self._running
        code = stop_process(process)
        if process.stdin is not None:
            try:
                process.stdin.close()  # only now: a thread may still be writing until the daemon has ended
            except OSError:  # the reader is gone
                pass
        return code

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the daemon's log; empty if there is none."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the daemon has not been started"
        return self._process

    def _report_state(self, waiting: Callable[[str], None]) -> None:
        """Pass the daemon's state to `waiting` until it is ready."""
        state = "starting"
        while time.monotonic() - self.started < START_LIMIT:
            self.check()
            waiting(state)
            try:
                with Client(self.socket, STATUS_LIMIT) as client:
                    status = client.call("Status")
                if status["ready"]:
                    return
                if status.get("problem"):
                    raise ModelError(str(status["problem"]), "not_ready")
                state = str(status["state"])
            except NotRunningError:
                pass
            time.sleep(PROGRESS_INTERVAL)
        raise NotRunningError(f"the daemon was not ready after {START_LIMIT:.0f} s: {state}")

    def _last_log_line(self) -> str:
        line = self.log_tail(1)
        return f": {line}" if line else ""


def stop_process(process: subprocess.Popen[bytes]) -> int:
    """Send SIGTERM to `process` and wait for its end; kill it after `STOP_LIMIT`. Return its exit code."""
    process.terminate()  # does nothing if it has ended
    try:
        return process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
