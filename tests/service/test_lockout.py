"""The lockout in memory: which failures count and for how long, what ends a lock, and thread safety."""

from __future__ import annotations

import threading

import pytest
from lockout_parts import fail

from voiceauthd.config.schema import LockoutConfig
from voiceauthd.errors import LockedError
from voiceauthd.scoring.advice import ADVICE
from voiceauthd.service.lockout import COUNTED_REASONS
from voiceauthd.service.lockout_file import MAX_VOICES

# Which failures count


def test_the_fifth_failure_within_a_minute_locks_for_five_minutes(start_lockout, clock):
    lockout = start_lockout()
    for _ in range(4):
        fail(lockout)
        lockout.require_unlocked("anna")
        clock.advance(14.9)
    fail(lockout)
    with pytest.raises(LockedError) as caught:
        lockout.require_unlocked("anna")
    assert caught.value.seconds == 300.0
    assert "anna" in str(caught.value)
    clock.advance(299.0)
    assert lockout.locked_for("anna") == pytest.approx(1.0)
    clock.advance(1.0)
    assert lockout.locked_for("anna") is None
    lockout.require_unlocked("anna")


def test_after_a_lock_counting_starts_from_zero(start_lockout, clock):
    lockout = start_lockout()
    fail(lockout, 5)
    clock.advance(300.0)
    fail(lockout, 4)
    assert lockout.locked_for("anna") is None
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0


def test_failures_that_are_further_apart_do_not_lock(start_lockout, clock):
    lockout = start_lockout()
    for _ in range(100):
        fail(lockout)
        clock.advance(15.1)
    assert lockout.locked_for("anna") is None


def test_only_a_voice_that_was_compared_and_not_accepted_counts(start_lockout):
    lockout = start_lockout()
    for reason in ADVICE:
        fail(lockout, 10, name=reason, reason=reason)
    locked = {reason for reason in ADVICE if lockout.locked_for(reason) is not None}
    assert locked == {"no_match", "ambiguous", "unsure", "not_one_voice"} == COUNTED_REASONS


def test_an_accept_clears_the_failures(start_lockout):
    lockout = start_lockout()
    for _ in range(5):
        fail(lockout, 4)
        lockout.record_decision("anna", "match", accepted=True)
    assert lockout.locked_for("anna") is None


def test_an_accept_by_a_laxer_policy_does_not_clear_failures_under_a_stricter_one(start_lockout):
    lockout = start_lockout()
    fail(lockout, 4, false_accepts=1e-4)
    lockout.record_decision("anna", "match", accepted=True, false_accepts=1e-2)
    fail(lockout, false_accepts=1e-2)
    assert lockout.locked_for("anna") == 300.0
    other = start_lockout()
    fail(other, 4, "ben", false_accepts=1e-2)
    other.record_decision("ben", "match", accepted=True, false_accepts=1e-4)
    fail(other, 4, "ben")
    assert other.locked_for("ben") is None


def test_an_accept_decided_at_the_same_time_does_not_end_a_lock(start_lockout):
    lockout = start_lockout()
    fail(lockout, 5)
    lockout.record_decision("anna", "match", accepted=True)
    assert lockout.locked_for("anna") == 300.0


def test_a_failure_during_the_lock_does_not_extend_it(start_lockout, clock):
    lockout = start_lockout()
    fail(lockout, 5)
    clock.advance(200.0)
    fail(lockout, 5)
    assert lockout.locked_for("anna") == pytest.approx(100.0)


def test_another_person_is_not_affected(start_lockout):
    lockout = start_lockout()
    fail(lockout, 5)
    assert lockout.locked_for("ben") is None


def test_another_spelling_of_the_name_is_the_same_person(start_lockout):
    lockout = start_lockout()
    fail(lockout, 5)
    assert [lockout.locked_for(spelling) for spelling in ("ANNA", "Anna", "ａｎｎａ")] == [300.0] * 3


def test_a_new_configuration_applies_at_once(start_lockout, clock):
    lockout = start_lockout()
    fail(lockout, 5)
    lockout.config = LockoutConfig(failures=2, within=60.0, lasts=10.0)
    clock.advance(5.0)
    assert lockout.locked_for("anna") == pytest.approx(5.0)
    fail(lockout, 2, "ben")
    assert lockout.locked_for("ben") == 10.0


# What ends a lock


def test_unlocking_clears_the_lock_and_the_failures(start_lockout):
    lockout = start_lockout()
    fail(lockout, 5)
    lockout.unlock("Anna")
    assert lockout.locked_for("anna") is None
    fail(lockout, 4)
    lockout.unlock("anna")
    fail(lockout, 4)
    assert lockout.locked_for("anna") is None
    assert start_lockout().locked_for("anna") is None


def test_unlocking_a_voice_that_is_not_locked_writes_nothing(start_lockout, lockout_file):
    start_lockout().unlock("anna")
    assert not lockout_file.exists()


def test_renaming_keeps_the_lock(start_lockout):
    lockout = start_lockout()
    fail(lockout, 5)
    lockout.rename("anna", "Zoe")
    for each in (lockout, start_lockout()):
        assert each.locked_for("zoe") == 300.0
        assert each.locked_for("anna") is None


def test_renaming_adds_the_failures_to_those_of_the_new_name(start_lockout):
    lockout = start_lockout()
    fail(lockout, 2)
    fail(lockout, 2, "zoe")
    lockout.rename("anna", "zoe")
    fail(lockout, 1, "zoe")
    assert lockout.locked_for("zoe") == 300.0


def test_of_two_locks_under_one_name_the_later_counts(start_lockout, clock):
    lockout = start_lockout()
    fail(lockout, 5, "zoe")
    clock.advance(100.0)
    fail(lockout, 5)
    lockout.rename("anna", "zoe")
    assert lockout.locked_for("zoe") == pytest.approx(300.0)
    lockout.rename("zoe", "ZOE")
    assert lockout.locked_for("zoe") == pytest.approx(300.0)


# Threads


def test_no_failure_is_lost_between_threads(start_lockout):
    lockout = start_lockout(failures=100)
    threads = [threading.Thread(target=fail, args=(lockout, 9)) for _ in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lockout.locked_for("anna") is None
    fail(lockout)
    assert lockout.locked_for("anna") is not None
    assert start_lockout(failures=100).locked_for("anna") is not None


def test_reading_the_lockout_does_not_wait_for_a_disk_that_hangs(start_lockout, monkeypatch):
    lockout, hangs, go_on = start_lockout(failures=1), threading.Event(), threading.Event()

    def hang(*_):
        hangs.set()
        assert go_on.wait(10.0)

    monkeypatch.setattr("voiceauthd.service.lockout.save_records", hang)
    thread = threading.Thread(target=fail, args=(lockout,))
    thread.start()
    try:
        assert hangs.wait(10.0)
        with pytest.raises(LockedError):
            lockout.require_unlocked("anna")
        lockout.require_unlocked("ben")
        assert thread.is_alive(), "recording a failure waits for the disk"
    finally:
        go_on.set()
        thread.join()


# Size


def test_old_failures_and_locks_are_dropped_from_the_file(start_lockout, clock, lockout_file):
    lockout = start_lockout()
    fail(lockout, 5)
    fail(lockout, 1, "ben")
    clock.advance(301.0)
    fail(lockout, 1, "cleo")
    assert b"cleo" in lockout_file.read_bytes()
    assert b"anna" not in lockout_file.read_bytes()
    assert b"ben" not in lockout_file.read_bytes()


def test_the_file_does_not_grow_without_bound(start_lockout, clock, lockout_file, monkeypatch):
    monkeypatch.setattr("voiceauthd.service.lockout.save_records", lambda *_: None)
    lockout = start_lockout()
    for number in range(MAX_VOICES + 10):
        fail(lockout, 1, f"somebody {number}")
        clock.advance(0.01)
    monkeypatch.undo()
    fail(lockout, 4, f"somebody {MAX_VOICES + 9}")
    assert lockout.locked_for(f"somebody {MAX_VOICES + 9}") is not None
    assert lockout_file.read_bytes().count(b"somebody") == MAX_VOICES
    fail(lockout, 4, "somebody 0")
    assert lockout.locked_for("somebody 0") is None, "the oldest are dropped"
