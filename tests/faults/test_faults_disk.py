"""The disk is full or fails: what cannot be told of accepts nobody, and what was on it is still there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from daemon_box import wait_until
from daemon_caller import RefusedError
from daemon_room import takes
from fault_parts import OTHER, OWNER, House, in_root_of, new_house, some
from pam_room import PamRoom

from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify


def accepts(house: House) -> int:
    """That the audit log tells of."""
    log = in_root_of(house.box.process.pid, house.box.folder / "audit")
    return sum(line.entry.outcome == "accept" for line in read(log))


def test_no_accept_without_its_line_in_the_audit_log(house: House) -> None:
    before = accepts(house)
    with house.full_disk():
        found = house.lets_nobody_in("nothing can be written")
        assert [one.said for one in found[:2]] == ["not_audited"] * 2
        house.falls_through_to_the_password()
    assert accepts(house) == before
    house.lets_the_owner_in()
    assert accepts(house) >= before + 2
    log = verify(house.box.folder / "audit")
    assert log.whole, log.damage


@pytest.mark.parametrize("what", some(["the audit log is full", "the disk raises"], {"the disk raises"}))
def test_a_log_that_fails_lets_nobody_in(house: House, what: str) -> None:
    with house.broken(what):
        house.lets_nobody_in(what)


def test_lockouts_that_cannot_be_kept_let_nobody_in_who_was_not_judged(house: House) -> None:
    with house.broken("the lockouts cannot be kept"):
        house.lets_nobody_in("the lockouts cannot be kept")


@pytest.mark.slow
def test_a_failure_that_cannot_be_written_counts_all_the_same(own_pam: PamRoom) -> None:
    with new_house({"lockout": {"failures": 2}}, pam=own_pam) as house, house.speaking():
        house.lets_the_owner_in()
        with house.broken("the lowest scores"), house.full_disk():
            house.lets_nobody_in("another's voice, on a full disk", found=[house.by_socket(), house.by_pam()])
        found = house.lets_nobody_in("the voice was locked on a full disk")
        assert "Locked" in found[0].said


@pytest.mark.slow
@pytest.mark.parametrize("point", ["lockout", "audit", "answer"])
def test_a_disk_that_hangs_lets_nobody_in_and_the_password_is_asked_for(house: House, point: str) -> None:
    """It neither takes a line nor refuses it; when it does, who asked has gone, and the accept is nobody's."""
    found = []
    for way in (house.by_client, house.by_pam):
        with house.held(point):
            found.append(way())
    with house.held(point):
        house.falls_through_to_the_password()
    house.lets_nobody_in(f"the disk hangs: {point}", found=found)


def test_an_enrolment_on_a_full_disk_leaves_what_was_there(house: House) -> None:
    before = {file.name: file.read_bytes() for file in house.box.profiles.glob("*.profile")}
    with house.full_disk():
        for name, mode in ((OWNER, "replace"), ("newcomer", "new")):
            with pytest.raises(RefusedError, match="StorageFailed"):
                house.box.enroll(name, takes("Susan"), mode=mode)
    assert {file.name: file.read_bytes() for file in house.box.profiles.glob("*.profile")} == before
    assert house.box.names() == [OWNER, OTHER]
    house.lets_the_owner_in(pam=False)


SMALL_DISK = 'mount -t tmpfs -o size=256k,mode=0700 none "$0" && exec "$@"'
"""A file system of 256 KiB at the path that is given first, in a mount namespace of its own."""


@pytest.mark.slow
def test_a_disk_that_fills_up_lets_nobody_in_until_there_is_room(own_pam: PamRoom, folder: Path) -> None:
    """A real one, with all that the daemon keeps on it."""
    state = folder / "state"
    state.mkdir()
    settings = {"profiles": str(state / "profiles"), "state": str(state)}
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SMALL_DISK, str(state)]
    with new_house(settings, folder=folder, pam=own_pam, prefix=prefix) as house, house.speaking():
        house.lets_the_owner_in()
        seen = in_root_of(house.box.process.pid, state)
        filler = seen / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (4096, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break
        lines = len((seen / "audit").joinpath(first_file(seen)).read_bytes())
        found = house.lets_nobody_in("the disk is full")
        assert "match" not in {one.said for one in found}
        with pytest.raises(RefusedError, match="StorageFailed"):
            house.box.enroll("newcomer", takes("Susan"))
        house.falls_through_to_the_password()
        filler.unlink()
        wait_until("there is room", lambda: os.statvfs(seen).f_bavail > 0)
        house.lets_the_owner_in()
        assert house.box.names() == [OWNER, OTHER]
        assert len((seen / "audit").joinpath(first_file(seen)).read_bytes()) > lines
        log = verify(seen / "audit")
        assert log.whole, log.damage


def first_file(state: Path) -> str:
    return min(file.name for file in (state / "audit").glob("audit-*.jsonl"))
