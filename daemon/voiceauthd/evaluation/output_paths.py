"""Checks, before hours of work, that its results can be written and its folders exist."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.evaluation import files


def require_folders(*folders: Path | None) -> None:
    """Raises `UsageError` if one of the folders does not exist; None is skipped."""
    for folder in folders:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")


def require_writable_folder(folder: Path) -> None:
    """Make `folder` if it does not exist. Raises `StorageError` if files cannot be written there."""
    files.make_folder(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StorageError(f"{folder}: this user may not write there")


def require_place(path: Path) -> None:
    """Raises `UsageError` if no file can be made at `path`."""
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path}: not a file that can be made: its folder must exist")


def require_new_file(path: Path, *, force: bool) -> None:
    """Raises `UsageError` if no file can be made at `path`, or if one exists, except with `force`."""
    require_place(path)
    require_absent([path], force=force)


def require_outputs(scores: Path | None, plots: Path | None) -> None:
    """Check that an evaluation's results can be written. Raises `UsageError` or `StorageError`."""
    if scores is not None:
        require_place(scores)
    if plots is not None:
        from voiceauthd.evaluation.plots import require_matplotlib

        require_matplotlib()
        files.make_folder(plots)


def require_absent(paths: Iterable[Path], *, force: bool) -> None:
    """Refuse to replace files, except with `force`.

    Raises `UsageError`, reason `exists`, if one of them exists, and `StorageError` where that cannot be seen.
    """
    try:
        there = [path for path in paths if path.is_symlink() or path.exists()]
    except OSError as problem:
        raise StorageError(f"{problem.filename}: {problem.strerror}: run this as root, or use --output") from problem
    if there and not force:
        also = f" (and {there[1].name})" if len(there) > 1 else ""
        raise UsageError(f"{there[0]}{also} would be replaced: --force does it, --output writes elsewhere", "exists")
