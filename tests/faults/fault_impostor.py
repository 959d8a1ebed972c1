"""An impostor in place of the daemon, which answers each Verify from a template. It needs only the standard library,
because it is also run as other users.

    python3 fault_impostor.py SOCKET < template

The template is a JSON list of strings that are sent one by one; "<NONCE>" and "<NAME>" are replaced by those of the
call. It ends at the end of its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

NUL = b"\0"

Answer = Callable[[dict, socket.socket], None]


class Impostor:
    """Listens at `path` in a thread until it is closed. `answer` gets the parameters of each call."""

    def __init__(self, path: str, answer: Answer) -> None:
        self.answer = answer
        self.calls = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5.0)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30.0)
            pending = b""
            while data := connection.recv(65536):
                pending += data
                while NUL in pending:
                    message, pending = pending.split(NUL, 1)
                    self.calls += 1
                    self.answer(json.loads(message)["parameters"], connection)


def filled(template: str, call: dict) -> bytes:
    """Return the bytes to send for this call."""
    for mark, value in (("<NONCE>", call.get("nonce") or ""), ("<NAME>", call["name"])):
        template = template.replace(mark, json.dumps(value, ensure_ascii=False)[1:-1])
    return template.encode()


def saying(pieces: list[str]) -> Answer:
    """Send the pieces, and leave the connection open."""

    def answer(call: dict, connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(filled(piece, call))

    return answer


def hanging_up(pieces: list[str]) -> Answer:
    """Send the pieces, and close the connection."""

    def answer(call: dict, connection: socket.socket) -> None:
        saying(pieces)(call, connection)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


def late(pieces: list[str], seconds: float) -> Answer:
    """Send the pieces after `seconds`."""

    def answer(call: dict, connection: socket.socket) -> None:
        time.sleep(seconds)
        saying(pieces)(call, connection)

    return answer


if __name__ == "__main__":
    impostor = Impostor(sys.argv[1], saying(json.loads(sys.stdin.readline())))
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    sys.stdin.read()
