"""Files that appear whole or not at all, readable by their owner alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from voiceauthd.errors import StorageError


def write_whole(path: Path, data: bytes) -> None:
    """Writes or replaces `path`, mode 0600. Raises `StorageError`."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror or problem}") from problem


def make_folder(path: Path) -> None:
    """Makes `path`, mode 0700, and what it lies in, unless it is there. Raises `StorageError`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StorageError(f"cannot make the folder {path}: {problem.strerror or problem}") from problem
