"""The files of the audit log: a private folder, the lock, files named by their first line, and the head.

The head tells which line is the last, so that a tail that was cut off is found out. It is replaced as a whole, after
the line is on the disk: it may be one line behind, and is never ahead.
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

from voiceauthd.audit.line import NO_HASH
from voiceauthd.errors import DeniedError, StorageError

HEAD = "head"

LOCK = ".lock"

LOCK_TIMEOUT = 2.0
"""Seconds. A daemon holds the lock for its life; the next one may start while the last one ends."""

LOCK_POLL = 0.02
"""Seconds. `flock` has no timeout of its own."""

MAX_HEAD = 512
"""Bytes. A head has about 120."""

_TEMPORARY = f".{HEAD}.tmp"

_FILE = re.compile(r"\Aaudit-([0-9]{12})\.jsonl\Z")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends, and where it begins.

    seq, hash  of the last line; 0 and zeros before the first line ever
    first      the number of the first line that is kept
    """

    seq: int = 0
    hash: str = NO_HASH
    first: int = 1


def file_name(seq: int) -> str:
    """The file whose first line has this number."""
    return f"audit-{seq:012d}.jsonl"


def first_of(name: str) -> int | None:
    """The number of the first line of the file; None if it is no file of the log."""
    found = _FILE.match(name)
    return int(found.group(1)) if found else None


def list_files(folder: int) -> list[str]:
    """The files of the log, the oldest first. Raises `OSError`."""
    return sorted(name for name in os.listdir(folder) if _FILE.match(name))


def storage_error(folder: Path, error: OSError) -> StorageError:
    """What an `OSError` means for the log in `folder`."""
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return StorageError(f"the audit log {folder} was not written, the disk is full ({why}): free some", "disk_full")
    return StorageError(f"the audit log {folder} cannot be used ({why}): `ls -la` shows what is there", "audit")


def open_to_write(folder: Path) -> int:
    """A descriptor of the folder, which is made (0700) if need be. Raises `OSError`, and `StorageError` if others may
    write in it."""
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
        fix = f"chown {os.geteuid()} and chmod 0700 {shlex.quote(str(folder))} if nobody has changed what is in it"
        raise StorageError(f"the audit folder {folder} {problem}: {fix}", "unsafe_folder")
    return descriptor


def open_to_read(folder: Path) -> int:
    """A descriptor of the folder. Raises `StorageError`, and `DeniedError` if this user may not look into it."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StorageError(f"there is no audit log at {folder}: no daemon has run with it yet", "no_audit") from None
    except PermissionError:
        raise DeniedError(f"the audit log {folder} may be read by root and by the daemon's user") from None
    except OSError as error:
        raise storage_error(folder, error) from error


def unsafe(status: os.stat_result, owner: int) -> str | None:
    """Why a folder or a file of the log, which should be that user's, is not to be trusted; None if it is."""
    if status.st_uid != owner:
        return f"belongs to user {status.st_uid}, and not to user {owner}"
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def lock(folder: int, path: Path) -> int:
    """The descriptor that holds the lock until it is closed. Raises `OSError`, and `StorageError` if another process
    holds it."""
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
                f"the audit log {path} is written by another daemon: stop that one, or set another `state`", "locked"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def open_file(folder: int, name: str) -> int:
    """A file of the log, to be read. Raises `OSError`, and `StorageError` for what is no file."""
    descriptor = os.open(name, _READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{name} in the audit folder is not a file", "not_a_file")
    return descriptor


def open_to_append(folder: int, name: str, *, new: bool) -> int:
    """A file of the log, to be written at its end. Raises `OSError`, and `StorageError` if others may write to it."""
    made = os.O_CREAT | os.O_EXCL if new else 0
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | made
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    status = os.fstat(descriptor)
    problem = unsafe(status, os.geteuid()) if stat.S_ISREG(status.st_mode) else "is not a file"
    if problem is not None:
        os.close(descriptor)
        raise StorageError(f"{name} in the audit folder {problem}", "unsafe_permissions")
    return descriptor


def write_all(file: int, data: bytes) -> None:
    """Writes all of it. Raises `OSError`; a part may then be written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def read_head(folder: int) -> Head | None:
    """The head; None if there is none. Raises `OSError`, and `ValueError` for what is no head."""
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
        raise ValueError("it is no object")  # noqa: TRY004 - one error for every head that is none
    seq, digest, first = fields.get("seq"), fields.get("hash"), fields.get("first")
    if type(seq) is not int or type(first) is not int or not isinstance(digest, str) or seq < 0 or first < 1:
        raise ValueError("it has other fields")
    if data != _encode(Head(seq, digest, first)):
        raise ValueError("it is written otherwise")
    return Head(seq, digest, first)


def prepare_head(folder: int, head: Head) -> None:
    """Puts the next head on the disk, beside the one that holds. Raises `OSError`."""
    descriptor = os.open(_TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        write_all(descriptor, _encode(head))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_head(folder: int) -> None:
    """Makes the head that was prepared the one that holds. Raises `OSError`."""
    os.rename(_TEMPORARY, HEAD, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def discard_head(folder: int) -> None:
    """Removes a head that was prepared by a daemon that was killed."""
    with suppress(OSError):
        os.unlink(_TEMPORARY, dir_fd=folder)


def _encode(head: Head) -> bytes:
    return f'{{"seq":{head.seq},"hash":"{head.hash}","first":{head.first}}}\n'.encode(errors="replace")
