"""The audit log of the whole daemon: one line for each audited call, and no accept without its line."""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_audio import takes, voice
from daemon_caller import RefusedError
from daemon_process import DaemonProcess
from other_users import STRANGER, call_as
from small_disk import fill, small_disk
from waiting import wait_until

from voiceauthd.audit.line import Line
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify
from voiceauthd.errors import ExitCode


def lines_of(daemon: DaemonProcess) -> list[Line]:
    return list(read(daemon.folder / "audit"))


def mark(daemon: DaemonProcess) -> int:
    """Cause a line, and return the number of lines before it. All earlier calls have their lines by then."""
    name = f"nobody-{secrets.token_hex(8)}"
    assert daemon.refusal("DeleteProfile", name=name).error == "NotEnrolled"

    def found() -> list[int]:
        return [number for number, line in enumerate(lines_of(daemon), 1) if line.entry.name == name]

    return wait_until("the line is written", found)[0] - 1


def lines_from(daemon: DaemonProcess, act: Callable[[], object]) -> list[Line]:
    """The lines that `act` causes."""
    before = mark(daemon) + 1
    act()
    after = mark(daemon)
    return lines_of(daemon)[before:after]


def summary(line: Line) -> tuple[str, str, str, str | None, str | None]:
    entry = line.entry
    return entry.event, entry.outcome, entry.reason, entry.name, entry.detail


def test_an_accept_and_a_reject_have_a_line_each(daemon: DaemonProcess) -> None:
    (line,) = lines_from(daemon, lambda: daemon.verify("Ralph", voice("verify-ralph")))
    assert summary(line) == ("Verify", "accept", "match", "Ralph", "unlock")
    assert (line.entry.uid, line.entry.user, line.entry.pid) == (
        os.geteuid(),
        pwd.getpwuid(os.geteuid())[0],
        os.getpid(),
    )
    assert line.entry.count == 1
    (line,) = lines_from(
        daemon, lambda: daemon.verify("Ralph", voice("verify-stranger"), timeout=4.0, policy="monitor")
    )
    assert summary(line) == ("Verify", "reject", "no_match", "Ralph", "monitor")


def test_the_line_of_an_accept_is_written_before_the_answer(daemon: DaemonProcess) -> None:
    before = len(lines_of(daemon))
    assert daemon.verify("Ralph", voice("verify-ralph"))["outcome"] == "accept"
    assert [summary(line)[:2] for line in lines_of(daemon)[before:]] == [("Verify", "accept")]


def test_silence_and_a_caller_who_disconnects_have_a_line_each(daemon: DaemonProcess) -> None:
    (line,) = lines_from(daemon, lambda: daemon.ask("Verify", name="Ralph", timeout=0))
    assert summary(line)[:2] == ("Verify", "inconclusive")

    def disconnect() -> None:
        with daemon.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
        daemon.await_idle()

    (line,) = lines_from(daemon, disconnect)
    assert summary(line) == ("Verify", "cancelled", "cancelled", "Ralph", "unlock")


def test_each_change_of_profiles_has_a_line(daemon: DaemonProcess) -> None:
    document = ""

    def export() -> None:
        nonlocal document
        document = daemon.ask("ExportProfile", name="Newcomer")["document"]

    (line,) = lines_from(daemon, lambda: daemon.enroll("Newcomer", takes("Ralph")))
    assert summary(line)[:4] == ("Enroll", "done", "", "Newcomer")
    (line,) = lines_from(daemon, export)
    assert summary(line) == ("ExportProfile", "done", "", "Newcomer", None)
    (line,) = lines_from(daemon, lambda: daemon.ask("RenameProfile", name="Newcomer", new_name="Comer"))
    assert summary(line) == ("RenameProfile", "done", "", "Newcomer", "Comer")
    (line,) = lines_from(daemon, lambda: daemon.ask("DeleteProfile", name="Comer"))
    assert summary(line) == ("DeleteProfile", "done", "", "Comer", None)
    (line,) = lines_from(daemon, lambda: daemon.refusal("ImportProfile", document="{}"))
    assert summary(line)[:2] == ("ImportProfile", "refused")
    (line,) = lines_from(daemon, lambda: daemon.ask("Reload"))
    assert summary(line)[:2] == ("Reload", "done")
    assert document


def test_a_reload_by_signal_has_a_line_without_a_caller(stub_at) -> None:
    daemon = stub_at()

    def reloads() -> list[tuple[str, str, int | None]]:
        return [
            (line.entry.outcome, line.entry.reason, line.entry.uid)
            for line in lines_of(daemon)
            if line.entry.event == "Reload"
        ]

    daemon.signal(signal.SIGHUP)
    assert wait_until("the line is written", reloads) == [("done", "", None)]
    daemon.configure({"decision": {"margin": "much"}})
    daemon.signal(signal.SIGHUP)
    wait_until("the next line is written", lambda: len(reloads()) == 2)
    assert reloads()[1] == ("refused", "config", None)


def test_info_status_and_list_profiles_have_no_line(daemon: DaemonProcess) -> None:
    calls = ("Info", "Status", "ListProfiles")
    assert lines_from(daemon, lambda: [daemon.ask(call) for call in calls]) == []


def test_each_denied_call_of_another_user_has_a_line(daemon: DaemonProcess) -> None:
    calls = [("ExportProfile", {"name": "Susan"}), ("ShowProfile", {"name": "Susan"}), ("Monitor", {})]
    lines = lines_from(daemon, lambda: call_as(daemon, STRANGER, *calls))
    assert [summary(line) for line in lines] == [
        ("ExportProfile", "denied", "denied", "Susan", None),
        ("ShowProfile", "denied", "denied", "Susan", None),
        ("Monitor", "denied", "denied", None, None),
    ]
    account = pwd.getpwnam(STRANGER)
    assert {(line.entry.uid, line.entry.user) for line in lines} == {(account.pw_uid, STRANGER)}
    assert all(line.entry.pid for line in lines)


def test_a_hostile_name_cannot_inject_a_line(daemon: DaemonProcess) -> None:
    name = 'x"}\n{"seq":1}\x1b[2J' + "y" * 20_000
    (line,) = lines_from(daemon, lambda: daemon.refusal("Verify", name=name))
    assert line.entry.name is not None
    assert name.startswith(line.entry.name[:-1])
    assert len(line.entry.name) == 256


def test_the_log_of_a_running_daemon_is_intact(daemon: DaemonProcess) -> None:
    assert lines_of(daemon)[0].entry.event == "start"
    assert verify(daemon.folder / "audit").damage == ()


def test_calls_beyond_the_limit_of_a_user_are_counted_in_one_line(stub_at, folder: Path) -> None:
    folder.chmod(0o755)
    daemon = stub_at()
    call_as(daemon, STRANGER, *[("ExportProfile", {"name": "Susan"})] * 50)
    daemon.end()
    lines = [line.entry for line in lines_of(daemon)]
    assert [entry.event for entry in lines] == ["start", *["ExportProfile"] * 11, "stop"]
    assert [entry.count for entry in lines] == [*[1] * 11, 40, 1]
    assert verify(daemon.folder / "audit").damage == ()


# A log that cannot be written


@pytest.fixture
def small_log(folder: Path) -> Iterator[Path]:
    """The audit folder on a disk of its own, of 64 KiB."""
    with small_disk(folder / "audit") as mounted:
        yield mounted


def test_nobody_is_accepted_while_the_audit_log_cannot_be_written(small_log: Path, stub_at) -> None:
    daemon = stub_at()
    daemon.enroll("Ralph", takes("Ralph"))
    assert daemon.verify("Ralph", voice("ralph-1"))["outcome"] == "accept"
    wait_until("the enrolment has its line", lambda: len(lines_of(daemon)) == 3)
    fill(small_log / "filler")
    for _ in range(2):
        decision = daemon.verify("Ralph", voice("ralph-1"))
        assert (decision["outcome"], decision["reason"]) == ("inconclusive", "not_audited")
    with pytest.raises(RefusedError) as refused:
        daemon.ask("ExportProfile", name="Ralph")
    assert refused.value.error == "StorageFailed"
    assert daemon.logged("not in the audit log")
    (small_log / "filler").unlink()
    assert daemon.verify("Ralph", voice("ralph-1"))["outcome"] == "accept"
    accepts = [line for line in lines_of(daemon) if line.entry.outcome == "accept"]
    assert len(accepts) == 2
    assert verify(small_log).damage == ()
    assert daemon.end() == ExitCode.OK
    assert lines_of(daemon)[-1].entry.event == "stop"


def test_the_daemon_does_not_start_if_its_audit_log_cannot_be_opened(stub_at, folder: Path) -> None:
    (folder / "audit").write_text("")
    daemon = stub_at(await_ready=False)
    assert daemon.wait() == ExitCode.STORAGE
    (line,) = daemon.log.read_text().splitlines()
    assert "audit" in line
    assert not daemon.socket.exists()


def test_a_second_daemon_does_not_write_the_same_log(stub_at, folder: Path) -> None:
    stub_at()
    other = folder / "other"
    other.mkdir()
    daemon = stub_at({"socket": {"path": str(other / "socket")}}, await_ready=False)
    assert daemon.wait() == ExitCode.STORAGE
    assert daemon.logged("another daemon is writing")


def test_the_log_is_intact_whenever_the_daemon_is_killed(stub_at, folder: Path) -> None:
    for kill in range(2):
        daemon = stub_at()
        with daemon.caller() as caller:
            for call in range(40):
                caller.send("DeleteProfile", name=f"nobody-{call}", more=False)
            time.sleep(0.02 * kill)
            daemon.signal(signal.SIGKILL)
        assert daemon.wait() == -signal.SIGKILL
        assert verify(folder / "audit").damage == ()
    assert [line.entry.event for line in lines_of(daemon)].count("start") == 2
    stub_at().end()
    verdict = verify(folder / "audit")
    assert verdict.damage == ()
    assert verdict.last == len(lines_of(daemon))
