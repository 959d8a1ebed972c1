"""Whose socket it is: for a program that must not take another's word for the daemon's.

Two things are looked at. The path: nobody but root and the daemon's user can put a socket there. And the listener: the
kernel tells who made the socket listen, whatever its path. Each function here says yes at its very end only.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable

from voiceauthd.errors import DeniedError, UsageError
from voiceauthd.protocol.credentials import credentials_of

ROOT = 0

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
"""Write permission for others than the owner. Entries of an access list show in the group's bits. A sticky folder is no
exception: in it others cannot remove a socket, but can make one where there is none."""


def user_ids(names: Iterable[str]) -> frozenset[int]:
    """The uids of these accounts. Raises `UsageError` for one that does not exist."""
    import pwd

    found = []
    for name in names:
        try:
            found.append(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UsageError(f"there is no user {name!r}") from None
    return frozenset(found)


def trusted_path(path: str, owners: frozenset[int]) -> str:
    """Where the socket `path` is, without links, if nobody but root and `owners` could have put it there.

    Raises `DeniedError`, reason `impostor`, otherwise; `OSError` for a path that leads nowhere.
    """
    if not os.path.isabs(path):
        raise _impostor(f"{path!r} is no absolute path")
    trusted = {ROOT, *owners}
    resolved = os.path.realpath(path, strict=True)
    found = os.lstat(resolved)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in trusted:
        raise _impostor(f"{resolved} is no socket of the daemon's user or root")
    folder = resolved
    while folder != "/":
        folder = os.path.dirname(folder)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted or found.st_mode & _OTHERS_WRITE:
            raise _impostor(f"others than root and the daemon's user may write to {folder}")
    return resolved


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a connected AF_UNIX socket: who connected, or who listens. Raises `OSError`."""
    return credentials_of(connection).uid


def require_owner(connection: socket.socket, owners: frozenset[int]) -> bool:
    """True if who made the other end listen is root or one of `owners`.

    Raises `DeniedError`, reason `impostor`, otherwise. A socket that systemd made is root's.
    """
    uid = peer_uid(connection)
    if uid != ROOT and uid not in owners:
        raise _impostor(f"the socket was made by the user {uid}")
    return True


def _impostor(what: str) -> DeniedError:
    return DeniedError(f"this may not be the daemon's socket: {what}", "impostor")
