"""Check who owns a socket, for a program that must not be fooled by an impostor of the daemon.

There are two checks. The path: only root and the daemon's user can put a socket there. The listener: the kernel reports
which user called listen(), whatever the path. Each function here returns success only on its last line.
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
"""Write permission for anybody but the owner. Entries of an ACL show in the group bits. A sticky folder is no
exception: others cannot remove a socket from it, but can create one where there is none."""


def user_ids(names: Iterable[str]) -> frozenset[int]:
    """Return the uids of these accounts. Raises `UsageError` for an account that does not exist."""
    import pwd

    found = []
    for name in names:
        try:
            found.append(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UsageError(f"there is no user {name!r}") from None
    return frozenset(found)


def trusted_path(path: str, owners: frozenset[int]) -> str:
    """Return the real path of the socket `path`, if only root and `owners` could have put it there.

    Raises `DeniedError`, reason `impostor`, otherwise; `OSError` for a path that does not exist.
    """
    if not os.path.isabs(path):
        raise _impostor(f"{path!r} is not an absolute path")
    trusted = {ROOT, *owners}
    resolved = os.path.realpath(path, strict=True)
    found = os.lstat(resolved)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in trusted:
        raise _impostor(f"{resolved} is not a socket of root or the daemon's user")
    folder = resolved
    while folder != "/":
        folder = os.path.dirname(folder)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted or found.st_mode & _OTHERS_WRITE:
            raise _impostor(f"users other than root and the daemon's user can write to {folder}")
    return resolved


def require_owner(connection: socket.socket, owners: frozenset[int]) -> bool:
    """Return True if root or one of `owners` listens at the other end. Raises `DeniedError`, reason `impostor`,
    otherwise. root listens on a socket that systemd opened.
    """
    uid = credentials_of(connection).uid
    if uid != ROOT and uid not in owners:
        raise _impostor(f"the socket was opened by uid {uid}")
    return True


def _impostor(what: str) -> DeniedError:
    return DeniedError(f"this may not be the daemon's socket: {what}", "impostor")
