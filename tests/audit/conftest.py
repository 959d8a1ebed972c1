"""Folders in memory if possible: these tests write thousands of lines, and need no real disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


def quick_folder() -> Path:
    """Return a new folder."""
    memory = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="voiceauthd-audit-", dir=memory))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Replaces pytest's own fixture."""
    folder = quick_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    """The same, shared by all examples of a property."""
    folder = quick_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
