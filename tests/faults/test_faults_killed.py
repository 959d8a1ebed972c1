"""SIGKILL at every stage of a verification, from before the socket to after the audit line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from daemon_box import wait_until
from daemon_room import voice
from fault_parts import OTHER, OWNER, House, Try, end, kill, new_house, on_and_on, start
from pam_room import PamRoom

from voiceauthd.audit.verify import verify

ALL_THE_TIME, HALF_A_SENTENCE, NEVER = "all the time", "half a sentence", "never"

HALF = 1.2
"""Seconds of the owner's speech: noticed, and too little to decide on."""


@dataclass(frozen=True)
class Stage:
    """hold      where the daemon stands when it is killed; "" for none: it listens, or hears speech
    speaks    when the owner does
    starting  the daemon stands there while it starts
    """

    hold: str = ""
    speaks: str = ALL_THE_TIME
    starting: bool = False


STAGES = {
    "before the socket": Stage("first", starting=True),
    "while the model loads": Stage("load", starting=True),
    "while nothing is read": Stage("capture", speaks=NEVER),
    "while it listens": Stage(speaks=NEVER),
    "while speech is heard": Stage(speaks=HALF_A_SENTENCE),
    "in the model": Stage("worker"),
    "before the lockouts": Stage("lockout"),
    "before the audit line": Stage("audit"),
    "in the audit line": Stage("audit-line"),
    "after the audit line": Stage("answer"),
}

OFTEN = {
    ("while the model loads", "socket"),
    ("in the audit line", "socket"),
    ("after the audit line", "pam"),
}
"""Tried in every run of the tests; the others in the long one."""

EVERY = [
    pytest.param(at, way, marks=() if (at, way) in OFTEN else pytest.mark.slow)
    for at in STAGES
    for way in ("socket", "client", "pam")
]


def reach(house: House, stage: Stage) -> None:
    """Returns when the daemon stands where it is to be killed."""
    box = house.box
    assert box.room is not None
    if stage.hold and stage.hold != "capture":
        house.await_held(stage.hold)
        return
    wait_until("it listens", lambda: box.ask("Status").get("claim") == "Verify")
    if stage.speaks == HALF_A_SENTENCE:
        with box.caller() as monitor:
            monitor.send("Monitor")
            monitor.events("started")
            box.room.play(voice("verify-ralph")[: round(HALF * 16_000)])
            monitor.events("speech")


def killed(house: House, stage: Stage, way: str) -> Try:
    """The daemon is killed in the middle of a try."""
    trying = {"socket": house.by_socket, "client": house.by_client, "pam": house.by_pam}[way]
    if stage.starting:
        house.box.end()
        house.hold(stage.hold)
        house.box = start(house.box.folder)
        if stage.hold == "load":
            house.box.await_socket()
    elif stage.hold:
        house.hold(stage.hold)
    if stage.speaks == ALL_THE_TIME:
        assert house.box.room is not None
        house.box.room.play(on_and_on("verify-ralph"))
    with ThreadPoolExecutor(1) as thread:
        tried = thread.submit(trying, **({} if way == "pam" else {"timeout": 8.0}))
        reach(house, stage)
        kill(house.box)
        return tried.result(30.0)


def comes_back(house: House) -> None:
    """Another daemon on the same folder: everybody is still enrolled, the log is whole, and the owner is let in."""
    for file in house.box.folder.glob("hold-*"):
        file.unlink()
    house.box = start(house.box.folder)
    house.box.await_ready()
    assert house.box.names() == [OWNER, OTHER]
    assert house.box.ask("Status")["profiles"] == {"usable": 2, "refused": 0}
    with house.speaking():
        house.lets_the_owner_in(pam=False)
    log = verify(house.box.folder / "audit")
    assert log.whole, log.damage


@pytest.mark.parametrize(("at", "way"), EVERY)
def test_a_daemon_that_is_killed_lets_nobody_in_and_comes_back(own_pam: PamRoom, at: str, way: str) -> None:
    with new_house(pam=own_pam) as house:
        with house.speaking():
            house.lets_the_owner_in(pam=False)
        try:
            found = [killed(house, STAGES[at], way), house.by_socket(), house.by_client()]
            house.lets_nobody_in(f"SIGKILL {at}", found=found)
            house.falls_through_to_the_password()
            comes_back(house)
        finally:
            end(house.box)


@pytest.mark.slow
def test_a_kill_while_the_lockouts_are_written_forgets_no_failure_of_before(own_pam: PamRoom) -> None:
    settings = {"lockout": {"failures": 3}}
    with new_house(settings, pam=own_pam) as house:
        try:
            with house.broken("the lowest scores"):
                with house.speaking():
                    found = [house.by_socket()]
                found.append(killed(house, Stage("lockout-file"), "socket"))
                house.release("lockout-file")
                house.box = start(house.box.folder, settings)
                house.box.await_ready()
                with house.speaking():
                    found += [house.by_socket(), house.by_socket()]
            with house.speaking():
                found += house.tries()
            house.lets_nobody_in("SIGKILL while the lockouts are written", found=found)
            assert [one.said for one in found[::2][:2]] == ["no_match"] * 2
            assert "Locked" in found[-3].said
        finally:
            end(house.box)
