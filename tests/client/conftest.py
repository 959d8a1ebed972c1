"""Fixtures of the tests of `client/`."""

from __future__ import annotations

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"
