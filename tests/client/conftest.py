"""Fixtures of the tests of `client/`."""

from __future__ import annotations

import pam_parts
import pytest


@pytest.fixture(scope="module")
def fixed():
    """A folder that nobody else could have put a socket into."""
    yield from pam_parts.fixed_folder()


@pytest.fixture
def local():
    """Skips where whoever runs this is logged in from elsewhere."""
    pam_parts.need_a_local_session()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"
