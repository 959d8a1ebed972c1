"""A disk that is full or fails: nobody is accepted without an audit line, and the files on it stay intact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from daemon_audio import takes
from daemon_caller import RefusedError
from faulty_daemon import OTHER, OWNER, FaultyDaemon, in_root_of, slow_except, start_faulty
from pam_room import PamRoom
from waiting import wait_until

from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify


def accepts(faulty: FaultyDaemon) -> int:
    """The number of accepts in the audit log."""
    log = in_root_of(faulty.daemon.process.pid, faulty.daemon.folder / "audit")
    return sum(line.entry.outcome == "accept" for line in read(log))


def test_no_accept_without_its_line_in_the_audit_log(faulty: FaultyDaemon) -> None:
    before = accepts(faulty)
    with faulty.full_disk():
        found = faulty.accepts_nobody("nothing can be written")
        assert [one.message for one in found[:2]] == ["not_audited"] * 2
        faulty.falls_through_to_the_password()
    assert accepts(faulty) == before
    faulty.accepts_the_owner()
    assert accepts(faulty) >= before + 2
    log = verify(faulty.daemon.folder / "audit")
    assert log.whole, log.damage


@pytest.mark.parametrize("what", slow_except(["the audit log is full", "the disk raises"], {"the disk raises"}))
def test_an_audit_log_that_fails_accepts_nobody(faulty: FaultyDaemon, what: str) -> None:
    with faulty.broken(what):
        faulty.accepts_nobody(what)


def test_a_lockout_that_fails_accepts_nobody(faulty: FaultyDaemon) -> None:
    with faulty.broken("the lockout fails"):
        faulty.accepts_nobody("the lockout fails")


@pytest.mark.slow
def test_a_failure_that_cannot_be_written_still_counts(own_pam: PamRoom) -> None:
    with start_faulty({"lockout": {"failures": 2}}, pam=own_pam) as faulty, faulty.speaking():
        faulty.accepts_the_owner()
        with faulty.broken("the lowest scores"), faulty.full_disk():
            faulty.accepts_nobody("another person's voice, on a full disk", found=[faulty.by_socket(), faulty.by_pam()])
        found = faulty.accepts_nobody("the voice was locked on a full disk")
        assert "Locked" in found[0].message


@pytest.mark.slow
@pytest.mark.parametrize("point", ["lockout", "audit", "answer"])
def test_a_disk_that_hangs_accepts_nobody_and_the_password_is_asked_for(faulty: FaultyDaemon, point: str) -> None:
    """When the disk recovers, the caller has disconnected, and nobody gets the accept."""
    found = []
    for way in (faulty.by_client, faulty.by_pam):
        with faulty.held(point):
            found.append(way())
    with faulty.held(point):
        faulty.falls_through_to_the_password()
    faulty.accepts_nobody(f"the disk hangs: {point}", found=found)


def test_an_enrolment_on_a_full_disk_leaves_the_old_profiles(faulty: FaultyDaemon) -> None:
    before = {file.name: file.read_bytes() for file in faulty.daemon.profiles.glob("*.profile")}
    with faulty.full_disk():
        for name, mode in ((OWNER, "replace"), ("newcomer", "new")):
            with pytest.raises(RefusedError, match="StorageFailed"):
                faulty.daemon.enroll(name, takes("Susan"), mode=mode)
    assert {file.name: file.read_bytes() for file in faulty.daemon.profiles.glob("*.profile")} == before
    assert faulty.daemon.names() == [OWNER, OTHER]
    faulty.accepts_the_owner(pam=False)


SMALL_DISK = 'mount -t tmpfs -o size=256k,mode=0700 none "$0" && exec "$@"'
"""Mount a file system of 256 KiB at the first argument, and run the command in the others."""


@pytest.mark.slow
def test_on_a_disk_that_fills_up_nobody_is_accepted_until_there_is_room(own_pam: PamRoom, folder: Path) -> None:
    """A real disk, with all files of the daemon."""
    state = folder / "state"
    state.mkdir()
    settings = {"profiles": str(state / "profiles"), "state": str(state)}
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SMALL_DISK, str(state)]
    with start_faulty(settings, folder=folder, pam=own_pam, prefix=prefix) as faulty, faulty.speaking():
        faulty.accepts_the_owner()
        seen = in_root_of(faulty.daemon.process.pid, state)
        filler = seen / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (4096, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break
        lines = len((seen / "audit").joinpath(first_file(seen)).read_bytes())
        found = faulty.accepts_nobody("the disk is full")
        assert "match" not in {one.message for one in found}
        with pytest.raises(RefusedError, match="StorageFailed"):
            faulty.daemon.enroll("newcomer", takes("Susan"))
        faulty.falls_through_to_the_password()
        filler.unlink()
        wait_until("there is room", lambda: os.statvfs(seen).f_bavail > 0)
        faulty.accepts_the_owner()
        assert faulty.daemon.names() == [OWNER, OTHER]
        assert len((seen / "audit").joinpath(first_file(seen)).read_bytes()) > lines
        log = verify(seen / "audit")
        assert log.whole, log.damage


def first_file(state: Path) -> str:
    return min(file.name for file in (state / "audit").glob("audit-*.jsonl"))
