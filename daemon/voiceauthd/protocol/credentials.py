"""Who is at the other end of an AF_UNIX socket, by the kernel's word."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("iII")
"""`struct ucred` of unix(7): pid, uid, gid."""


class Credentials(NamedTuple):
    """Of whoever connected, when that was; or, seen from there, of whoever made the socket listen."""

    pid: int
    uid: int
    gid: int


def credentials_of(connection: socket.socket) -> Credentials:
    """The credentials of the peer of a connected socket. Raises `OSError` if the kernel does not say."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
