"""Files that appear whole or not at all, readable by their owner alone. What root writes belongs to whoever owns the
folder: the daemon must be able to read what root made for it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from voiceauthd.errors import StorageError


def write_whole(path: Path, data: bytes) -> None:
    """Writes or replaces `path`, mode 0600, and waits until it is on the disk. Raises `StorageError`."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                _give(stream.fileno(), path.parent)
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _flush(path.parent)
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror or problem}") from problem


def remove(path: Path) -> None:
    """Removes a file for good, if it is there. Raises `StorageError`."""
    try:
        path.unlink(missing_ok=True)
        _flush(path.parent)
    except OSError as problem:
        raise StorageError(f"cannot remove {path}: {problem.strerror or problem}") from problem


def make_folder(path: Path) -> None:
    """Makes `path`, mode 0700, and what it lies in, unless it is there. Raises `StorageError`."""
    try:
        if path.is_dir():
            return
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give(descriptor, path.parent)
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise StorageError(f"cannot make the folder {path}: {problem.strerror or problem}") from problem


def _give(descriptor: int, folder: Path) -> None:
    """What root has made, to the owner of the folder it is in."""
    if os.geteuid() != 0:
        return
    own, other = os.fstat(descriptor), folder.stat()
    if (own.st_uid, own.st_gid) != (other.st_uid, other.st_gid):
        os.fchown(descriptor, other.st_uid, other.st_gid)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
