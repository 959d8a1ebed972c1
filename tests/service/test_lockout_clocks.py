"""Locks and failures survive a restart, a reboot and a clock that jumps."""

from __future__ import annotations

import os
import stat
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockout_parts import ManualClock, fail

from voiceauthd.config.schema import LockoutConfig
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.lockout_file import Clock

YEAR = 365 * 86_400.0


def test_failures_and_locks_survive_a_restart(start_lockout, clock):
    fail(start_lockout(), 4)
    fail(start_lockout())
    clock.advance(100.0)
    assert start_lockout().locked_for("anna") == pytest.approx(200.0)
    assert start_lockout().problem is None


def test_file_and_folder_are_accessible_only_to_their_owner(start_lockout, lockout_file):
    fail(start_lockout())
    assert stat.S_IMODE(lockout_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(lockout_file.parent.stat().st_mode) == 0o700
    assert os.listdir(lockout_file.parent) == [lockout_file.name]


@pytest.mark.parametrize("jump", [-YEAR, 301.0])
def test_within_one_boot_the_wall_clock_does_not_affect_a_lock(start_lockout, clock, jump):
    fail(start_lockout(), 5)
    clock.wall_now += jump
    clock.advance(10.0)
    assert start_lockout().locked_for("anna") == pytest.approx(290.0)


@pytest.mark.parametrize("jump", [-YEAR, 301.0])
def test_within_one_boot_the_wall_clock_does_not_affect_failures(start_lockout, clock, jump):
    lockout = start_lockout()
    fail(lockout, 4)
    clock.wall_now += jump
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0


def test_time_during_which_the_machine_is_off_counts(start_lockout, clock):
    fail(start_lockout(), 5)
    clock.reboot(after=120.0)
    assert start_lockout().locked_for("anna") == pytest.approx(180.0)
    clock.reboot(after=180.0)
    assert start_lockout().locked_for("anna") is None


def test_if_the_wall_clock_went_back_across_a_reboot_the_lock_starts_again(start_lockout, clock):
    fail(start_lockout(), 5)
    clock.advance(200.0)
    fail(start_lockout(), 1, "ben")
    clock.reboot(after=-0.1)
    lockout = start_lockout()
    assert lockout.locked_for("anna") == pytest.approx(300.0)
    clock.wall_now += YEAR  # the network has set the time
    assert lockout.locked_for("anna") == pytest.approx(300.0)
    clock.advance(300.0)
    assert lockout.locked_for("anna") is None


def test_if_the_wall_clock_went_back_across_a_reboot_failures_count_as_new(start_lockout, clock):
    fail(start_lockout(), 4)
    clock.reboot(after=-YEAR)
    lockout = start_lockout()
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0


def test_without_a_boot_id_the_wall_clock_decides(start_lockout, clock):
    clock.boot = ""
    fail(start_lockout(), 5)
    clock.advance(100.0)
    assert start_lockout().locked_for("anna") == pytest.approx(200.0)
    clock.wall_now -= YEAR
    assert start_lockout().locked_for("anna") == pytest.approx(300.0)


def test_a_machine_restored_from_an_earlier_snapshot_keeps_a_lock_for_its_whole_length(start_lockout, clock):
    fail(start_lockout(), 5)
    clock.uptime_now -= 500.0  # an earlier snapshot of the memory, with the current disk
    lockout = start_lockout()
    assert lockout.locked_for("anna") == pytest.approx(300.0)
    clock.advance(300.0)
    assert lockout.locked_for("anna") is None


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["passes", "jumps", "reboots", "sleeps", "restarts"]), st.floats(-1e9, 1e9)),
        max_size=8,
    ),
    lasts=st.floats(1.0, 1_000.0),
)
def test_no_clock_change_extends_a_lock_or_shortens_it_within_a_boot(tmp_path_factory, steps, lasts):
    clock = ManualClock()
    lockout_file = tmp_path_factory.mktemp("state") / "lockout.json"
    config = LockoutConfig(lasts=lasts)
    lockout = Lockout(lockout_file, config, clock)
    fail(lockout, 5)
    rebooted, since = False, clock.uptime_now
    for what, seconds in steps:
        match what:
            case "passes" | "sleeps":
                clock.advance(abs(seconds) % 400.0)
            case "jumps":
                clock.wall_now += seconds
            case "reboots":
                clock.reboot(after=seconds)
                rebooted = True
        if what in ("reboots", "restarts"):
            lockout = Lockout(lockout_file, config, clock)
        left = lockout.locked_for("anna")
        assert left is None or 0.0 < left <= lasts
        if not rebooted:
            expected = since + lasts - clock.uptime_now
            assert (left or 0.0) == pytest.approx(max(0.0, expected))


def test_the_clock_of_this_machine():
    clock = Clock.of_this_machine()
    assert clock.boot == Clock.of_this_machine().boot != ""
    assert clock.uptime() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1.0)
    assert clock.wall() == pytest.approx(time.time(), abs=1.0)
