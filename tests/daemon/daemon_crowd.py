"""Who is there when the daemon is attacked: those who attack it, a microphone, a monitor, and somebody who asks whether
all is well.
"""

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
from daemon_box import Box, wait_until
from daemon_caller import HungUpError, RefusedError
from daemon_room import FRAME, RATE, pcm16, quiet, voice

from voiceauthd.protocol.wire import MAX_MESSAGE

ANSWER_LIMIT = 1.0
"""Seconds in which a Status on a connection of its own is answered, whatever others do. One in a hundred may take
longer, for this machine may have other things to do; none may take `STALL`."""

STALL = 5.0

PIPE = 32 * 1024
"""Bytes between the microphone and the daemon: 1 s of sound. What finds no room is lost, as it is with a real one."""

ROOT_ASKS_FOR = ["Nobody", "Nobody", "Fuzz", "Ralph", "root"]
GAMES_ASKS_FOR = ["Nobody", "games", "games", "Ralph"]

DURATION = 300.0
"""Seconds for a fuzzer to end by itself, at the most."""


class Fuzzer:
    """A hostile process. See `daemon_fuzzer.Settings`."""

    def __init__(self, box: Box, seed: int, requests: int, *, first: int = 0, user: str | None = None) -> None:
        names = ROOT_ASKS_FOR if user is None else GAMES_ASKS_FOR
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("daemon_fuzzer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        settings = {"socket": str(box.socket), "seed": seed, "first": first, "requests": requests, "connections": 6}
        json.dump({**settings, "user": user, "texts": {"name": names}}, self._process.stdin)
        self._process.stdin.close()
        self._process.stdin = None

    def results(self) -> dict[str, Any]:
        """What came of it. Fails the test with the first fault."""
        try:
            told, _ = self._process.communicate(timeout=DURATION)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise AssertionError("the fuzzer hangs") from None
        assert self._process.returncode == 0
        results = json.loads(told)
        assert not results["faults"], results["faults"][0]
        return dict(results)


class Microphone:
    """Plays into a named pipe in real time, from a thread: speech over and over, or the quiet room."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self._descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE)
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
        """Plays from now on."""
        self._thread.start()

    def played(self) -> np.ndarray:
        """All so far, once it is `silent`, as the daemon reads it."""
        return np.frombuffer(b"".join(self._played), "<i2").astype(np.float32) / np.float32(32768)

    def fall_silent(self) -> None:
        """Waits until the speech that plays is over, and a second of quiet after it."""
        self._speaking = False
        assert self.silent.wait(30.0)

    def speak(self) -> None:
        """Speech, again and again."""
        self.silent.clear()
        self._speaking = True

    def close(self) -> None:
        """Ends the sound."""
        self._running = False
        if self._thread.ident is not None:
            self._thread.join(30.0)
        os.close(self._descriptor)

    def _run(self) -> None:
        due, still = time.monotonic(), 0
        while self._running:
            sound = self._speech if self._speaking else self._room
            still = 0 if self._speaking else still + 1
            for begin in range(0, len(sound), 2 * FRAME):
                if not self._running:
                    return
                frame = sound[begin : begin + 2 * FRAME]
                due += len(frame) / 2 / RATE
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    os.write(self._descriptor, frame)  # at most PIPE_BUF: the whole frame or nothing
                except BlockingIOError:
                    self.lost += len(frame)
            self._played.append(sound)
            if still == 3:
                self.silent.set()


class Listener:
    """A monitor that reads all that it is told, in a thread."""

    def __init__(self, box: Box) -> None:
        self._caller = box.caller()
        self._caller.send("Monitor")
        self.events = [self._caller.reply().parameters["event"]]
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(HungUpError, RefusedError, AssertionError, OSError):
            while True:
                self.events.append(self._caller.reply().parameters["event"])

    def told(self) -> list[tuple[str, float, float | None]]:
        """Of the utterances and the windows: kind, start and duration."""
        return [
            (event["kind"], event["start"], event["duration"])
            for event in list(self.events)
            if event["kind"] in ("speech", "window", "silence")
        ]


class Pulse:
    """Asks for Status on a new connection, ten times a second, from a thread."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._running = True
        self.seconds: list[float] = []
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
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

    def require_calm(self) -> None:
        """Every one was answered in time, and all was well."""
        assert not self.problems, self.problems[0]
        late = [seconds for seconds in self.seconds if seconds >= ANSWER_LIMIT]
        assert len(late) <= max(1, len(self.seconds) // 100)
        assert max(self.seconds) < STALL


class Crowd:
    """Clients with bad manners, at one socket."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._path = str(box.socket)
        self._held: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """One that stays until `go`."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(self._path)
        self._held.append(client)
        return client

    def go(self) -> None:
        """All vanish."""
        for client in self._held:
            client.close()
        self._held.clear()

    def stuff(self, clients: int) -> None:
        """Ask for more and more, and read nothing, until they are disconnected."""
        asked = call("org.varlink.service.GetInterfaceDescription", interface="org.voiceauthd") * 20
        stuffers = {self.connect() for _ in range(clients)}
        for client in stuffers:
            client.setblocking(False)

        def all_gone() -> bool:
            for client in list(stuffers):
                try:
                    client.send(asked)
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    stuffers.discard(client)
            return not stuffers

        wait_until("who never reads is disconnected", all_gone)

    def come_and_go(self, count: int) -> None:
        """Connects and vanishes: at once, in the middle of a call, or after one."""
        said = (b"", b'{"method":', call("org.voiceauthd.Status"), b"\n" * 100, b"x" * (MAX_MESSAGE + 1))
        for number in range(count):
            client = self.connect()
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.send(said[number % len(said)])
                if number % 3 == 0:
                    client.shutdown(socket.SHUT_WR)
            self._held.remove(client)
            client.close()
            if number % 50 == 0:  # who connects faster than anybody can answer is turned away at some point
                self._box.ask("Status")

    def trickle(self, clients: int, seconds: float) -> None:
        """Many send a call, a byte at a time, and never end it."""
        slow = [self.connect() for _ in range(clients)]
        asked = b'{"method":"org.voiceauthd.Info","parameters":{' + b" " * 10_000
        deadline = time.monotonic() + seconds
        for value in asked:
            if time.monotonic() > deadline:
                break
            for client in slow:
                client.send(bytes((value,)))
            time.sleep(0.01)

    def half_close(self, clients: int) -> list[socket.socket]:
        """Say all that they want to say, a monitor among it, and still listen."""
        monitors = [self.connect() for _ in range(clients)]
        for client in monitors:
            client.sendall(call("org.voiceauthd.Info") + call("org.voiceauthd.Monitor", more=True))
            client.shutdown(socket.SHUT_WR)
        return monitors


def call(method: str, *, more: bool = False, **parameters: object) -> bytes:
    """A line."""
    return json.dumps({"method": method, "parameters": parameters} | ({"more": True} if more else {})).encode() + b"\n"
