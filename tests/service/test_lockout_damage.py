"""A lockout file that is damaged or cannot be written: it never unlocks a voice, and is repaired."""

from __future__ import annotations

import errno
import json
import os

import pytest
from lockout_parts import fail


@pytest.fixture
def lockout_file(tmp_path):
    return tmp_path / "lockout.json"


def content(**changes):
    """The content of a valid file, except for `changes`."""
    good = {"format": "voiceauthd-lockout 1", "boot": "one", "uptime": 900.0, "time": 1.79e9, "voices": {}}
    return json.dumps(good | changes).encode()


TORN = {
    "empty": b"",
    "zeros": bytes(100),
    "cut": content()[:-5],
    "not JSON": b"\xff\xfe{}",
    "another shape": b"[]",
    "deep": b"[" * 100_000,
    "an unknown field": content(more=1),
    "a newer version": content(format="voiceauthd-lockout 2"),
    "a time that is text": content(uptime="900"),
    "NaN": content().replace(b"900.0", b"NaN"),
    "infinity": content().replace(b"900.0", b"1e999"),
    "an infinite lock": content(voices={"anna": {"locked": 1}}).replace(b'"locked": 1', b'"locked": Infinity'),
    "a failure without a rate": content(voices={"anna": {"failures": [[1.0]]}}),
    "too large": content(boot="x" * (9 * 2**20)),
}


@pytest.mark.parametrize("data", TORN.values(), ids=TORN)
def test_an_invalid_file_locks_everybody_and_is_replaced(lockout_file, start_lockout, clock, caplog, data):
    lockout_file.write_bytes(data)
    lockout_file.chmod(0o600)
    lockout = start_lockout()
    for name in ("anna", "an unknown name"):
        assert lockout.locked_for(name) == 300.0
    assert "every voice is locked for 300 s" in lockout.problem
    assert str(lockout_file) in caplog.text or lockout_file.name in caplog.text
    assert lockout_file.with_name("lockout.json.damaged").read_bytes() == data
    json.loads(lockout_file.read_bytes())
    clock.advance(100.0)
    lockout = start_lockout()
    assert lockout.locked_for("anna") == pytest.approx(200.0), "a restart neither extends nor shortens it"
    clock.advance(200.0)
    assert lockout.locked_for("anna") is None
    assert lockout.problem is None
    fail(lockout, 5)
    assert start_lockout().locked_for("anna") == 300.0
    assert start_lockout().locked_for("ben") is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_locks_everybody(lockout_file, start_lockout, mode):
    fail(start_lockout())
    lockout_file.chmod(mode)
    lockout = start_lockout()
    assert lockout.locked_for("anna") == 300.0
    assert lockout_file.stat().st_mode & 0o777 == 0o600
    assert lockout_file.with_name("lockout.json.damaged").stat().st_mode & 0o777 == mode


def test_a_file_of_another_user_locks_everybody(lockout_file, start_lockout):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    fail(start_lockout())
    os.chown(lockout_file, 65_534, -1)
    assert start_lockout().locked_for("anna") == 300.0
    assert lockout_file.stat().st_uid == 0


def test_a_link_is_not_followed(lockout_file, start_lockout, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(content())
    elsewhere.chmod(0o600)
    lockout_file.symlink_to(elsewhere)
    lockout = start_lockout()
    fail(lockout, 1, "ben")
    assert lockout.locked_for("anna") == 300.0
    assert not lockout_file.is_symlink()
    assert elsewhere.read_bytes() == content()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_something_that_is_not_a_file_is_moved_away(lockout_file, start_lockout, make):
    make(lockout_file)
    assert start_lockout().locked_for("anna") == 300.0
    assert lockout_file.is_file()
    assert lockout_file.with_name("lockout.json.damaged").exists()
    assert start_lockout().locked_for("anna") is not None


def test_a_second_damaged_file_replaces_the_kept_one(lockout_file, start_lockout):
    for data in (b"first", b"second"):
        lockout_file.write_bytes(data)
        lockout_file.chmod(0o600)
        start_lockout()
    assert lockout_file.with_name("lockout.json.damaged").read_bytes() == b"second"


def test_one_voice_can_be_unlocked_while_all_are_locked(lockout_file, start_lockout):
    lockout_file.write_bytes(b"")
    lockout = start_lockout()
    lockout.unlock("Anna")
    for each in (lockout, start_lockout()):
        assert each.locked_for("anna") is None
        assert each.locked_for("ben") == 300.0
    lockout.rename("anna", "zoe")
    assert lockout.locked_for("zoe") is None
    fail(lockout, 5, "zoe")
    assert lockout.locked_for("zoe") == 300.0


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_folder_that_others_may_write_to_is_not_trusted(lockout_file, start_lockout, tmp_path, mode):
    fail(start_lockout())
    tmp_path.chmod(mode)
    try:
        lockout = start_lockout()
        assert lockout.locked_for("anna") == 300.0
        assert lockout.problem
    finally:
        tmp_path.chmod(0o700)


# A disk that is full


@pytest.fixture
def full_disk(monkeypatch):
    """The disk is full while this list is not empty."""
    write = os.write
    full = []

    def write_unless_full(descriptor, data):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr("voiceauthd.profiles.folder.os.write", write_unless_full)
    return full


def test_a_failure_that_cannot_be_written_counts_until_the_restart(start_lockout, full_disk, caplog):
    lockout = start_lockout()
    full_disk.append(True)
    fail(lockout, 4)
    assert "disk is full" in lockout.problem
    assert "disk is full" in caplog.text
    lockout.require_unlocked("anna")
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0
    assert start_lockout().locked_for("anna") is None, "it was not written"


def test_a_failure_that_could_not_be_written_is_written_once_there_is_room(start_lockout, full_disk):
    lockout = start_lockout()
    full_disk.append(True)
    fail(lockout, 5)
    full_disk.pop()
    lockout.record_decision("ben", "no_speech", accepted=False)
    assert lockout.problem is None
    assert start_lockout().locked_for("anna") == 300.0


def test_a_damaged_file_on_a_full_disk_locks_everybody_at_each_start(lockout_file, start_lockout, clock, full_disk):
    lockout_file.write_bytes(b"torn")
    full_disk.append(True)
    for _ in range(3):
        assert start_lockout().locked_for("anna") == 300.0
        assert lockout_file.read_bytes() == b"torn"
        clock.advance(10.0)


def test_an_interrupted_write_leaves_the_old_file_intact(lockout_file, start_lockout, monkeypatch):
    fail(start_lockout(), 4)
    before = lockout_file.read_bytes()

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("voiceauthd.profiles.folder.os.rename", die)
        with pytest.raises(KeyboardInterrupt):
            fail(start_lockout())
    assert lockout_file.read_bytes() == before
    fail(start_lockout())
    assert start_lockout().locked_for("anna") == 300.0
    assert sorted(os.listdir(lockout_file.parent)) == [lockout_file.name], "the temporary file is removed"
