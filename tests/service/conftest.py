"""Fixtures of the tests of `service/`."""

from __future__ import annotations

import contextlib

import pytest
from policy_parts import LISTENER, MALLORY, RALPH
from server_parts import Daemon, plug


@pytest.fixture(autouse=True)
def accounts(monkeypatch):
    """The accounts of this machine, by name: those of the callers that are made up here. A test may change them."""
    made_up = {peer.user: peer.uid for peer in (RALPH, MALLORY, LISTENER)}
    monkeypatch.setattr("voiceauthd.service.context.find_account", made_up.get)
    return made_up


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "socket") as running:
        yield running


@pytest.fixture
def connect(daemon):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(plug(daemon))
