"""A lockout file that is damaged, or cannot be written: nobody gets in because of it, and it heals."""

from __future__ import annotations

import errno
import json
import os

import pytest
from lockout_parts import CONFIG, Hands, fail

from voiceauthd.service.lockout import Lockout


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lockout.json"


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def start(file, clock):
    return lambda: Lockout(file, CONFIG, clock)


def book(**changes):
    """A file that is good but for this."""
    good = {"format": "voiceauthd-lockout 1", "boot": "one", "uptime": 900.0, "time": 1.79e9, "voices": {}}
    return json.dumps(good | changes).encode()


TORN = {
    "empty": b"",
    "zeros": bytes(100),
    "cut": book()[:-5],
    "not JSON": b"\xff\xfe{}",
    "another shape": b"[]",
    "deep": b"[" * 100_000,
    "an unknown field": book(more=1),
    "a newer version": book(format="voiceauthd-lockout 2"),
    "a time that is text": book(uptime="900"),
    "no number": book().replace(b"900.0", b"NaN"),
    "endless": book().replace(b"900.0", b"1e999"),
    "a lock without end": book(voices={"anna": {"locked": 1}}).replace(b'"locked": 1', b'"locked": Infinity'),
    "failures that are none": book(voices={"anna": {"failures": [[1.0]]}}),
    "too large": book(boot="x" * (9 * 2**20)),
}


@pytest.mark.parametrize("data", TORN.values(), ids=TORN)
def test_a_file_that_is_not_understood_locks_everybody_and_heals(file, start, clock, caplog, data):
    file.write_bytes(data)
    file.chmod(0o600)
    lockout = start()
    for name in ("anna", "somebody who was never seen"):
        assert lockout.locked_for(name) == 300.0
    assert "every voice is locked for 300 s" in lockout.problem
    assert str(file) in caplog.text or file.name in caplog.text
    assert file.with_name("lockout.json.damaged").read_bytes() == data
    json.loads(file.read_bytes())
    clock.passes(100.0)
    lockout = start()
    assert lockout.locked_for("anna") == pytest.approx(200.0), "another start makes it neither longer nor shorter"
    clock.passes(200.0)
    assert lockout.locked_for("anna") is None
    assert lockout.problem is None
    fail(lockout, 5)
    assert start().locked_for("anna") == 300.0
    assert start().locked_for("ben") is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_have_written_locks_everybody(file, start, mode):
    fail(start())
    file.chmod(mode)
    lockout = start()
    assert lockout.locked_for("anna") == 300.0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.with_name("lockout.json.damaged").stat().st_mode & 0o777 == mode


def test_a_file_of_another_user_locks_everybody(file, start):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    fail(start())
    os.chown(file, 65_534, -1)
    assert start().locked_for("anna") == 300.0
    assert file.stat().st_uid == 0


def test_a_link_is_not_followed(file, start, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(book())
    elsewhere.chmod(0o600)
    file.symlink_to(elsewhere)
    lockout = start()
    fail(lockout, 1, "ben")
    assert lockout.locked_for("anna") == 300.0
    assert not file.is_symlink()
    assert elsewhere.read_bytes() == book()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_what_is_no_file_is_moved_out_of_the_way(file, start, make):
    make(file)
    assert start().locked_for("anna") == 300.0
    assert file.is_file()
    assert file.with_name("lockout.json.damaged").exists()
    assert start().locked_for("anna") is not None


def test_a_second_damage_takes_the_place_of_the_first(file, start):
    for data in (b"first", b"second"):
        file.write_bytes(data)
        file.chmod(0o600)
        start()
    assert file.with_name("lockout.json.damaged").read_bytes() == b"second"


def test_one_voice_can_be_unlocked_out_of_the_lock_of_all(file, start):
    file.write_bytes(b"")
    lockout = start()
    lockout.unlock("Anna")
    for each in (lockout, start()):
        assert each.locked_for("anna") is None
        assert each.locked_for("ben") == 300.0
    lockout.rename("anna", "zoe")
    assert lockout.locked_for("zoe") is None
    fail(lockout, 5, "zoe")
    assert lockout.locked_for("zoe") == 300.0


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_folder_that_others_may_write_in_is_not_trusted(file, start, tmp_path, mode):
    fail(start())
    tmp_path.chmod(mode)
    try:
        lockout = start()
        assert lockout.locked_for("anna") == 300.0
        assert lockout.problem
    finally:
        tmp_path.chmod(0o700)


# A disk that is full


@pytest.fixture
def full(monkeypatch):
    """Fills the disk; `full.pop()` empties it."""
    write = os.write
    disk = []

    def write_if_room(descriptor, data):
        if disk:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr("voiceauthd.profiles.folder.os.write", write_if_room)
    return disk


def test_a_failure_that_cannot_be_written_counts_until_the_restart(start, full, caplog):
    lockout = start()
    full.append(True)
    fail(lockout, 4)
    assert "disk is full" in lockout.problem
    assert "disk is full" in caplog.text
    lockout.require_open("anna")
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0
    assert start().locked_for("anna") is None, "what this test is about: it was not written"


def test_what_could_not_be_written_is_written_when_there_is_room(start, full):
    lockout = start()
    full.append(True)
    fail(lockout, 5)
    full.pop()
    lockout.judged("ben", "no_speech", accepted=False)
    assert lockout.problem is None
    assert start().locked_for("anna") == 300.0


def test_a_damaged_file_on_a_full_disk_locks_everybody_at_each_start(file, start, clock, full):
    file.write_bytes(b"torn")
    full.append(True)
    for _ in range(3):
        assert start().locked_for("anna") == 300.0
        assert file.read_bytes() == b"torn"
        clock.passes(10.0)


def test_a_write_that_is_cut_off_leaves_the_old_file_whole(file, start, monkeypatch):
    fail(start(), 4)
    before = file.read_bytes()

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("voiceauthd.profiles.folder.os.rename", die)
        with pytest.raises(KeyboardInterrupt):
            fail(start())
    assert file.read_bytes() == before
    fail(start())
    assert start().locked_for("anna") == 300.0
    assert sorted(os.listdir(file.parent)) == [file.name], "what was cut off is cleared away"
