"""The socket server with a small handler, and helpers to send calls and read answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from pathlib import Path

from voiceauthd.config.schema import SocketConfig
from voiceauthd.errors import BusyError, NotEnrolledError, VoiceauthError
from voiceauthd.server.call import Call, CallError
from voiceauthd.server.event_queue import EventQueue
from voiceauthd.server.listener import listen
from voiceauthd.server.server import Server

DEADLINE = 5.0
"""Seconds after which something that should have happened has not."""

IDENTITY = {
    "state": "decided", "decision": "unknown", "identity": None, "reason": None, "advice": None, "net_speech": 1.0,
    "net_speech_needed": 1.0, "score": None, "margin": None, "calibrated": None,
}  # fmt: skip
LISTENING = IDENTITY | {"state": "listening", "decision": None}


class Daemon:
    """A server whose handler behaves as the profile name in the call says."""

    def __init__(
        self, path: Path, config: SocketConfig | None = None, listener=None, privileged: frozenset[int] | None = None
    ) -> None:
        self.path = path
        self._privileged = privileged
        self.calls: list[Call] = []
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.reloaded = threading.Event()
        self._listener = listener
        self._config = config or SocketConfig()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Daemon:
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()

    def connections(self) -> int:
        return self.server.connections

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self.server = Server(self._config, self.handle, check_replies=True, privileged=self._privileged)
        await self.server.start(self._listener or listen(self.path, 0o666))
        self._ready.set()
        await self._stopped.wait()
        await self.server.stop(1.0)

    async def handle(self, call: Call) -> None:
        self.calls.append(call)
        method = getattr(self, call.name.lower())
        await method(call)

    async def exportprofile(self, call: Call) -> None:
        name = call.parameters["name"]
        match name:
            case "slow":
                await asyncio.sleep(0.2)
            case "big":
                await call.reply({"document": "x" * 500_000})
                return
            case "nobody":
                raise NotEnrolledError("nobody is enrolled as 'nobody'")
            case "busy":
                raise BusyError("uid 7 verifies")
            case "named":
                raise CallError("ProfileUnusable", {"name": name, "detail": "torn"})
            case "bug":
                raise KeyError("secret")
            case "silent":
                return
            case "nan":
                await call.reply({"document": float("nan")})
            case "wrong":
                await call.reply({"paper": "x"})
            case "strange":
                raise VoiceauthError("strange")
        await call.reply({"document": name})

    async def identify(self, call: Call) -> None:
        """Stream, and listen for the duration in the call."""
        await call.reply(LISTENING, continues=True)
        self.started.set()
        try:
            await asyncio.sleep(call.parameters["timeout"] or 0)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await call.reply(IDENTITY)

    async def monitor(self, call: Call) -> None:
        """Publish faster than anybody reads."""
        queue: EventQueue[dict] = EventQueue(self._config.events_queued)
        self.started.set()
        sequence = 0
        try:
            while True:
                for _ in range(50):
                    sequence += 1
                    queue.put(event(sequence))
                dropped, one = await queue.get()
                if dropped:
                    await call.reply({"event": event(0, kind="dropped", count=dropped)}, continues=True)
                await call.reply({"event": one}, continues=True)
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()

    async def reload(self, call: Call) -> None:
        self.reloaded.set()
        await call.reply({"changed": []})


def event(sequence: int, kind: str = "window", **fields) -> dict:
    return {"kind": kind, "sequence": sequence, "time": 0.0, "detail": "x" * 200} | fields


def plug(daemon: Daemon) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(DEADLINE)
    client.connect(str(daemon.path))
    return client


def message(method: str, end: bytes = b"\n", flags: dict | None = None, **parameters) -> bytes:
    name = method if "." in method else f"org.voiceauthd.{method}"
    return json.dumps({"method": name, "parameters": parameters} | (flags or {})).encode() + end


def export(name: str, end: bytes = b"\n") -> bytes:
    return message("ExportProfile", end, name=name)


def read(client: socket.socket, count: int = 1, end: bytes = b"\n") -> list[dict]:
    """Return the next `count` answers; nothing may follow them."""
    data = b""
    while data.count(end) < count:
        piece = client.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    assert data.endswith(end)
    return [json.loads(part) for part in data.split(end)[:-1]]


def read_all(client: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            data += piece
    return data


def errors(answers: list[dict]) -> list[str | None]:
    return [answer["error"].rpartition(".")[2] if "error" in answer else None for answer in answers]


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
