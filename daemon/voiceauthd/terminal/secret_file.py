"""Files with secrets: readable by their owner alone, written whole or not at all, never over another file."""

from __future__ import annotations

import sys
from pathlib import Path

from voiceauthd.atomic_file import write_file
from voiceauthd.errors import StorageError, UsageError

MAX_FILE = 128 * 1024
"""Bytes of a file that is read: a profile under a passphrase is a third longer than its text."""

SEALED_PROFILE = b"voiceauthd-profile 2 "
"""How a file of the store begins, sealed with its machine's key."""

MACHINE_BACKUP = b"voiceauthd-machine-backup "
"""How a file of `voiceauth backup` begins."""


def write_secret(path: Path, content: str | bytes, *, replace: bool) -> None:
    """Write `content` to `path`, mode 0600, atomically.

    Raises `UsageError`, reason `exists`, if `path` exists and `replace` is false; `StorageError` if writing fails.
    """
    if not replace:
        require_absent(path)
    try:
        write_file(path, content.encode("utf-8") if isinstance(content, str) else content, overwrite=replace)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror or problem}") from problem


def require_absent(path: Path) -> None:
    """Raises `UsageError`, reason `exists`, if anything has this name."""
    if path.is_symlink() or path.exists():
        raise _exists(path)


def read_text(file: str) -> str:
    """Return the text of `file` (- is standard input). Raises `StorageError` if unreadable, not text or too long."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(file, "rb") as stream:
                data = stream.read(MAX_FILE + 1)
    except OSError as problem:
        raise StorageError(f"cannot read {file}: {problem.strerror or problem}") from problem
    if data.startswith(MACHINE_BACKUP):
        raise StorageError(f"{file} is a backup of a whole machine: use `voiceauth restore`")
    if len(data) > MAX_FILE:
        raise StorageError(f"{file} is not an exported profile: over {MAX_FILE // 1024} KiB")
    if data.startswith(SEALED_PROFILE):
        raise StorageError(
            f"{file} is a file of the profile store, which only its own machine's key opens: put it back there, or "
            "make a portable one with `voiceauth profiles export`"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise StorageError(f"{file} is not an exported profile: not text") from None


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} already exists: --force replaces it", "exists")
