"""What the daemon leaves in the audit log: one right line for each thing that happens, and no accept without one."""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_box import Box, wait_until
from daemon_caller import RefusedError
from daemon_room import takes, voice
from test_daemon_peers import PYTHON, call_as

from voiceauthd.audit.line import Line
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify
from voiceauthd.errors import ExitCode

STRANGER = "www-data"
"""An account of every Debian, which has nothing to do with anybody's voice here."""


def lines_of(box: Box) -> list[Line]:
    return list(read(box.folder / "audit"))


def mark(box: Box) -> int:
    """Leaves a line, and returns how many there were before it. All that happened before it has its line by then."""
    name = f"nobody-{secrets.token_hex(8)}"
    assert box.refusal("DeleteProfile", name=name).error == "NotEnrolled"

    def found() -> list[int]:
        return [place for place, line in enumerate(lines_of(box), 1) if line.entry.name == name]

    return wait_until("the line is there", found)[0] - 1


def left_by(box: Box, act: Callable[[], object]) -> list[Line]:
    """The lines that `act` leaves."""
    before = mark(box) + 1
    act()
    after = mark(box)
    return lines_of(box)[before:after]


def summary(line: Line) -> tuple[str, str, str, str | None, str | None]:
    entry = line.entry
    return entry.event, entry.outcome, entry.reason, entry.name, entry.detail


def verify_with(box: Box, sound: str, **parameters: object) -> dict:
    with box.caller() as caller:
        caller.send("Verify", name="Ralph", **parameters)
        caller.until("listening")
        box.room.play(voice(sound))
        return caller.until("decided")


def test_an_accept_and_a_reject_have_a_line_each(box: Box) -> None:
    (line,) = left_by(box, lambda: verify_with(box, "verify-ralph"))
    assert summary(line) == ("Verify", "accept", "match", "Ralph", "unlock")
    assert (line.entry.uid, line.entry.user, line.entry.pid) == (
        os.geteuid(),
        pwd.getpwuid(os.geteuid())[0],
        os.getpid(),
    )
    assert line.entry.count == 1
    (line,) = left_by(box, lambda: verify_with(box, "verify-stranger", timeout=4.0, policy="monitor"))
    assert summary(line) == ("Verify", "reject", "no_match", "Ralph", "monitor")


def test_the_line_of_an_accept_is_there_before_the_answer(box: Box) -> None:
    before = len(lines_of(box))
    assert verify_with(box, "verify-ralph")["outcome"] == "accept"
    assert [summary(line)[:2] for line in lines_of(box)[before:]] == [("Verify", "accept")]


def test_silence_and_a_caller_who_vanishes_have_a_line_each(box: Box) -> None:
    (line,) = left_by(box, lambda: box.ask("Verify", name="Ralph", timeout=0))
    assert summary(line)[:2] == ("Verify", "inconclusive")

    def vanish() -> None:
        with box.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
        box.await_idle()

    (line,) = left_by(box, vanish)
    assert summary(line) == ("Verify", "cancelled", "cancelled", "Ralph", "unlock")


def test_a_change_of_profiles_has_a_line_each(box: Box) -> None:
    document = ""

    def export() -> None:
        nonlocal document
        document = box.ask("ExportProfile", name="Newcomer")["document"]

    (line,) = left_by(box, lambda: box.enroll("Newcomer", takes("Ralph")))
    assert summary(line)[:4] == ("Enroll", "done", "", "Newcomer")
    (line,) = left_by(box, export)
    assert summary(line) == ("ExportProfile", "done", "", "Newcomer", None)
    (line,) = left_by(box, lambda: box.ask("RenameProfile", name="Newcomer", new_name="Comer"))
    assert summary(line) == ("RenameProfile", "done", "", "Newcomer", "Comer")
    (line,) = left_by(box, lambda: box.ask("DeleteProfile", name="Comer"))
    assert summary(line) == ("DeleteProfile", "done", "", "Comer", None)
    (line,) = left_by(box, lambda: box.refusal("ImportProfile", document="{}"))
    assert summary(line)[:2] == ("ImportProfile", "refused")
    (line,) = left_by(box, lambda: box.ask("Reload"))
    assert summary(line)[:2] == ("Reload", "done")
    assert document


def test_a_reload_by_signal_has_a_line_that_names_no_caller(stub_at) -> None:
    box = stub_at()

    def reloads() -> list[tuple[str, str, int | None]]:
        return [
            (line.entry.outcome, line.entry.reason, line.entry.uid)
            for line in lines_of(box)
            if line.entry.event == "Reload"
        ]

    box.signal(signal.SIGHUP)
    assert wait_until("the line is there", reloads) == [("done", "", None)]
    box.configure({"decision": {"margin": "much"}})
    box.signal(signal.SIGHUP)
    wait_until("the next line is there", lambda: len(reloads()) == 2)
    assert reloads()[1] == ("refused", "config", None)


def test_a_call_that_only_looks_has_no_line(box: Box) -> None:
    calls = ("Info", "Status", "ListProfiles")
    assert left_by(box, lambda: [box.ask(call) for call in calls]) == []


@pytest.fixture
def stranger() -> str:
    if os.geteuid() != 0:
        pytest.skip("needs root, to call as another user")
    if shutil.which("setpriv") is None or not PYTHON.exists():
        pytest.skip("needs setpriv (util-linux) and the system's python3")
    try:
        pwd.getpwnam(STRANGER)
    except KeyError:
        pytest.skip(f"needs the account {STRANGER!r}, which every Debian has")
    return STRANGER


def test_a_denied_call_of_another_user_has_one_line_whatever_it_asked_for(box: Box, stranger: str) -> None:
    calls = [("ExportProfile", {"name": "Susan"}), ("ShowProfile", {"name": "Susan"}), ("Monitor", {})]
    lines = left_by(box, lambda: call_as(box, stranger, *calls))
    assert [summary(line) for line in lines] == [
        ("ExportProfile", "denied", "denied", "Susan", None),
        ("ShowProfile", "denied", "denied", "Susan", None),
        ("Monitor", "denied", "denied", None, None),
    ]
    account = pwd.getpwnam(stranger)
    assert {(line.entry.uid, line.entry.user) for line in lines} == {(account.pw_uid, stranger)}
    assert all(line.entry.pid for line in lines)


def test_a_hostile_name_makes_no_line_of_its_own(box: Box) -> None:
    name = 'x"}\n{"seq":1}\x1b[2J' + "y" * 20_000
    (line,) = left_by(box, lambda: box.refusal("Verify", name=name))
    assert line.entry.name is not None
    assert name.startswith(line.entry.name[:-1])
    assert len(line.entry.name) == 256


def test_the_log_that_a_working_daemon_writes_is_whole(box: Box) -> None:
    assert lines_of(box)[0].entry.event == "start"
    assert verify(box.folder / "audit").damage == ()


def test_one_who_calls_on_and_on_is_counted(stub_at, stranger: str, folder: Path) -> None:
    folder.chmod(0o755)
    box = stub_at()
    call_as(box, stranger, *[("ExportProfile", {"name": "Susan"})] * 50)
    box.end()
    lines = [line.entry for line in lines_of(box)]
    assert [entry.event for entry in lines] == ["start", *["ExportProfile"] * 11, "stop"]
    assert [entry.count for entry in lines] == [*[1] * 11, 40, 1]
    assert verify(box.folder / "audit").damage == ()


# A log that cannot be written


@pytest.fixture
def small_log(folder: Path) -> Iterator[Path]:
    """The audit folder on a disk of its own, of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    disk = folder / "audit"
    disk.mkdir(0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(256))
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise


def test_nobody_is_accepted_while_the_audit_log_cannot_be_written(small_log: Path, stub_at) -> None:
    box = stub_at()
    box.enroll("Ralph", takes("Ralph"))
    assert verify_with(box, "ralph-1")["outcome"] == "accept"
    wait_until("the enrolment is told", lambda: len(lines_of(box)) == 3)
    fill(small_log / "filler")
    for _ in range(2):
        decision = verify_with(box, "ralph-1")
        assert (decision["outcome"], decision["reason"]) == ("inconclusive", "not_audited")
    with pytest.raises(RefusedError) as refused:
        box.ask("ExportProfile", name="Ralph")
    assert refused.value.error == "StorageFailed"
    assert box.logged("not in the audit log")
    (small_log / "filler").unlink()
    assert verify_with(box, "ralph-1")["outcome"] == "accept"
    accepts = [line for line in lines_of(box) if line.entry.outcome == "accept"]
    assert len(accepts) == 2
    assert verify(small_log).damage == ()
    assert box.end() == ExitCode.OK
    assert lines_of(box)[-1].entry.event == "stop"


def test_a_daemon_whose_audit_log_cannot_be_opened_does_not_start(stub_at, folder: Path) -> None:
    (folder / "audit").write_text("")
    box = stub_at(await_ready=False)
    assert box.wait() == ExitCode.STORAGE
    (line,) = box.log.read_text().splitlines()
    assert "audit" in line
    assert not box.socket.exists()


def test_two_daemons_do_not_write_one_log(stub_at, folder: Path) -> None:
    stub_at()
    other = folder / "other"
    other.mkdir()
    box = stub_at({"socket": {"path": str(other / "socket")}}, await_ready=False)
    assert box.wait() == ExitCode.STORAGE
    assert box.logged("written by another daemon")


def test_the_log_is_whole_whenever_the_daemon_is_killed(stub_at, folder: Path) -> None:
    for kill in range(2):
        box = stub_at()
        with box.caller() as caller:
            for call in range(40):
                caller.send("DeleteProfile", name=f"nobody-{call}", more=False)
            time.sleep(0.02 * kill)
            box.signal(signal.SIGKILL)
        assert box.wait() == -signal.SIGKILL
        assert verify(folder / "audit").damage == ()
    assert [line.entry.event for line in lines_of(box)].count("start") == 2
    stub_at().end()
    verdict = verify(folder / "audit")
    assert verdict.damage == ()
    assert verdict.last == len(lines_of(box))
