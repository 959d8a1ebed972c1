"""The participants of an attack on the daemon: fuzzers, rude clients, a microphone, a monitor, and a health probe."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from daemon_audio import FRAME, RATE, quiet, voice
from daemon_caller import HungUpError, RefusedError
from daemon_process import DaemonProcess
from waiting import wait_until

from voiceauthd.audio.pcm import pcm16
from voiceauthd.protocol.wire import MAX_MESSAGE

ANSWER_LIMIT = 1.0
"""Seconds within which a Status on its own connection is answered, whatever other clients do. One in a hundred may take
longer, because this machine may be busy; none may take `STALL_LIMIT`."""

STALL_LIMIT = 5.0

PIPE_BYTES = 32 * 1024
"""Buffer between the microphone and the daemon: 1 s of audio. Frames that do not fit are lost, as with a real one."""

NAMES_FOR_ROOT = ["Nobody", "Nobody", "Fuzz", "Ralph", "root"]
NAMES_FOR_GAMES = ["Nobody", "games", "games", "Ralph"]

FUZZER_TIMEOUT = 300.0
"""Seconds for a fuzzer to finish."""


class Fuzzer:
    """A hostile process. See `daemon_fuzzer.Settings`."""

    def __init__(
        self, daemon: DaemonProcess, seed: int, requests: int, *, first: int = 0, user: str | None = None
    ) -> None:
        names = NAMES_FOR_ROOT if user is None else NAMES_FOR_GAMES
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("daemon_fuzzer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        settings = {"socket": str(daemon.socket), "seed": seed, "first": first, "requests": requests, "connections": 6}
        json.dump({**settings, "user": user, "texts": {"name": names}}, self._process.stdin)
        self._process.stdin.close()
        self._process.stdin = None

    def results(self) -> dict[str, Any]:
        """Return the results. Fails the test with the first fault."""
        try:
            output, _ = self._process.communicate(timeout=FUZZER_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise AssertionError("the fuzzer hangs") from None
        assert self._process.returncode == 0
        results = json.loads(output)
        assert not results["faults"], results["faults"][0]
        return dict(results)


class Microphone:
    """Plays into a named pipe in real time, from a thread: the same speech again and again, or a quiet room."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self._descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._speech = pcm16(
            np.concatenate([quiet(0.4, seed=3), voice("verify-ralph")[: 3 * RATE], quiet(0.9, seed=4)])
        )
        self._room = pcm16(quiet(0.5, seed=5))
        self._played: list[bytes] = []
        self._speaking, self._running = True, True
        self.silent = threading.Event()
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="microphone", daemon=True)

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def played(self) -> np.ndarray:
        """Return all samples so far as the daemon reads them. To be called while it is `silent`."""
        return np.frombuffer(b"".join(self._played), "<i2").astype(np.float32) / np.float32(32768)

    def fall_silent(self) -> None:
        """Wait until the current speech and a second of quiet after it have been played."""
        self._speaking = False
        assert self.silent.wait(30.0)

    def speak(self) -> None:
        """Play speech again."""
        self.silent.clear()
        self._speaking = True

    def close(self) -> None:
        """End the audio."""
        self._running = False
        if self._thread.ident is not None:
            self._thread.join(30.0)
        os.close(self._descriptor)

    def _run(self) -> None:
        due, quiet_pieces = time.monotonic(), 0
        while self._running:
            piece = self._speech if self._speaking else self._room
            quiet_pieces = 0 if self._speaking else quiet_pieces + 1
            for begin in range(0, len(piece), 2 * FRAME):
                if not self._running:
                    return
                frame = piece[begin : begin + 2 * FRAME]
                due += len(frame) / 2 / RATE
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    os.write(self._descriptor, frame)  # at most PIPE_BUF: the whole frame or nothing
                except BlockingIOError:
                    self.lost += len(frame)
            self._played.append(piece)
            if quiet_pieces == 3:
                self.silent.set()


class Listener:
    """A monitor that reads all its events, in a thread."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._caller = daemon.caller()
        self._caller.send("Monitor")
        self.events = [self._caller.reply().parameters["event"]]
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(HungUpError, RefusedError, AssertionError, OSError):
            while True:
                self.events.append(self._caller.reply().parameters["event"])

    def speech_events(self) -> list[tuple[str, float, float | None]]:
        """Return kind, start and duration of the utterances and windows so far."""
        return [
            (event["kind"], event["start"], event["duration"])
            for event in list(self.events)
            if event["kind"] in ("speech", "window", "silence")
        ]


class HealthProbe:
    """Calls Status on a new connection ten times a second, from a thread."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._box = daemon
        self._running = True
        self.seconds: list[float] = []
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._run, name="health probe", daemon=True)

    def __enter__(self) -> HealthProbe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join(30.0)

    def _run(self) -> None:
        while self._running:
            began = time.monotonic()
            try:
                status = self._box.ask("Status")
            except (AssertionError, HungUpError, RefusedError, OSError) as problem:
                self.problems.append(repr(problem))
                return
            self.seconds.append(time.monotonic() - began)
            if status["state"] != "ready" or status["queue"]["dropped"]:
                self.problems.append(f"{status['state']}: {status['problem']}, {status['queue']}")
            time.sleep(0.1)

    def require_healthy(self) -> None:
        """Fail the test unless every call was answered in time and reported a healthy daemon."""
        assert not self.problems, self.problems[0]
        late = [seconds for seconds in self.seconds if seconds >= ANSWER_LIMIT]
        assert len(late) <= max(1, len(self.seconds) // 100)
        assert max(self.seconds) < STALL_LIMIT


class Crowd:
    """Clients that misbehave, at one socket."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._box = daemon
        self._path = str(daemon.socket)
        self._held: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """Return a new connection, which stays open until `disconnect_all`."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(self._path)
        self._held.append(client)
        return client

    def disconnect_all(self) -> None:
        """Close all connections."""
        for client in self._held:
            client.close()
        self._held.clear()

    def stuff(self, clients: int) -> None:
        """Send calls without reading any answer, until the daemon disconnects all these clients."""
        calls = call("org.varlink.service.GetInterfaceDescription", interface="org.voiceauthd") * 20
        connected = {self.connect() for _ in range(clients)}
        for client in connected:
            client.setblocking(False)

        def all_disconnected() -> bool:
            for client in list(connected):
                try:
                    client.send(calls)
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    connected.discard(client)
            return not connected

        wait_until("clients that never read are disconnected", all_disconnected)

    def come_and_go(self, count: int) -> None:
        """Connect and disconnect: at once, in the middle of a call, or after one."""
        messages = (b"", b'{"method":', call("org.voiceauthd.Status"), b"\n" * 100, b"x" * (MAX_MESSAGE + 1))
        for number in range(count):
            client = self.connect()
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.send(messages[number % len(messages)])
                if number % 3 == 0:
                    client.shutdown(socket.SHUT_WR)
            self._held.remove(client)
            client.close()
            if number % 50 == 0:  # lets the daemon catch up: it refuses connections beyond its limit
                self._box.ask("Status")

    def trickle(self, clients: int, seconds: float) -> None:
        """Send calls one byte at a time, on many connections, without ever completing one."""
        slow = [self.connect() for _ in range(clients)]
        message = b'{"method":"org.voiceauthd.Info","parameters":{' + b" " * 10_000
        deadline = time.monotonic() + seconds
        for value in message:
            if time.monotonic() > deadline:
                break
            for client in slow:
                client.send(bytes((value,)))
            time.sleep(0.01)

    def half_close(self, clients: int) -> list[socket.socket]:
        """Send all calls, including Monitor, shut down the sending direction, and keep listening."""
        monitors = [self.connect() for _ in range(clients)]
        for client in monitors:
            client.sendall(call("org.voiceauthd.Info") + call("org.voiceauthd.Monitor", more=True))
            client.shutdown(socket.SHUT_WR)
        return monitors


def call(method: str, *, more: bool = False, **parameters: object) -> bytes:
    """Return a call as a line of JSON."""
    return json.dumps({"method": method, "parameters": parameters} | ({"more": True} if more else {})).encode() + b"\n"
