"""Jumps of the wall clock: they neither end a lock, nor make a nonce valid again, nor keep the owner out."""

from __future__ import annotations

import pytest
from daemon_caller import RefusedError
from faulty_daemon import OWNER, FaultyDaemon, end, slow_except, start, start_faulty
from pam_room import PamRoom

YEAR = 365 * 86_400.0

JUMPS = (YEAR, -YEAR, -1e9, 1e9)

STRICT = {"lockout": {"failures": 2}}


@pytest.mark.parametrize("jump", slow_except(JUMPS, {-YEAR}))
def test_the_owner_is_accepted_whatever_the_clock_says(faulty: FaultyDaemon, jump: float) -> None:
    with faulty.clock_off(jump):
        faulty.accepts_the_owner()
    faulty.accepts_the_owner(pam=False)


@pytest.mark.slow
@pytest.mark.parametrize("jump", JUMPS[:2])
def test_a_clock_that_jumps_during_a_verification_changes_no_decision(faulty: FaultyDaemon, jump: float) -> None:
    found = faulty.midway(lambda: faulty.set_clock(jump), before=lambda: faulty.set_clock(0.0))
    assert [one.accepted for one in found] == [True] * 3
    with faulty.broken("NaN"):
        found = faulty.midway(lambda: faulty.set_clock(jump), before=lambda: faulty.set_clock(0.0))
    faulty.set_clock(0.0)
    faulty.accepts_nobody("the clock jumps during a verification, and the model is broken", found=found)


def locked(faulty: FaultyDaemon, fault: str, *ways: str) -> None:
    """Assert that the voice is locked, even for the owner."""
    found = [getattr(faulty, f"by_{way}")() for way in ways]
    faulty.accepts_nobody(fault, found=found)
    assert all("ocked" in one.message for one in found), found


def test_a_lock_survives_every_jump(own_pam: PamRoom) -> None:
    with start_faulty(STRICT, pam=own_pam) as faulty, faulty.speaking():
        faulty.accepts_the_owner(pam=False)
        with faulty.broken("the lowest scores"):
            faulty.accepts_nobody("another person's voice", found=[faulty.by_socket(), faulty.by_client()])
        for jump in (0.0, YEAR, -YEAR):
            faulty.set_clock(jump)
            locked(faulty, "the voice is locked, and the clock jumps", "client", "pam")
        faulty.falls_through_to_the_password()


@pytest.mark.slow
@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_lock_survives_a_jump_and_a_restart(own_pam: PamRoom, jump: float) -> None:
    with start_faulty(STRICT, pam=own_pam) as faulty:
        with faulty.speaking():
            faulty.accepts_the_owner()
            with faulty.broken("the lowest scores"):
                faulty.accepts_nobody("another person's voice", found=[faulty.by_socket(), faulty.by_pam()])
        try:
            faulty.daemon.end()
            faulty.set_clock(jump)
            faulty.daemon = start(faulty.daemon.folder, STRICT)
            faulty.daemon.await_ready()
            with faulty.speaking():
                locked(faulty, "the voice is locked, and the clock jumps at a restart", "socket", "client", "pam")
                faulty.falls_through_to_the_password()
                faulty.daemon.ask("Unlock", name=OWNER)
                faulty.accepts_the_owner()
        finally:
            end(faulty.daemon)


def test_a_nonce_stays_used_whatever_the_clock_says(faulty: FaultyDaemon) -> None:
    for turn, jump in enumerate((0.0, *JUMPS)):
        with faulty.clock_off(jump), faulty.daemon.caller() as caller:
            caller.send("Verify", name=OWNER, nonce="of one call", timeout=2.0)
            if turn == 0:
                assert caller.rest()[-1]["outcome"] == "accept"
            else:
                with pytest.raises(RefusedError, match="nonce"):
                    caller.rest()
