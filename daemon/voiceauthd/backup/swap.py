"""Replace files and whole folders so that each is the old or the new one, whenever the process is killed.

What is new is written completely beside what it replaces, under a temporary name, and is on the disk before anything
changes. Then each pair changes places in one system call, so that the old one can still be put back if a later pair
fails. What is left under temporary names after a kill is removed by the next restore.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from voiceauthd.atomic_file import sync_folder_at, temporary_name, write_file_at
from voiceauthd.errors import StorageError
from voiceauthd.profiles.folder import DISK_FULL_ERRORS

PREFIX = ".voiceauthd-restore-"
"""Of temporary names."""

_TEMPORARY = re.compile(rf"\A{re.escape(PREFIX)}[0-9a-f]{{32}}\.tmp\Z")

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2

_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EBUSY, errno.EOPNOTSUPP})

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Owner = tuple[int, int] | None
"""User and group that new files are given to; None for this process's own."""


class Swap(NamedTuple):
    """Something new under a temporary name, and what it replaces, which need not exist."""

    new: Path
    target: Path


def stage_file(target: Path, data: bytes, owner: Owner, mode: int = 0o600) -> Swap:
    """Write the new content of `target` beside it. Raises `OSError`; nothing is then left."""
    swap = Swap(target.with_name(temporary_name(PREFIX)), target)
    folder = os.open(target.parent, _OPEN_FOLDER)
    try:
        _write(folder, swap.new.name, data, owner, mode)
    finally:
        os.close(folder)
    return swap


def stage_folder(target: Path, files: Mapping[str, bytes], owner: Owner) -> Swap:
    """Write a new folder with these files beside `target`. Names may have one folder in front: "a/b".

    Raises `OSError`; a part of it may then be left.
    """
    swap = Swap(target.with_name(temporary_name(PREFIX)), target)
    contents: dict[str, dict[str, bytes]] = {"": {}}
    for name, data in files.items():
        folder, _, file = name.rpartition("/")
        contents.setdefault(folder, {})[file] = data
    for folder in sorted(contents):
        make_folder(swap.new / folder, owner)
    for folder in sorted(contents, reverse=True):  # each folder is flushed after what is in it
        descriptor = os.open(swap.new / folder, _OPEN_FOLDER)
        try:
            for file, data in contents[folder].items():
                _write(descriptor, file, data, owner, 0o600)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return swap


def make_folder(path: Path, owner: Owner, mode: int = 0o700) -> None:
    """Make one folder, whatever the umask. Raises `OSError`."""
    os.mkdir(path, mode)
    descriptor = os.open(path, _OPEN_FOLDER)
    try:
        os.fchmod(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)


def do_swaps(swaps: Sequence[Swap]) -> None:
    """Put everything new into place, in this order; what it replaces then has the temporary names.

    Raises `StorageError`: everything that was swapped is put back.
    """
    undo: list[Callable[[], None]] = []
    try:
        for swap in swaps:
            undo.append(_swap(swap))
            _sync(swap.target.parent)
    except OSError as error:
        for step in reversed(undo):
            step()
        raise _failed(swap.target, error) from error


def exchange(one: Path, other: Path) -> None:
    """Let two files or folders change places in one step. Raises `OSError`."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def remove_temporary(path: Path, known: Callable[[str], bool]) -> bool:
    """Remove a file or folder with a temporary name. Return whether it is gone.

    known  which files of a folder are removed, by their path in it; others, and the folder around them, stay
    """
    with suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
        else:
            _remove_known(path, "", known)
    return not os.path.lexists(path)


def temporaries_in(folder: Path) -> list[Path]:
    """Return what a restore that was killed has left in the folder."""
    try:
        return sorted(folder / entry for entry in os.listdir(folder) if _TEMPORARY.match(entry))
    except OSError:
        return []


def storage_error(what: str, error: OSError) -> StorageError:
    """Return the error for a restore that has changed nothing."""
    why = error.strerror or str(error)
    if error.errno in DISK_FULL_ERRORS:
        return StorageError(
            f"{what} was not written, the disk is full ({why}); nothing was changed: free some space", "disk_full"
        )
    return StorageError(f"{what} was not written ({why}); nothing was changed", "write_failed")


def _write(folder: int, name: str, data: bytes, owner: Owner, mode: int) -> None:
    def prepare(file: int) -> None:
        os.fchmod(file, mode)
        if owner is not None:
            os.fchown(file, *owner)

    write_file_at(folder, name, data, temporary=temporary_name(PREFIX), prepare=prepare)


def _swap(swap: Swap) -> Callable[[], None]:
    """Do one swap. Return what undoes it."""
    if os.path.lexists(swap.target):
        exchange(swap.new, swap.target)
        return lambda: exchange(swap.new, swap.target)
    os.rename(swap.new, swap.target)
    return lambda: os.rename(swap.target, swap.new)


def _failed(target: Path, error: OSError) -> StorageError:
    if error.errno in _UNSUPPORTED and os.path.lexists(target):
        return StorageError(
            f"{target} cannot be replaced in one step here ({error.strerror}); nothing was changed: move it away, and "
            "restore again",
            "write_failed",
        )
    return storage_error(str(target), error)


def _sync(path: Path) -> None:
    folder = os.open(path, _OPEN_FOLDER)
    try:
        sync_folder_at(folder)
    finally:
        os.close(folder)


def _remove_known(folder: Path, inside: str, known: Callable[[str], bool]) -> None:
    for entry in sorted(os.listdir(folder)):
        name, path = f"{inside}{entry}", folder / entry
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _remove_known(path, f"{name}/", known)
        elif known(name):
            os.unlink(path)
    with suppress(OSError):  # something else is in it
        os.rmdir(folder)
