"""Faults that only a restart of the daemon repairs; each test has its own daemon."""

from __future__ import annotations

import pytest
from faults_stub import ENDS
from faulty_daemon import SLACK, VERIFY_TIMEOUT, FaultyDaemon, end, slow_except, start, start_faulty
from pam_room import PamRoom

THREADS = {**ENDS, "the detector breaks": None}


@pytest.mark.parametrize("what", slow_except(THREADS, {"the worker ends"}))
def test_after_a_thread_has_died_nobody_is_accepted_until_the_daemon_is_restarted(own_pam: PamRoom, what: str) -> None:
    with start_faulty(pam=own_pam) as faulty, faulty.speaking():
        faulty.accepts_the_owner(pam=False)
        with faulty.broken(what):
            faulty.accepts_nobody(what)
        found = faulty.accepts_nobody(f"{what}, and is repaired")
        assert all("has died" in one.message for one in found if one.way != "PAM")
        assert all(one.seconds < VERIFY_TIMEOUT + SLACK / 2 for one in found), "the error comes at once"
        status = faulty.daemon.ask("Status")
        assert status["state"] == "degraded"
        assert "restart the daemon" in status["problem"]
        faulty.falls_through_to_the_password()
        folder = faulty.daemon.folder
        faulty.daemon.end()
        again = FaultyDaemon(start(folder), own_pam)
        try:
            again.daemon.await_ready()
            with again.speaking():
                again.accepts_the_owner()
        finally:
            end(again.daemon)
