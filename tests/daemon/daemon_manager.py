"""The parts of a service manager that the daemon uses: the socket for its messages, and socket activation."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

FIRST_DESCRIPTOR = 3


class Manager:
    """The socket at `path` that receives the `sd_notify` messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(path))

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def within(self, field: str, seconds: float) -> bool:
        """Return whether a message with this field arrives within `seconds`. `messages` has all that arrived."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                self.messages.append(self._socket.recv(4096).decode())
            except TimeoutError:
                return False
            if any(line.startswith(field) for line in self.messages[-1].splitlines()):
                return True
        return False


def activate(descriptor: int, command: list[str]) -> None:
    """Replace this process by `command`, which gets `descriptor` as its activated socket."""
    os.dup2(descriptor, FIRST_DESCRIPTOR)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "voiceauthd"}
    os.execv(command[0], command)


if __name__ == "__main__":
    activate(int(sys.argv[1]), sys.argv[2:])
