"""Fixtures for the tests of `server/`."""

from __future__ import annotations

import contextlib

import pytest
from server_parts import Daemon, plug


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "socket") as running:
        yield running


@pytest.fixture
def connect(daemon):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(plug(daemon))
