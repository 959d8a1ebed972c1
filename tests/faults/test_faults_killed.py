"""SIGKILL at every stage of a verification, from before the socket is made to after the audit line is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from daemon_audio import voice
from faulty_daemon import OTHER, OWNER, Attempt, FaultyDaemon, end, kill, repeated, start, start_faulty
from pam_room import PamRoom
from waiting import wait_until

from voiceauthd.audit.verify import verify

ALL_THE_TIME, HALF_A_SENTENCE, NEVER = "all the time", "half a sentence", "never"

HALF = 1.2
"""Seconds of the owner's speech: detected, but too little for a decision."""


@dataclass(frozen=True)
class Stage:
    """The state of the daemon when it is killed.

    hold      the point where it hangs; "" for none: it listens, or detects speech
    speaks    when the owner speaks
    starting  the daemon hangs while it starts
    """

    hold: str = ""
    speaks: str = ALL_THE_TIME
    starting: bool = False


STAGES = {
    "before the socket": Stage("first", starting=True),
    "while the model loads": Stage("load", starting=True),
    "while nothing is read": Stage("capture", speaks=NEVER),
    "while it listens": Stage(speaks=NEVER),
    "while somebody speaks": Stage(speaks=HALF_A_SENTENCE),
    "in the model": Stage("worker"),
    "before the lockouts": Stage("lockout"),
    "before the audit line": Stage("audit"),
    "in the audit line": Stage("audit-line"),
    "after the audit line": Stage("answer"),
}

QUICK = {
    ("while the model loads", "socket"),
    ("in the audit line", "socket"),
    ("after the audit line", "pam"),
}
"""The cases that are not slow."""

EVERY = [
    pytest.param(at, way, marks=() if (at, way) in QUICK else pytest.mark.slow)
    for at in STAGES
    for way in ("socket", "client", "pam")
]


def reach(faulty: FaultyDaemon, stage: Stage) -> None:
    """Return when the daemon is in the state in which it is to be killed."""
    daemon = faulty.daemon
    assert daemon.feed is not None
    if stage.hold and stage.hold != "capture":
        faulty.await_held(stage.hold)
        return
    wait_until("the daemon listens", lambda: daemon.ask("Status").get("claim") == "Verify")
    if stage.speaks == HALF_A_SENTENCE:
        with daemon.caller() as monitor:
            monitor.send("Monitor")
            monitor.events("started")
            daemon.feed.play(voice("verify-ralph")[: round(HALF * 16_000)])
            monitor.events("speech")


def killed(faulty: FaultyDaemon, stage: Stage, way: str) -> Attempt:
    """Kill the daemon during an attempt."""
    trying = {"socket": faulty.by_socket, "client": faulty.by_client, "pam": faulty.by_pam}[way]
    if stage.starting:
        faulty.daemon.end()
        faulty.hold(stage.hold)
        faulty.daemon = start(faulty.daemon.folder)
        if stage.hold == "load":
            faulty.daemon.await_socket()
    elif stage.hold:
        faulty.hold(stage.hold)
    if stage.speaks == ALL_THE_TIME:
        assert faulty.daemon.feed is not None
        faulty.daemon.feed.play(repeated("verify-ralph"))
    with ThreadPoolExecutor(1) as thread:
        tried = thread.submit(trying, **({} if way == "pam" else {"timeout": 8.0}))
        reach(faulty, stage)
        kill(faulty.daemon)
        return tried.result(30.0)


def comes_back(faulty: FaultyDaemon) -> None:
    """Assert that a new daemon on the same folder has all profiles and an intact log, and accepts the owner."""
    for file in faulty.daemon.folder.glob("hold-*"):
        file.unlink()
    faulty.daemon = start(faulty.daemon.folder)
    faulty.daemon.await_ready()
    assert faulty.daemon.names() == [OWNER, OTHER]
    assert faulty.daemon.ask("Status")["profiles"] == {"usable": 2, "refused": 0}
    with faulty.speaking():
        faulty.accepts_the_owner(pam=False)
    log = verify(faulty.daemon.folder / "audit")
    assert log.whole, log.damage


@pytest.mark.parametrize(("at", "way"), EVERY)
def test_a_killed_daemon_accepts_nobody_and_can_be_restarted(own_pam: PamRoom, at: str, way: str) -> None:
    with start_faulty(pam=own_pam) as faulty:
        with faulty.speaking():
            faulty.accepts_the_owner(pam=False)
        try:
            found = [killed(faulty, STAGES[at], way), faulty.by_socket(), faulty.by_client()]
            faulty.accepts_nobody(f"SIGKILL {at}", found=found)
            faulty.falls_through_to_the_password()
            comes_back(faulty)
        finally:
            end(faulty.daemon)


@pytest.mark.slow
def test_a_kill_while_the_lockout_file_is_written_loses_no_earlier_failure(own_pam: PamRoom) -> None:
    settings = {"lockout": {"failures": 3}}
    with start_faulty(settings, pam=own_pam) as faulty:
        try:
            with faulty.broken("the lowest scores"):
                with faulty.speaking():
                    found = [faulty.by_socket()]
                found.append(killed(faulty, Stage("lockout-file"), "socket"))
                faulty.release("lockout-file")
                faulty.daemon = start(faulty.daemon.folder, settings)
                faulty.daemon.await_ready()
                with faulty.speaking():
                    found += [faulty.by_socket(), faulty.by_socket()]
            with faulty.speaking():
                found += faulty.attempts()
                faulty.accepts_nobody("SIGKILL while the lockout file is written", found=found)
            assert [one.message for one in found[::2][:2]] == ["no_match"] * 2
            assert "Locked" in found[-3].message
        finally:
            end(faulty.daemon)
