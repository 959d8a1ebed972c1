"""The peer credentials of an AF_UNIX socket, as reported by the kernel."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("iII")
"""`struct ucred` of unix(7): pid, uid, gid."""


OVERFLOW_UID = 65_534
"""The uid that the kernel reports for a user of another user namespace. Many users share it: it identifies nobody."""


class Credentials(NamedTuple):
    """For a server: the process that connected, at that moment. For a client: the process that called listen()."""

    pid: int
    uid: int
    gid: int


def credentials_of(connection: socket.socket) -> Credentials:
    """Return the peer credentials of a connected socket. Raises `OSError` if the kernel does not report them."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
