"""Daemons for client tests: one that follows a script, and the real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from pathlib import Path

from voiceauthd.config.schema import SocketConfig
from voiceauthd.server.listener import listen
from voiceauthd.server.server import Server

DEADLINE = 5.0
"""Seconds after which something that should have happened has not."""


class Scripted:
    """A daemon that answers each connection's first call with the next bytes of a script, then disconnects or waits."""

    def __init__(self, path: Path, *answers: bytes, hang: bool = False) -> None:
        self.path = path
        self.calls: list[dict] = []
        self._answers = answers
        self._hang = hang
        self._over = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join(DEADLINE)
        self._listening.close()
        self.path.unlink()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._listening.accept()
            with connection, contextlib.suppress(OSError):
                data = b""
                while not data.endswith(b"\0"):
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    data += piece
                self.calls += [json.loads(part) for part in data.split(b"\0")[:-1]]
                connection.sendall(answer)
                if self._hang:
                    self._over.wait(DEADLINE)


class Real:
    """The real server, with the handler of a test."""

    def __init__(self, path: Path, handle, config: SocketConfig | None = None) -> None:
        self._path, self._handle, self._config = path, handle, config or SocketConfig()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Real:
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE)

    async def _main(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = Server(self._config, self._handle, check_replies=True)
        await server.start(listen(self._path, 0o600))
        self._ready.set()
        await self._over.wait()
        await server.stop(1.0)


def reply(end: bytes = b"\0", **message) -> bytes:
    return json.dumps(message).encode() + end


def decision(**changes) -> dict:
    """Return the final reply of an accepted verification of Ann with the nonce "n"."""
    return {
        "state": "decided", "outcome": "accept", "reason": "match", "advice": None, "name": "ann", "nonce": "n",
        "net_speech": 2.5, "net_speech_needed": 2.0, "score": None, "margin": None, "threshold": None,
        "calibrated": None, "policy": "unlock", "expires": 10.0,
    } | changes  # fmt: skip
