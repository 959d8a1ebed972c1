"""A private, locked folder of small files that are replaced atomically: the file layer of the profile store.

Every call opens the folder again, checks that nobody else can write in it, and works through that descriptor, so that
neither a symbolic link nor a folder replaced in the meantime can redirect it. Nothing here knows what a profile is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from voiceauthd.atomic_file import (
    NotDurableError,
    remove_file_at,
    remove_temporaries,
    temporary_name,
    write_file_at,
)
from voiceauthd.errors import StorageError

LOCK_FILE = ".lock"

LOCK_TIMEOUT = 5.0
"""Seconds. A writer holds the lock for some milliseconds; one that holds it longer than this is stuck."""

LOCK_POLL_INTERVAL = 0.01
"""Seconds. `flock` has no timeout of its own."""

DISK_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class FolderKind(NamedTuple):
    """What a folder is for.

    what          what messages call it
    setting       the configuration key that names it
    lock          the file that is locked; None to lock the folder itself, where others keep files, too
    prefix        of temporary files
    root_may_own  whether it may also belong to root
    """

    what: str
    setting: str
    lock: str | None
    prefix: str
    root_may_own: bool


PROFILES = FolderKind("profile folder", "profiles", LOCK_FILE, ".voiceauthd-", root_may_own=False)

STATE = FolderKind("state folder", "state", None, ".voiceauthd-key-", root_may_own=True)
"""The folder of the key file, which holds other files, too."""


@contextmanager
def folder_to_read(folder: Path, kind: FolderKind = PROFILES, *, locked: bool = False) -> Iterator[tuple[int, int]]:
    """Open the folder for reading alone: nothing is created or removed. Yields a descriptor, and the uid that its files
    must belong to.

    locked  hold the folder's lock meanwhile, unless no writer has ever made one

    Root may read the folder of any user. Raises `StorageError`: `unsafe_folder`, `unreadable`, `locked`.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"the {kind.what} {folder} cannot be read ({error.strerror})", "unreadable") from error
    try:
        owner = os.fstat(descriptor).st_uid if os.geteuid() == 0 else os.geteuid()
        _check_owner(descriptor, folder, kind, owner)
        lock = _lock(descriptor, folder, kind, create=False) if locked else None
        try:
            yield descriptor, owner
        finally:
            if lock is not None:
                os.close(lock)
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path, kind: FolderKind = PROFILES) -> Iterator[int]:
    """Hold the folder's lock, against other processes and other threads; yields a descriptor of the folder.

    Makes the folder (0700) if it does not exist. Removes the temporary files of a writer that was killed.
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
        _check_owner(descriptor, folder, kind, os.geteuid())
        lock = _lock(descriptor, folder, kind)
        try:
            _remove_temporaries(descriptor, kind)
            yield descriptor
        finally:
            if lock is not None:
                os.close(lock)
    finally:
        os.close(descriptor)


def list_folder(folder: int) -> list[str]:
    """Return the names of all entries, unordered. Raises `StorageError`, reason `unreadable`."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise _unreadable_folder(error) from error


def read_file(folder: int, name: str, limit: int, owner: int | None = None) -> bytes:
    """Return the content of a file in the folder. Follows no symbolic link and does not wait for a pipe.

    owner  the uid that it must belong to; None for this process's own

    Raises `StorageError`: `not_a_file`, `unsafe_permissions`, `too_large` (more than `limit` bytes), `unreadable`.
    """
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(
                f"{name} is a symbolic link, which is not followed: put the file itself there", "not_a_file"
            ) from error
        raise StorageError(f"{name} cannot be read ({error.strerror})", "unreadable") from error
    try:
        _check_file(os.fstat(file), name, limit, os.geteuid() if owner is None else owner)
        return _read_all(file, limit)
    except OSError as error:
        raise StorageError(f"{name} cannot be read ({error.strerror})", "unreadable") from error
    finally:
        os.close(file)


def write_file(folder: int, name: str, data: bytes, kind: FolderKind = PROFILES) -> None:
    """Write or replace a file (0600) in the folder, and return when it is on the disk.

    Raises `StorageError`: `disk_full` or `write_failed` with the old file unchanged; `not_durable` if the new file is
    in place but the folder could not be flushed.
    """
    try:
        write_file_at(folder, name, data, temporary=temporary_name(kind.prefix))
    except NotDurableError as error:
        raise _not_durable(name, error) from error
    except OSError as error:
        unchanged = "what was there before is unchanged"
        if error.errno in DISK_FULL_ERRORS:
            raise StorageError(
                f"{name} was not written, the disk is full ({error.strerror}); {unchanged}: free some space and try "
                "again",
                "disk_full",
            ) from error
        raise StorageError(f"{name} was not written ({error.strerror}); {unchanged}", "write_failed") from error


def remove_file(folder: int, name: str) -> None:
    """Remove a file, or a symbolic link itself, and return when that is on the disk.

    Raises `StorageError`: `write_failed`, `not_durable`.
    """
    try:
        remove_file_at(folder, name)
    except NotDurableError as error:
        raise _not_durable(name, error) from error
    except OSError as error:
        raise StorageError(f"{name} was not removed ({error.strerror})", "write_failed") from error


def _not_durable(name: str, error: OSError) -> StorageError:
    return StorageError(f"{name} is changed, but may be back after a power cut ({error.strerror})", "not_durable")


def _unreadable_folder(error: OSError) -> StorageError:
    return StorageError(f"the folder cannot be read ({error.strerror})", "unreadable")


def _open_folder(folder: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(folder, flags)
    except FileNotFoundError:
        _make(folder)
        return os.open(folder, flags)


def _make(folder: Path) -> None:
    """Make the folder and the missing ones above it, all 0700: `mkdir -p` would leave those above to the umask."""
    missing = [folder, *(parent for parent in folder.parents if not parent.exists())]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def _check_owner(descriptor: int, folder: Path, kind: FolderKind, owner: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != owner and not (kind.root_may_own and status.st_uid == 0):
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


def _lock(descriptor: int, folder: Path, kind: FolderKind, *, create: bool = True) -> int | None:
    """Return the descriptor that holds the lock until it is closed. A new one for each call, so that threads exclude
    each other, too. With `create` false, None if there is no file to lock."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if kind.lock is None:
        flags |= os.O_RDONLY | os.O_DIRECTORY
    else:
        flags |= os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    try:
        lock = os.open(kind.lock or ".", flags, 0o600, dir_fd=descriptor)
    except OSError as error:
        if not create and isinstance(error, FileNotFoundError):
            return None
        raise StorageError(f"the lock of {folder} cannot be opened ({error.strerror})", "locked") from error
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK and time.monotonic() < deadline:
                time.sleep(LOCK_POLL_INTERVAL)
                continue
            os.close(lock)
            raise StorageError(
                f"the {kind.what} {folder} is in use by another process ({error.strerror}): try again", "locked"
            ) from error
        return lock


def _remove_temporaries(folder: int, kind: FolderKind) -> None:
    try:
        remove_temporaries(folder, kind.prefix)
    except OSError as error:
        raise _unreadable_folder(error) from error


def _check_file(status: os.stat_result, name: str, limit: int, owner: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{name} is not a file", "not_a_file")
    if status.st_uid != owner:
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
        raise StorageError(f"{name} has {status.st_size} bytes; the maximum is {limit}", "too_large")


def _read_all(file: int, limit: int) -> bytes:
    """Read one byte more than `limit` at most: a longer file is found by its parser's own limit."""
    parts = []
    left = limit + 1
    while left > 0 and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
