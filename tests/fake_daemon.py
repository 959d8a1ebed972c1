"""A daemon that answers as a test wants, on a real socket, in the real protocol or against it; and the command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

from voiceauthd.cli.main import main

Request = dict
Answer = Callable[[Request], Iterable[object]]
"""Gives the messages that answer a request: dicts are encoded, bytes are sent as they are, HANG_UP closes."""

HANG_UP = object()


class FakeDaemon:
    """Answers each request with the messages that `answer` gives for it. `requests` are those that arrived."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = str(path)
        self.requests: list[Request] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FakeDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        pending = b""
        with connection:
            while True:
                while b"\0" not in pending:
                    data = connection.recv(65536)
                    if not data:
                        return
                    pending += data
                raw, _, pending = pending.partition(b"\0")
                request = {"parameters": {}, **json.loads(raw)}
                self.requests.append(request)
                try:
                    for message in self._answer(request):
                        if message is HANG_UP:
                            return
                        connection.sendall(message if isinstance(message, bytes) else encode(message))
                except OSError:
                    return


def encode(message: object) -> bytes:
    return json.dumps(message).encode() + b"\0"


def done(**parameters: object) -> dict:
    """A final reply."""
    return {"parameters": parameters}


def going(**parameters: object) -> dict:
    """A reply that others follow."""
    return {"parameters": parameters, "continues": True}


def refusal(error: str, /, **parameters: object) -> dict:
    """An error of the interface."""
    return {"error": f"org.voiceauthd.{error}", "parameters": parameters}


def voiceauth(*words: str, socket: str | None = None, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "voiceauthd.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=kwargs.pop("timeout", 60),
        check=False,
        env=_environment(socket, kwargs.pop("environment", {})),
        **{"stdin": subprocess.DEVNULL, **kwargs},
    )


def voiceauth_here(
    *words: str, socket: str | None = None, environment: dict[str, str] | None = None, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which is much faster, with pipes for its streams.

    stdin: what it reads; None: nothing.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, _environment(socket, environment or {}), clear=True),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b""))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(words)
    return subprocess.CompletedProcess(list(words), code, out.getvalue(), err.getvalue())


def _environment(socket: str | None, more: dict[str, str]) -> dict[str, str]:
    ours = {"VOICEAUTHD_MODEL__CACHE"}  # where the tests' models are
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOICEAUTHD_") or key in ours}
    return environment | {"VOICEAUTHD_SOCKET": socket or "/nonexistent/voiceauthd.sock", "NO_COLOR": "1"} | more
