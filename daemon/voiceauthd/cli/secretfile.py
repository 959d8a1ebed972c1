"""Exported profiles on disk: readable by their owner alone, written whole or not at all, never over another file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from voiceauthd.errors import StorageError, UsageError

MAX_DOCUMENT = 60 * 1024
"""Bytes of a profile's text: it must fit in one message of 64 KiB with what goes around it."""


MAX_FILE = 128 * 1024
"""Bytes of a file that is read: the same text under a passphrase is a third longer."""

SEALED_PROFILE = b"voiceauthd-profile 2 "
"""How a file of the store begins, which the key of its machine has sealed."""


def write_secret(path: Path, text: str, *, replace: bool) -> None:
    """Writes `text` to `path`, mode 0600, atomically: temporary file, fsync, link or rename, fsync of the folder.

    Raises `UsageError`, reason `exists`, if `path` is there and `replace` is false; `StorageError` if it fails.
    """
    if not replace and path.is_symlink() | path.exists():
        raise _exists(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                temporary.replace(path)
            else:
                os.link(temporary, path)  # unlike a rename, it fails if somebody else was faster
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror or problem}") from problem


def read_text(file: str) -> str:
    """The text of `file` (- is standard input). Raises `StorageError` if it cannot be read, is no text or too long."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(file, "rb") as stream:
                data = stream.read(MAX_FILE + 1)
    except OSError as problem:
        raise StorageError(f"cannot read {file}: {problem.strerror or problem}") from problem
    if len(data) > MAX_FILE:
        raise StorageError(f"{file} is no exported profile: over {MAX_FILE // 1024} KiB")
    if data.startswith(SEALED_PROFILE):
        raise StorageError(
            f"{file} is a file of the store, which only its own machine's key opens: put it back there, or make one "
            "that travels with `voiceauth profiles export`"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise StorageError(f"{file} is no exported profile: not text") from None


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} is there already: --force replaces it", "exists")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
