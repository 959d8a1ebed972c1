"""Write a file so that readers see the old content or the new, never a part, even after a crash or a power cut.

The content goes to a new file in the same folder, mode 0600, which is flushed to the disk and then renamed into place;
then the folder is flushed, too. Every function raises `OSError` and leaves what was there before unchanged; the one
exception is `NotDurableError`. Callers add their own wording.

Standard library only: commands and clients import this module.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PREFIX = ".voiceauth-"
"""Prefix of the temporary files of `write_file`."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotDurableError(OSError):
    """The file is in place, but the folder could not be flushed: after a power cut the old content may be back."""


def write_file(
    path: Path,
    data: bytes,
    *,
    overwrite: bool = True,
    prepare: Callable[[int], None] | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write or replace `path`. Opens its folder and does the same as `write_file_at`.

    check  called with the path of the finished temporary file just before it is renamed
    """
    folder = os.open(path.parent, _OPEN_FOLDER)
    try:
        temporary = temporary_name(PREFIX)
        called = None if check is None else lambda: check(path.with_name(temporary))
        write_file_at(folder, path.name, data, temporary=temporary, overwrite=overwrite, prepare=prepare, check=called)
    finally:
        os.close(folder)


def write_file_at(
    folder: int,
    name: str,
    data: bytes,
    *,
    temporary: str,
    overwrite: bool = True,
    prepare: Callable[[int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> None:
    """Write or replace `name` in the folder with this descriptor, and return when it is on the disk.

    temporary  name of the temporary file, which must not exist; see `temporary_name`
    overwrite  False: raise `FileExistsError` if `name` exists, even if it appears during the call
    prepare    called with the descriptor of the new file before it is flushed: sets owner, mode, attributes
    check      called just before the rename; whatever it raises cancels the write

    Raises `OSError`: nothing has changed. Raises `NotDurableError`: the new file is in place.
    """
    file = os.open(temporary, _OPEN_NEW, 0o600, dir_fd=folder)
    try:
        _fill(file, data, prepare)
        if check is not None:
            check()
        if overwrite:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:  # unlike a rename, a link never replaces a file
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except BaseException:
        _remove_quietly(folder, temporary)
        raise
    if not overwrite:
        _remove_quietly(folder, temporary)
    sync_folder_at(folder)


def remove_file_at(folder: int, name: str) -> None:
    """Remove a file, or a link itself, from the folder with this descriptor, and return when that is on the disk.

    Raises `OSError`: it is still there. Raises `NotDurableError`: it is removed.
    """
    os.unlink(name, dir_fd=folder)
    sync_folder_at(folder)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists, and return when that is on the disk. Raises as `remove_file_at`."""
    folder = os.open(path.parent, _OPEN_FOLDER)
    try:
        with suppress(FileNotFoundError):
            remove_file_at(folder, path.name)
    finally:
        os.close(folder)


def sync_folder_at(folder: int) -> None:
    """Flush the folder with this descriptor to the disk. Raises `NotDurableError`."""
    try:
        os.fsync(folder)
    except OSError as error:
        raise NotDurableError(error.errno, error.strerror) from error


def make_folder(path: Path) -> None:
    """Make `path` and the missing folders above it, mode 0700; root gives each to the owner of the folder above.

    A service that runs as another user must be able to read what root makes for it. Raises `OSError`.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, _OPEN_FOLDER | os.O_NOFOLLOW)
    try:
        give_to_owner_of(path.parent, descriptor)
    finally:
        os.close(descriptor)


def give_to_owner_of(folder: Path, descriptor: int) -> None:
    """Change the owner of an open file or folder to that of `folder`, if this process is root. Raises `OSError`."""
    if os.geteuid() != 0:
        return
    own, other = os.fstat(descriptor), folder.stat()
    if (own.st_uid, own.st_gid) != (other.st_uid, other.st_gid):
        os.fchown(descriptor, other.st_uid, other.st_gid)


def temporary_name(prefix: str) -> str:
    """Return a new name for a temporary file: the prefix, 32 random hexadecimal digits, `.tmp`."""
    return f"{prefix}{secrets.token_hex(16)}.tmp"


def remove_temporaries(folder: int, prefix: str) -> None:
    """Remove the temporary files with this prefix: no writer may be active. Leaves what cannot be removed."""
    pattern = re.compile(rf"\A{re.escape(prefix)}[0-9a-f]{{32}}\.tmp\Z")
    for entry in os.listdir(folder):
        if pattern.match(entry):
            _remove_quietly(folder, entry)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data` to an open file. Raises `OSError`; a part may then be written."""
    rest = memoryview(data)
    while rest:  # a disk that fills up may take a part first, and refuse the rest at the next call
        rest = rest[os.write(descriptor, rest) :]


def _fill(file: int, data: bytes, prepare: Callable[[int], None] | None) -> None:
    """Write and flush a new file, and close it."""
    try:
        write_all(file, data)
        if prepare is not None:
            prepare(file)
        os.fsync(file)
    except BaseException:
        with suppress(OSError):
            os.close(file)
        raise
    os.close(file)  # some file systems report a full disk only here


def _remove_quietly(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)
