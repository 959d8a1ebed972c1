"""Fixtures for the tests of `client/`."""

from __future__ import annotations

import pam_parts
import pytest


@pytest.fixture(scope="module")
def fixed():
    """A folder in which no other user could have put a socket."""
    yield from pam_parts.fixed_folder()


@pytest.fixture
def local():
    """Skip if the tests run in a remote session."""
    pam_parts.need_a_local_session()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"
