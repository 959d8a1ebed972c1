"""The files of the audit log: a private folder, the lock, files named by their first line, and the head.

The head records the last line, so that a truncated log is detected. It is replaced atomically after the line is on the
disk, so it may be one line behind, and is never ahead.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shlex
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.atomic_file import write_all
from voiceauthd.audit.line import NO_HASH
from voiceauthd.errors import DeniedError, StorageError

HEAD = "head"

LOCK = ".lock"

LOCK_TIMEOUT = 2.0
"""Seconds. A daemon holds the lock until it exits; the next one may start while the previous one is stopping."""

LOCK_POLL = 0.02
"""Seconds between two tries; `flock` has no timeout of its own."""

MAX_HEAD = 512
"""Maximum bytes of a head; it has about 120."""

_TEMPORARY = f".{HEAD}.tmp"

_FILE = re.compile(r"\Aaudit-([0-9]{12})\.jsonl\Z")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log begins and ends.

    seq, hash  of the last line; 0 and zeros before the first line ever
    first      the number of the first line that is kept
    """

    seq: int = 0
    hash: str = NO_HASH
    first: int = 1


def file_name(seq: int) -> str:
    """Return the name of the file whose first line has this number."""
    return f"audit-{seq:012d}.jsonl"


def first_of(name: str) -> int | None:
    """Return the number of the file's first line; None if it is not a file of the log."""
    found = _FILE.match(name)
    return int(found.group(1)) if found else None


def list_files(folder: int) -> list[str]:
    """Return the files of the log, oldest first. Raises `OSError`."""
    return sorted(name for name in os.listdir(folder) if _FILE.match(name))


def storage_error(folder: Path, error: OSError) -> StorageError:
    """Return the error for an `OSError` about the log in `folder`."""
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return StorageError(
            f"the audit log {folder} was not written, the disk is full ({why}): free some space", "disk_full"
        )
    return StorageError(f"the audit log {folder} cannot be used ({why}): `ls -la` shows what is there", "audit")


def open_to_write(folder: Path) -> int:
    """Open the folder, which is created (mode 0700) if it is missing. Raises `OSError`, and `StorageError` if others
    can write to it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        descriptor = os.open(folder, flags)
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, flags)
    status = os.fstat(descriptor)
    problem = unsafe(status, os.geteuid())
    if problem is not None:
        os.close(descriptor)
        fix = f"chown {os.geteuid()} and chmod 0700 {shlex.quote(str(folder))} if nobody has changed its content"
        raise StorageError(f"the audit folder {folder} {problem}: {fix}", "unsafe_folder")
    return descriptor


def open_to_read(folder: Path) -> int:
    """Open the folder for reading. Raises `StorageError`, and `DeniedError` if this user may not read it."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StorageError(f"there is no audit log at {folder}: no daemon has used it yet", "no_audit") from None
    except PermissionError:
        raise DeniedError(f"the audit log {folder} can be read only by root and the daemon's user") from None
    except OSError as error:
        raise storage_error(folder, error) from error


def unsafe(status: os.stat_result, owner: int) -> str | None:
    """Return why a folder or file of the log is not to be trusted; None if it belongs to `owner` and is safe."""
    if status.st_uid != owner:
        return f"belongs to user {status.st_uid}, not to user {owner}"
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def lock(folder: int, path: Path) -> int:
    """Return a descriptor that holds the lock until it is closed. Raises `OSError`, and `StorageError` if another
    process holds the lock."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(LOCK_POLL)
                continue
            os.close(descriptor)
            raise StorageError(
                f"another daemon is writing the audit log {path}: stop it, or set another `state`", "locked"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def open_file(folder: int, name: str) -> int:
    """Open a file of the log for reading. Raises `OSError`, and `StorageError` if it is not a regular file."""
    descriptor = os.open(name, _READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{name} in the audit folder is not a file", "not_a_file")
    return descriptor


def open_to_append(folder: int, name: str, *, new: bool) -> int:
    """Open a file of the log for appending. Raises `OSError`, and `StorageError` if others can write to it."""
    create = os.O_CREAT | os.O_EXCL if new else 0
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | create
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    status = os.fstat(descriptor)
    problem = unsafe(status, os.geteuid()) if stat.S_ISREG(status.st_mode) else "is not a file"
    if problem is not None:
        os.close(descriptor)
        raise StorageError(f"{name} in the audit folder {problem}", "unsafe_permissions")
    return descriptor


def read_head(folder: int) -> Head | None:
    """Return the head; None if there is none. Raises `OSError`, and `ValueError` if it is not a valid head."""
    try:
        descriptor = os.open(HEAD, _READ, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("it is a link") from None
        raise
    try:
        data = os.read(descriptor, MAX_HEAD)
    finally:
        os.close(descriptor)
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one error for every invalid head
    seq, digest, first = fields.get("seq"), fields.get("hash"), fields.get("first")
    if type(seq) is not int or type(first) is not int or not isinstance(digest, str) or seq < 0 or first < 1:
        raise ValueError("its fields are wrong")
    if data != _encode(Head(seq, digest, first)):
        raise ValueError("its format is wrong")
    return Head(seq, digest, first)


def prepare_head(folder: int, head: Head) -> None:
    """Write the next head to the disk, beside the current one. Raises `OSError`."""
    descriptor = os.open(_TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        write_all(descriptor, _encode(head))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_head(folder: int) -> None:
    """Replace the current head by the prepared one. Raises `OSError`."""
    os.rename(_TEMPORARY, HEAD, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def discard_head(folder: int) -> None:
    """Remove a prepared head that a killed daemon has left behind."""
    with suppress(OSError):
        os.unlink(_TEMPORARY, dir_fd=folder)


def _encode(head: Head) -> bytes:
    return f'{{"seq":{head.seq},"hash":"{head.hash}","first":{head.first}}}\n'.encode(errors="replace")
