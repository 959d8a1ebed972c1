"""The wall clock jumps: nothing that was good gets better by it, and nobody is kept out."""

from __future__ import annotations

import pytest
from daemon_caller import RefusedError
from fault_parts import OWNER, House, end, new_house, some, start
from pam_room import PamRoom

YEAR = 365 * 86_400.0

JUMPS = (YEAR, -YEAR, -1e9, 1e9)

STRICT = {"lockout": {"failures": 2}}


@pytest.mark.parametrize("jump", some(JUMPS, {-YEAR}))
def test_the_owner_is_let_in_whatever_the_clock_says(house: House, jump: float) -> None:
    with house.clock_off(jump):
        house.lets_the_owner_in()
    house.lets_the_owner_in(pam=False)


@pytest.mark.slow
@pytest.mark.parametrize("jump", JUMPS[:2])
def test_a_clock_that_jumps_in_the_middle_changes_no_decision(house: House, jump: float) -> None:
    found = house.midway(lambda: house.set_clock(jump), before=lambda: house.set_clock(0.0))
    assert [one.accepted for one in found] == [True] * 3
    with house.broken("NaN"):
        found = house.midway(lambda: house.set_clock(jump), before=lambda: house.set_clock(0.0))
    house.set_clock(0.0)
    house.lets_nobody_in("the clock jumps in the middle, and the model is broken", found=found)


def locked(house: House, fault: str, *ways: str) -> None:
    """The owner's own voice is not listened to."""
    found = [getattr(house, f"by_{way}")() for way in ways]
    house.lets_nobody_in(fault, found=found)
    assert all("ocked" in one.said for one in found), found


def test_a_lock_outlasts_every_jump(own_pam: PamRoom) -> None:
    with new_house(STRICT, pam=own_pam) as house, house.speaking():
        house.lets_the_owner_in(pam=False)
        with house.broken("the lowest scores"):
            house.lets_nobody_in("it is another's voice", found=[house.by_socket(), house.by_client()])
        for jump in (0.0, YEAR, -YEAR):
            house.set_clock(jump)
            locked(house, "the voice is locked, and the clock jumps", "client", "pam")
        house.falls_through_to_the_password()


@pytest.mark.slow
@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_lock_outlasts_a_jump_and_a_restart(own_pam: PamRoom, jump: float) -> None:
    with new_house(STRICT, pam=own_pam) as house:
        with house.speaking():
            house.lets_the_owner_in()
            with house.broken("the lowest scores"):
                house.lets_nobody_in("it is another's voice", found=[house.by_socket(), house.by_pam()])
        try:
            house.box.end()
            house.set_clock(jump)
            house.box = start(house.box.folder, STRICT)
            house.box.await_ready()
            with house.speaking():
                locked(house, "the voice is locked, and the clock jumps at a restart", "socket", "client", "pam")
                house.falls_through_to_the_password()
                house.box.ask("Unlock", name=OWNER)
                house.lets_the_owner_in()
        finally:
            end(house.box)


def test_a_nonce_stays_used_whatever_the_clock_says(house: House) -> None:
    for turn, jump in enumerate((0.0, *JUMPS)):
        with house.clock_off(jump), house.box.caller() as caller:
            caller.send("Verify", name=OWNER, nonce="of one call", timeout=2.0)
            if turn == 0:
                assert caller.rest()[-1]["outcome"] == "accept"
            else:
                with pytest.raises(RefusedError, match="nonce"):
                    caller.rest()
