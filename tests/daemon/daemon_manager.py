"""What a service manager is to the daemon: an address for its messages, and a socket that it passes on."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

FIRST_DESCRIPTOR = 3


class Manager:
    """The socket that `sd_notify` messages come to, at `path`."""

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
        """Whether a message with this field comes within so many seconds. `messages` has all that came."""
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
    """Becomes `command`, with `descriptor` as the socket that was passed to it."""
    os.dup2(descriptor, FIRST_DESCRIPTOR)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "voiceauthd"}
    os.execv(command[0], command)


if __name__ == "__main__":
    activate(int(sys.argv[1]), sys.argv[2:])
