"""Fixtures of the tests of `service/`."""

from __future__ import annotations

import pytest
from policy_parts import LISTENER, MALLORY, RALPH


@pytest.fixture(autouse=True)
def accounts(monkeypatch):
    """The accounts of this machine, by name: those of the callers that are made up here. A test may change them."""
    made_up = {peer.user: peer.uid for peer in (RALPH, MALLORY, LISTENER)}
    monkeypatch.setattr("voiceauthd.service.context.find_account", made_up.get)
    return made_up
