"""The process at the other end of a connection, as reported by the kernel."""

from __future__ import annotations

import pwd
import socket
import struct
from dataclasses import dataclass

from voiceauthd.protocol.credentials import OVERFLOW_UID, credentials_of

_SO_PEERGROUPS = 59
"""<asm-generic/socket.h>, since Linux 4.13; the `socket` module has no name for it."""

_MAX_GROUPS = 256
"""The number that Python's getsockopt can return (1,024 bytes, 4 each). A user in more groups counts as in none, and
gets no rights from them."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that opened a connection, at that moment.

    gid, groups  its effective group and its supplementary groups, from the kernel, not from /etc/group
    user         the account's name; None for a uid without an account
    """

    uid: int
    gid: int
    pid: int
    user: str | None
    groups: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"{self.user or '?'} (uid {self.uid}, gid {self.gid}, pid {self.pid})"


def read_peer(connection: socket.socket) -> Peer:
    """Return the peer of a connected AF_UNIX socket. Raises `OSError` if the kernel does not report it. May query a
    user database over the network and take long: not for the event loop's thread."""
    pid, uid, gid = credentials_of(connection)
    return Peer(uid, gid, pid, user_name(uid), _peer_groups(connection))


def user_name(uid: int) -> str | None:
    """Return the account's name; None for a uid without an account, and for the overflow uid."""
    if uid == OVERFLOW_UID:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _peer_groups(connection: socket.socket) -> frozenset[int]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:  # more groups than fit, or a kernel before 4.13: the effective group alone counts
        return frozenset()
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))
