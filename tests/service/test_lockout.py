"""Too many failures lock a voice: what counts, for how long, what ends it, and that it is safe among threads."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from lockout_parts import CONFIG, Hands, fail

from voiceauthd.config.schema import LockoutConfig
from voiceauthd.errors import LockedError
from voiceauthd.scoring.advice import ADVICE
from voiceauthd.service.lockout import COUNTED, Lockout
from voiceauthd.service.lockout_file import MOST_VOICES


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "lockout.json"


@pytest.fixture
def start(file, clock):
    """Starts the lockout, or starts it again."""

    def start(**changes):
        return Lockout(file, dataclasses.replace(CONFIG, **changes), clock)

    return start


# What counts


def test_the_fifth_failure_within_a_minute_locks_for_five_minutes(start, clock):
    lockout = start()
    for _ in range(4):
        fail(lockout)
        lockout.require_open("anna")
        clock.passes(14.9)
    fail(lockout)
    with pytest.raises(LockedError) as caught:
        lockout.require_open("anna")
    assert caught.value.seconds == 300.0
    assert "anna" in str(caught.value)
    clock.passes(299.0)
    assert lockout.locked_for("anna") == pytest.approx(1.0)
    clock.passes(1.0)
    assert lockout.locked_for("anna") is None
    lockout.require_open("anna")


def test_after_a_lock_there_are_five_more(start, clock):
    lockout = start()
    fail(lockout, 5)
    clock.passes(300.0)
    fail(lockout, 4)
    assert lockout.locked_for("anna") is None
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0


def test_failures_that_are_farther_apart_do_not_lock(start, clock):
    lockout = start()
    for _ in range(100):
        fail(lockout)
        clock.passes(15.1)
    assert lockout.locked_for("anna") is None


@pytest.mark.parametrize("reason", sorted(ADVICE))
def test_only_a_voice_that_was_compared_and_not_accepted_counts(start, reason):
    lockout = start()
    fail(lockout, 10, reason=reason)
    assert (lockout.locked_for("anna") is not None) == (reason in {"no_match", "ambiguous", "unsure", "not_one_voice"})


def test_what_counts_is_a_reason_that_there_is():
    assert set(ADVICE) >= COUNTED


def test_an_accept_forgets_the_failures(start):
    lockout = start()
    for _ in range(5):
        fail(lockout, 4)
        lockout.judged("anna", "match", accepted=True)
    assert lockout.locked_for("anna") is None


def test_an_accept_by_a_laxer_policy_forgets_no_failure_of_a_stricter_one(start):
    lockout = start()
    fail(lockout, 4, false_accepts=1e-4)
    lockout.judged("anna", "match", accepted=True, false_accepts=1e-2)
    fail(lockout, false_accepts=1e-2)
    assert lockout.locked_for("anna") == 300.0
    other = start()
    fail(other, 4, "ben", false_accepts=1e-2)
    other.judged("ben", "match", accepted=True, false_accepts=1e-4)
    fail(other, 4, "ben")
    assert other.locked_for("ben") is None


def test_an_accept_that_was_under_way_does_not_end_a_lock(start):
    lockout = start()
    fail(lockout, 5)
    lockout.judged("anna", "match", accepted=True)
    assert lockout.locked_for("anna") == 300.0


def test_a_failure_during_the_lock_does_not_make_it_longer(start, clock):
    lockout = start()
    fail(lockout, 5)
    clock.passes(200.0)
    fail(lockout, 5)
    assert lockout.locked_for("anna") == pytest.approx(100.0)


def test_another_person_is_not_affected(start):
    lockout = start()
    fail(lockout, 5)
    assert lockout.locked_for("ben") is None


@pytest.mark.parametrize("spelling", ["ANNA", "Anna", "ａｎｎａ"])
def test_another_spelling_of_the_name_is_the_same_person(start, spelling):
    lockout = start()
    fail(lockout, 5)
    assert lockout.locked_for(spelling) == 300.0


def test_another_configuration_counts_at_once(start, clock):
    lockout = start()
    fail(lockout, 5)
    lockout.config = LockoutConfig(failures=2, within=60.0, lasts=10.0)
    clock.passes(5.0)
    assert lockout.locked_for("anna") == pytest.approx(5.0)
    fail(lockout, 2, "ben")
    assert lockout.locked_for("ben") == 10.0


# Ending it


def test_unlocking_forgets_the_lock_and_the_failures(start):
    lockout = start()
    fail(lockout, 5)
    lockout.unlock("Anna")
    assert lockout.locked_for("anna") is None
    fail(lockout, 4)
    lockout.unlock("anna")
    fail(lockout, 4)
    assert lockout.locked_for("anna") is None
    assert start().locked_for("anna") is None


def test_unlocking_who_is_not_locked_writes_nothing(start, file):
    start().unlock("anna")
    assert not file.exists()


def test_a_new_name_takes_the_lock_along(start):
    lockout = start()
    fail(lockout, 5)
    lockout.rename("anna", "Zoe")
    for each in (lockout, start()):
        assert each.locked_for("zoe") == 300.0
        assert each.locked_for("anna") is None


def test_a_new_name_takes_the_failures_along_and_adds_them_to_what_is_there(start):
    lockout = start()
    fail(lockout, 2)
    fail(lockout, 2, "zoe")
    lockout.rename("anna", "zoe")
    fail(lockout, 1, "zoe")
    assert lockout.locked_for("zoe") == 300.0


def test_a_name_that_was_locked_stays_so_whoever_gets_it(start, clock):
    lockout = start()
    fail(lockout, 5, "zoe")
    clock.passes(100.0)
    fail(lockout, 5)
    lockout.rename("anna", "zoe")
    assert lockout.locked_for("zoe") == pytest.approx(300.0)
    lockout.rename("zoe", "ZOE")
    assert lockout.locked_for("zoe") == pytest.approx(300.0)


# What a thread does, the others see


def test_threads_lose_no_failure(start):
    lockout = start(failures=100)
    threads = [threading.Thread(target=fail, args=(lockout, 9)) for _ in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lockout.locked_for("anna") is None
    fail(lockout)
    assert lockout.locked_for("anna") is not None
    assert start(failures=100).locked_for("anna") is not None


def test_nobody_waits_for_a_disk_that_hangs(start, monkeypatch):
    lockout, hangs, go_on = start(failures=1), threading.Event(), threading.Event()

    def hang(*_):
        hangs.set()
        assert go_on.wait(10.0)

    monkeypatch.setattr("voiceauthd.service.lockout.save_book", hang)
    thread = threading.Thread(target=fail, args=(lockout,))
    thread.start()
    try:
        assert hangs.wait(10.0)
        with pytest.raises(LockedError):
            lockout.require_open("anna")
        lockout.require_open("ben")
        assert thread.is_alive(), "whoever has failed waits until it is on the disk"
    finally:
        go_on.set()
        thread.join()


# Size


def test_who_has_not_failed_lately_is_forgotten(start, clock, file):
    lockout = start()
    fail(lockout, 5)
    fail(lockout, 1, "ben")
    clock.passes(301.0)
    fail(lockout, 1, "cleo")
    assert b"cleo" in file.read_bytes()
    assert b"anna" not in file.read_bytes()
    assert b"ben" not in file.read_bytes()


def test_the_file_does_not_grow_without_bound(start, clock, file, monkeypatch):
    monkeypatch.setattr("voiceauthd.service.lockout.save_book", lambda *_: None)
    lockout = start()
    for number in range(MOST_VOICES + 10):
        fail(lockout, 1, f"somebody {number}")
        clock.passes(0.01)
    monkeypatch.undo()
    fail(lockout, 4, f"somebody {MOST_VOICES + 9}")
    assert lockout.locked_for(f"somebody {MOST_VOICES + 9}") is not None
    assert file.read_bytes().count(b"somebody") == MOST_VOICES
    fail(lockout, 4, "somebody 0")
    assert lockout.locked_for("somebody 0") is None, "the oldest are forgotten"
