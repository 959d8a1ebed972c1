"""A private folder of small files that are either old or new, never half: what the store stands on.

Every call opens the folder again, checks that nobody else may write in it, and works through that descriptor, so
that neither a link nor a folder that was swapped meanwhile can lead it astray. Nothing here knows what a profile is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from voiceauthd.errors import StorageError

LOCK = ".lock"

LOCK_TIMEOUT = 5.0
"""Seconds. A writer holds the lock for some milliseconds; one that holds it longer than this is stuck."""

LOCK_POLL = 0.01
"""Seconds. `flock` has no timeout of its own."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Kind(NamedTuple):
    """What a folder is for.

    what     what it is called in messages
    setting  the key of the configuration that names it
    lock     the file that is locked; None to lock the folder itself, where others keep files, too
    prefix   of the files that are being written
    root     it may also belong to root
    """

    what: str
    setting: str
    lock: str | None
    prefix: str
    root: bool


PROFILES = Kind("profile folder", "profiles", LOCK, ".voiceauthd-", root=False)

STATE = Kind("state folder", "state", None, ".voiceauthd-key-", root=True)
"""Where the key file lies, and what others keep beside it."""


@contextmanager
def locked_folder(folder: Path, kind: Kind = PROFILES) -> Iterator[int]:
    """A descriptor of the folder while no other process, and no other thread, works in it.

    Makes the folder (0700) if it is not there. Removes what a writer that was killed has left.
    Raises `StorageError`: `unsafe_folder`, `unreadable`, `locked`.
    """
    try:
        descriptor = _open_folder(folder)
    except OSError as error:
        raise StorageError(
            f"the {kind.what} {folder} cannot be used ({error.strerror}): make it with "
            f"`install -d -m 0700 {shlex.quote(str(folder))}`, or name another one with `{kind.setting}`",
            "unreadable",
        ) from error
    try:
        _check_owner(descriptor, folder, kind)
        lock = _lock(descriptor, folder, kind)
        try:
            _remove_temporaries(descriptor, kind)
            yield descriptor
        finally:
            os.close(lock)
    finally:
        os.close(descriptor)


def list_folder(folder: int) -> list[str]:
    """The names of everything in the folder, in no order. Raises `StorageError`, reason `unreadable`."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise StorageError(f"the folder cannot be read ({error.strerror})", "unreadable") from error


def read_file(folder: int, name: str, limit: int) -> bytes:
    """The content of a file in the folder. Follows no link and waits for no pipe.

    Raises `StorageError`: `not_a_file`, `unsafe_permissions`, `too_large` (more than `limit` bytes), `unreadable`.
    """
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(
                f"{name} is a link, which is not followed: put the file itself there", "not_a_file"
            ) from error
        raise StorageError(f"{name} cannot be read ({error.strerror})", "unreadable") from error
    try:
        _check_file(os.fstat(file), name, limit)
        return _read_all(file, limit)
    except OSError as error:
        raise StorageError(f"{name} cannot be read ({error.strerror})", "unreadable") from error
    finally:
        os.close(file)


def write_file(folder: int, name: str, data: bytes, kind: Kind = PROFILES) -> None:
    """Puts a file (0600) in the folder, or in the place of the one that is there, and waits until it is on the disk.

    Raises `StorageError`: `disk_full` or `write_failed`, with what was there before whole; `not_durable` if the file is
    in place but the folder could not be flushed.
    """
    temporary = f"{kind.prefix}{secrets.token_hex(16)}.tmp"
    try:
        _write_new(folder, temporary, data)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        kept = "what was there before is unchanged"
        if error.errno in FULL:
            raise StorageError(
                f"{name} was not written, the disk is full ({error.strerror}); {kept}: free some space and try again",
                "disk_full",
            ) from error
        raise StorageError(f"{name} was not written ({error.strerror}); {kept}", "write_failed") from error
    _flush(folder, name)


def remove_file(folder: int, name: str) -> None:
    """Removes a file, or a link itself, for good. Raises `StorageError`: `write_failed`, `not_durable`."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        raise StorageError(f"{name} was not removed ({error.strerror})", "write_failed") from error
    _flush(folder, name)


def _open_folder(folder: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(folder, flags)
    except FileNotFoundError:
        _make(folder)
        return os.open(folder, flags)


def _make(folder: Path) -> None:
    """0700, and so are the folders on the way to it that are not there: `mkdir -p` would leave those to the umask."""
    missing = [folder, *(parent for parent in folder.parents if not parent.exists())]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def _check_owner(descriptor: int, folder: Path, kind: Kind) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() and not (kind.root and status.st_uid == 0):
        raise StorageError(
            f"the {kind.what} {folder} belongs to user {status.st_uid}, and this is user {os.geteuid()}: run as "
            f"that user, or name another folder with `{kind.setting}`",
            "unsafe_folder",
        )
    if status.st_mode & WRITABLE_BY_OTHERS:
        raise StorageError(
            f"the {kind.what} {folder} can be written by others (mode {stat.S_IMODE(status.st_mode):04o}): run "
            f"`chmod 0700 {shlex.quote(str(folder))}`",
            "unsafe_folder",
        )


def _lock(descriptor: int, folder: Path, kind: Kind) -> int:
    """The descriptor that holds the lock; closing it gives the lock back. Its own for each call: threads too exclude
    one another."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    flags |= os.O_RDONLY | os.O_DIRECTORY if kind.lock is None else os.O_RDWR | os.O_CREAT
    try:
        lock = os.open(kind.lock or ".", flags, 0o600, dir_fd=descriptor)
    except OSError as error:
        raise StorageError(f"the lock of {folder} cannot be opened ({error.strerror})", "locked") from error
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK and time.monotonic() < deadline:
                time.sleep(LOCK_POLL)
                continue
            os.close(lock)
            raise StorageError(
                f"the {kind.what} {folder} is in use by another process ({error.strerror}): try again", "locked"
            ) from error
        return lock


def _remove_temporaries(folder: int, kind: Kind) -> None:
    left = re.compile(rf"\A{re.escape(kind.prefix)}[0-9a-f]{{32}}\.tmp\Z")
    for entry in list_folder(folder):
        if left.match(entry):
            with suppress(OSError):
                os.unlink(entry, dir_fd=folder)


def _check_file(status: os.stat_result, name: str, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{name} is not a file", "not_a_file")
    if status.st_uid != os.geteuid():
        raise StorageError(
            f"{name} belongs to user {status.st_uid}: give it to the folder's owner", "unsafe_permissions"
        )
    if status.st_mode & WRITABLE_BY_OTHERS:
        raise StorageError(
            f"{name} can be written by others (mode {stat.S_IMODE(status.st_mode):04o}), so it is not trusted: enrol "
            "again, or run chmod 0600 on it if nobody has changed it",
            "unsafe_permissions",
        )
    if status.st_size > limit:
        raise StorageError(f"{name} has {status.st_size} bytes; at most {limit} are read", "too_large")


def _read_all(file: int, limit: int) -> bytes:
    parts = []
    left = limit + 1
    while left > 0 and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write_new(folder: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:  # a disk that fills up may take a part first, and refuse the rest at the next call
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except BaseException:
        with suppress(OSError):
            os.close(file)
        raise
    os.close(file)  # some file systems report a full disk only here


def _flush(folder: int, name: str) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        raise StorageError(
            f"{name} is changed, but may be back after a power cut ({error.strerror})", "not_durable"
        ) from error
