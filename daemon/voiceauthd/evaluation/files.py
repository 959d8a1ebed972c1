"""Files written atomically and readable by their owner alone. A file or folder that root makes gets the owner of the
folder it is in: the daemon must be able to read it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from voiceauthd import atomic_file
from voiceauthd.errors import StorageError


def write_whole(path: Path, data: bytes) -> None:
    """Write or replace `path`, mode 0600, and return when it is on the disk. Raises `StorageError`."""
    try:
        atomic_file.write_file(path, data, prepare=partial(atomic_file.give_to_owner_of, path.parent))
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror or problem}") from problem


def remove(path: Path) -> None:
    """Remove a file, if it exists, and return when that is on the disk. Raises `StorageError`."""
    try:
        atomic_file.remove_file(path)
    except OSError as problem:
        raise StorageError(f"cannot remove {path}: {problem.strerror or problem}") from problem


def make_folder(path: Path) -> None:
    """Make `path` and the missing folders above it, mode 0700. Raises `StorageError`."""
    try:
        atomic_file.make_folder(path)
    except OSError as problem:
        raise StorageError(f"cannot make the folder {path}: {problem.strerror or problem}") from problem
