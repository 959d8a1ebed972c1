"""An empty profile store."""

from __future__ import annotations

from pathlib import Path

import pytest
from profile_parts import open_store

from voiceauthd.profiles.store import ProfileStore


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """The folder of the store, which does not exist yet."""
    return tmp_path / "state" / "profiles"


@pytest.fixture
def store(where: Path) -> ProfileStore:
    return open_store(where)
