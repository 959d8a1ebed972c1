"""A lock, and the failures before it, outlast a restart, a reboot and a clock that jumps."""

from __future__ import annotations

import dataclasses
import os
import stat
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockout_parts import CONFIG, Hands, fail

from voiceauthd.config.schema import LockoutConfig
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.lockout_file import Clock

YEAR = 365 * 86_400.0


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


def test_failures_and_locks_outlast_a_restart(start, clock):
    fail(start(), 4)
    fail(start())
    clock.passes(100.0)
    assert start().locked_for("anna") == pytest.approx(200.0)
    assert start().problem is None


def test_the_file_is_for_its_owner_alone(start, file):
    fail(start())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize("jump", [-YEAR, -301.0, 301.0, YEAR])
def test_within_one_boot_the_wall_clock_does_not_matter(start, clock, jump):
    fail(start(), 5)
    clock.day += jump
    clock.passes(10.0)
    assert start().locked_for("anna") == pytest.approx(290.0)


@pytest.mark.parametrize("jump", [-YEAR, 301.0, YEAR])
def test_nor_does_it_for_failures(start, clock, jump):
    lockout = start()
    fail(lockout, 4)
    clock.day += jump
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0


def test_time_that_the_machine_is_off_counts(start, clock):
    fail(start(), 5)
    clock.reboots(after=120.0)
    assert start().locked_for("anna") == pytest.approx(180.0)
    clock.reboots(after=180.0)
    assert start().locked_for("anna") is None


def test_after_a_reboot_into_the_past_the_whole_lock_counts_again(start, clock):
    fail(start(), 5)
    clock.passes(200.0)
    fail(start(), 1, "ben")
    clock.reboots(after=-0.1)
    lockout = start()
    assert lockout.locked_for("anna") == pytest.approx(300.0)
    clock.day += YEAR  # the network has told it the time
    assert lockout.locked_for("anna") == pytest.approx(300.0)
    clock.passes(300.0)
    assert lockout.locked_for("anna") is None


def test_failures_from_before_a_reboot_into_the_past_count_as_new(start, clock):
    fail(start(), 4)
    clock.reboots(after=-YEAR)
    lockout = start()
    fail(lockout)
    assert lockout.locked_for("anna") == 300.0


def test_where_the_kernel_does_not_tell_boots_apart_the_wall_clock_decides(start, clock):
    clock.boot = ""
    fail(start(), 5)
    clock.passes(100.0)
    assert start().locked_for("anna") == pytest.approx(200.0)
    clock.day -= YEAR
    assert start().locked_for("anna") == pytest.approx(300.0)


def test_a_machine_that_was_put_back_to_an_earlier_moment_keeps_a_lock_for_one_lock(start, clock):
    fail(start(), 5)
    clock.up -= 500.0  # a snapshot of before, with the disk of after
    lockout = start()
    assert lockout.locked_for("anna") == pytest.approx(300.0)
    clock.passes(300.0)
    assert lockout.locked_for("anna") is None


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["passes", "jumps", "reboots", "sleeps", "restarts"]), st.floats(-1e9, 1e9)),
        max_size=8,
    ),
    lasts=st.floats(1.0, 1_000.0),
)
def test_no_clock_makes_a_lock_longer_than_it_is_or_shorter_within_a_boot(tmp_path_factory, steps, lasts):
    clock = Hands()
    file = tmp_path_factory.mktemp("state") / "lockout.json"
    config = LockoutConfig(lasts=lasts)
    lockout = Lockout(file, config, clock)
    fail(lockout, 5)
    rebooted, since = False, clock.up
    for what, seconds in steps:
        match what:
            case "passes" | "sleeps":
                clock.passes(abs(seconds) % 400.0)
            case "jumps":
                clock.day += seconds
            case "reboots":
                clock.reboots(after=seconds)
                rebooted = True
        if what in ("reboots", "restarts"):
            lockout = Lockout(file, config, clock)
        left = lockout.locked_for("anna")
        assert left is None or 0.0 < left <= lasts
        if not rebooted:
            still = since + lasts - clock.up
            assert (left or 0.0) == pytest.approx(max(0.0, still))


def test_the_clocks_of_this_machine():
    clock = Clock.of_this_machine()
    assert clock.boot == Clock.of_this_machine().boot != ""
    assert clock.uptime() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1.0)
    assert clock.wall() == pytest.approx(time.time(), abs=1.0)
