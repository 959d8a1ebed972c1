"""What a daemon does not get over by itself: each test has one of its own."""

from __future__ import annotations

import pytest
from fault_parts import LISTENS, SLACK, House, end, new_house, some, start
from faults_stub import ENDS
from pam_room import PamRoom

THREADS = {**ENDS, "the detector breaks": None}


@pytest.mark.parametrize("what", some(THREADS, {"the worker ends"}))
def test_a_thread_that_is_gone_lets_nobody_in_until_the_daemon_is_restarted(own_pam: PamRoom, what: str) -> None:
    with new_house(pam=own_pam) as house, house.speaking():
        house.lets_the_owner_in(pam=False)
        with house.broken(what):
            house.lets_nobody_in(what)
        found = house.lets_nobody_in(f"{what}, and what broke is whole again")
        assert all("has died" in one.said for one in found if one.way != "PAM")
        assert all(one.seconds < LISTENS + SLACK / 2 for one in found), "nobody is kept waiting for what cannot come"
        status = house.box.ask("Status")
        assert status["state"] == "degraded"
        assert "restart the daemon" in status["problem"]
        house.falls_through_to_the_password()
        folder = house.box.folder
        house.box.end()
        again = House(start(folder), own_pam)
        try:
            again.box.await_ready()
            with again.speaking():
                again.lets_the_owner_in()
        finally:
            end(again.box)
