"""Fixtures of the tests of `service/`."""

from __future__ import annotations

import dataclasses

import pytest
from inprocess_daemon import LISTENER, MALLORY, RALPH
from lockout_parts import CONFIG, ManualClock

from voiceauthd.service.lockout import Lockout


@pytest.fixture(autouse=True)
def accounts(monkeypatch):
    """The uids of this machine's accounts by name: those of the made-up callers. A test may change them."""
    uids = {peer.user: peer.uid for peer in (RALPH, MALLORY, LISTENER)}
    monkeypatch.setattr("voiceauthd.service.context.find_account", uids.get)
    return uids


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def lockout_file(tmp_path):
    return tmp_path / "state" / "lockout.json"


@pytest.fixture
def start_lockout(lockout_file, clock):
    """Creates a lockout on `lockout_file`; calling it again is like a restart of the daemon."""

    def start(**changes):
        return Lockout(lockout_file, dataclasses.replace(CONFIG, **changes), clock)

    return start
