"""What of a call goes into the audit log: in its order, to its end, and never so often that it pushes others out."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from policy_parts import RALPH, RATIOS, ROOT, Desk, window

from voiceauthd.audit.follow import Damage
from voiceauthd.audit.line import Line
from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify
from voiceauthd.config.schema import AuditConfig, Config
from voiceauthd.errors import (
    BusyError,
    DeniedError,
    LockedError,
    NotEnrolledError,
    StorageError,
    TooOftenError,
    WithdrawnError,
)
from voiceauthd.server.call import CallError
from voiceauthd.service import auditing
from voiceauthd.service.auditing import AUDITED, LINES, Auditor, failed_outcome

Told = tuple[str, str, str, str | None, int]


def run(folder: Path, work: Callable[[Auditor], Awaitable[None]]) -> list[Told]:
    """Event, outcome, reason, user and count of every line that `work` has left."""

    async def life() -> None:
        auditor = Auditor(AuditLog(folder / "audit", 65536, 16))
        async with asyncio.timeout(20.0):
            await auditor.open()
            await work(auditor)
            await auditor.close(5.0)

    asyncio.run(life())
    assert verify(folder / "audit").whole
    return told(folder)


def told(folder: Path) -> list[Told]:
    lines = [line.entry for line in read(folder / "audit")]
    return [(line.event, line.outcome, line.reason, line.user, line.count) for line in lines]


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[str]:
    """Makes the disk slow. Returns the names of the threads that write."""
    real, threads = AuditLog.write, []

    def write(log: AuditLog, entry: object) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(seconds)
        real(log, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(AuditLog, "write", write)
    return threads


def test_lines_stand_in_the_order_in_which_things_happened(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        calls = [auditor.record("Verify", "accept", f"match-{number}", RALPH, "Ralph") for number in range(30)]
        await asyncio.gather(*(asyncio.create_task(call) for call in calls))

    lines = run(tmp_path, work)
    assert [line[2] for line in lines[:-1]] == [f"match-{number}" for number in range(30)]
    assert lines[-1] == ("stop", "done", "", None, 1)


def test_who_called_is_told(tmp_path: Path) -> None:
    run(tmp_path, lambda auditor: auditor.record("Verify", "accept", "match", RALPH, "Ralph", "unlock"))
    entry = next(read(tmp_path / "audit")).entry
    assert (entry.uid, entry.user, entry.pid, entry.name, entry.detail) == (4242, "Ralph", 2, "Ralph", "unlock")


def test_a_line_that_was_begun_comes_to_its_end_when_the_caller_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.1)

    async def work(auditor: Auditor) -> None:
        for wait in (0.0, 0.05):
            call = asyncio.create_task(auditor.record("Verify", "accept", "match", RALPH))
            await asyncio.sleep(wait)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    lines = run(tmp_path, work)
    assert [line[0] for line in lines] == ["Verify", "Verify", "stop"]


def test_the_event_loop_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = slow(monkeypatch, 0.3)
    longest = 0.0

    async def work(auditor: Auditor) -> None:
        nonlocal longest
        call = asyncio.create_task(auditor.record("Verify", "accept", "match", RALPH))
        while not call.done():
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)

    run(tmp_path, work)
    assert longest < 0.25
    assert threading.main_thread().name not in threads


def test_closing_waits_for_a_disk_that_hangs_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(AuditLog, "write", lambda *_: release.wait(20))

    async def life() -> float:
        auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 16))
        await auditor.open()
        call = asyncio.create_task(auditor.record("Verify", "accept", "match", RALPH))
        await asyncio.sleep(0.05)
        before = time.monotonic()
        await auditor.close(0.2)
        took = time.monotonic() - before
        assert not call.done()
        call.cancel()
        with pytest.raises(StorageError):
            await auditor.record("Verify", "accept", "match", RALPH)
        return took

    before = time.monotonic()
    assert asyncio.run(life()) < 1.0
    assert time.monotonic() - before < 5.0
    release.set()


def test_nobody_waits_for_the_line_of_what_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 0.3)
    took = 0.0

    async def work(auditor: Auditor) -> None:
        nonlocal took
        before = time.monotonic()
        auditor.note("Verify", "refused", "busy", RALPH, "Ralph")
        took = time.monotonic() - before

    assert [line[0] for line in run(tmp_path, work)] == ["Verify", "stop"]
    assert took < 0.1


def test_too_many_lines_that_wait_are_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MOST_WAITING", 1)
    monkeypatch.setattr(auditing, "RESERVED", 2)
    slow(monkeypatch, 0.1)

    async def work(auditor: Auditor) -> None:
        calls = [asyncio.create_task(auditor.record("Verify", "accept", "", RALPH)) for _ in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, StorageError) for result in results] == [False] * 3 + [True] * 2

    assert [line[0] for line in run(tmp_path, work)] == ["Verify"] * 3 + ["stop"]


def test_calls_that_came_to_nothing_leave_room_for_those_that_came_to_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "MOST_WAITING", 3)
    slow(monkeypatch, 0.1)

    async def work(auditor: Auditor) -> None:
        for uid in range(2001, 2009):
            auditor.note("Verify", "denied", "denied", dataclasses.replace(RALPH, uid=uid))
        await auditor.record("Verify", "accept", "match", RALPH)

    assert [line[1] for line in run(tmp_path, work)] == ["denied"] * 3 + ["accept", "done"]


# So many lines a minute


def test_a_user_with_many_ids_gets_no_more_lines_by_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MOST_CALLERS", 3)

    async def work(auditor: Auditor) -> None:
        for uid in range(2001, 2101):
            await auditor.record("Verify", "denied", "denied", dataclasses.replace(RALPH, uid=uid, user=None))

    lines = run(tmp_path, work)
    assert len(lines) == 3 + LINES + 2, (
        "three users, ten lines of all others, the one that counts the rest, and the end"
    )
    assert lines[-2] == ("Verify", "denied", "denied", "several", 87)


def test_a_user_who_is_denied_all_the_time_gets_ten_lines_and_one_that_counts_the_rest(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(1000):
            await auditor.record("ExportProfile", "denied", "denied", RALPH, "Susan")

    lines = run(tmp_path, work)
    assert lines == [
        *[("ExportProfile", "denied", "denied", "Ralph", 1)] * LINES,
        ("ExportProfile", "denied", "denied", "Ralph", 1000 - LINES),
        ("stop", "done", "", None, 1),
    ]
    assert [line.entry.name for line in read(tmp_path / "audit")][LINES] == "Susan"


def test_calling_for_different_things_gets_no_more_lines(tmp_path: Path) -> None:
    kinds = [("Verify", "cancelled", "cancelled"), ("Enroll", "denied", "proof_needed"), ("Verify", "refused", "busy")]

    async def work(auditor: Auditor) -> None:
        for number in range(300):
            await auditor.record(*kinds[number % 3], RALPH, f"name-{number}")

    lines = run(tmp_path, work)
    assert len(lines) == LINES + 2
    assert lines[LINES] == ("several", "several", "several", "Ralph", 300 - LINES)


def test_what_was_counted_is_told_when_the_minute_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MINUTE", 0.3)

    async def work(auditor: Auditor) -> None:
        for _ in range(2):
            for _ in range(LINES + 5):
                await auditor.record("Identify", "denied", "denied", RALPH)
            before = len(told(tmp_path))
            while len(told(tmp_path)) == before:
                await asyncio.sleep(0.02)

    lines = run(tmp_path, work)
    assert [line[4] for line in lines] == [*[1] * LINES, 5, *[1] * LINES, 5, 1]


def test_what_was_counted_stands_before_the_next_thing_that_counts(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(LINES + 7):
            await auditor.record("Verify", "denied", "denied", RALPH, "Susan")
        await auditor.record("Verify", "accept", "match", RALPH, "Ralph")
        await auditor.record("Verify", "denied", "denied", RALPH, "Susan")

    lines = run(tmp_path, work)
    assert [(line[1], line[4]) for line in lines[LINES:]] == [("denied", 7), ("accept", 1), ("denied", 1), ("done", 1)]


@pytest.mark.parametrize("outcome", ["accept", "reject", "inconclusive", "done", "failed"])
def test_what_was_decided_or_done_has_a_line_each(tmp_path: Path, outcome: str) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(3 * LINES):
            await auditor.record("Verify", outcome, "", RALPH)

    assert len(run(tmp_path, work)) == 3 * LINES + 1


def test_whatever_root_does_has_a_line_each(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(3 * LINES):
            await auditor.record("Verify", "refused", "busy", ROOT)

    assert len(run(tmp_path, work)) == 3 * LINES + 1


def test_one_user_s_denials_hide_no_other_s(tmp_path: Path) -> None:
    from policy_parts import MALLORY

    async def work(auditor: Auditor) -> None:
        for _ in range(50):
            await auditor.record("Verify", "denied", "denied", MALLORY, "Ralph")
        await auditor.record("Verify", "denied", "denied", RALPH, "Susan")

    lines = run(tmp_path, work)
    assert ("Verify", "denied", "denied", "Ralph", 1) in lines


# What a call comes to


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (asyncio.CancelledError(), ("cancelled", "cancelled")),
        (WithdrawnError("the daemon stops"), ("cancelled", "cancelled")),
        (DeniedError("no"), ("denied", "denied")),
        (DeniedError("no", "proof_needed"), ("denied", "proof_needed")),
        (BusyError("busy"), ("refused", "busy")),
        (TooOftenError("slow down"), ("refused", "too_often")),
        (LockedError("locked"), ("refused", "locked")),
        (NotEnrolledError("nobody"), ("refused", "not_enrolled")),
        (CallError("EnrolmentIncomplete"), ("refused", "EnrolmentIncomplete")),
        (ZeroDivisionError(), ("failed", "internal")),
    ],
)
def test_how_a_call_that_failed_is_told(problem: BaseException, outcome: tuple[str, str]) -> None:
    assert failed_outcome(problem) == outcome


def test_new_bounds_hold_after_a_reload(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit", 1, 1)
    Auditor(audit).configure(AuditConfig(size=32, files=3))
    assert (audit.size, audit.files) == (32 * 1024, 3)


def test_the_page_names_every_event_every_field_and_every_kind_of_damage() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "audit.md").read_text(encoding="utf-8")
    fields = list(Line(1, "", Entry("", ""), "", "", "").object())
    kinds = re.findall(r"kind  (.*?)\n    file", Damage.__doc__ or "", re.DOTALL)[0].replace(",", "").split()
    assert len(kinds) > 10
    for word in (*AUDITED, "start", "stop", "torn", "damage", *fields, *kinds):
        assert f"`{word}`" in page, word


# A verification


def verified(folder: Path, cosine: float, audit: AuditLog) -> tuple[str, str]:
    """How a verification of Ralph ends, while a voice is heard that is so like his."""

    async def life() -> tuple[str, str]:
        desk = Desk(folder, RATIOS, [window(cosine)] * 3, Config())
        desk.state.auditor = Auditor(audit)
        async with asyncio.timeout(20.0):
            replies = await desk.ask("Verify", RALPH, name="Ralph", timeout=2.0)
            await desk.state.auditor.close(2.0)
        last = replies[-1].parameters
        return last["outcome"], last["reason"]

    return asyncio.run(life())


@pytest.mark.parametrize(("cosine", "outcome"), [(0.95, "accept"), (-0.2, "reject")])
def test_a_decision_has_one_line(tmp_path: Path, cosine: float, outcome: str) -> None:
    decision = verified(tmp_path, cosine, AuditLog(tmp_path / "audit", 65536, 4))
    assert decision[0] == outcome
    assert told(tmp_path) == [("Verify", *decision, "Ralph", 1), ("stop", "done", "", None, 1)]
    entry = next(read(tmp_path / "audit")).entry
    assert (entry.name, entry.detail) == ("Ralph", "unlock")


class Broken(AuditLog):
    """Fails its first lines, as many as are left."""

    left = 1

    def write(self, entry: object) -> None:
        if self.left > 0:
            self.left -= 1
            raise StorageError("the disk is full", "disk_full")
        super().write(entry)  # type: ignore[arg-type]


def test_what_cannot_be_audited_accepts_nobody(tmp_path: Path) -> None:
    audit = Broken(tmp_path / "audit", 65536, 4)
    assert verified(tmp_path, 0.95, audit) == ("inconclusive", "not_audited")
    # The disk had room again for the line about what became of it.
    assert told(tmp_path) == [("Verify", "inconclusive", "not_audited", "Ralph", 1), ("stop", "done", "", None, 1)]


def test_a_reject_needs_no_audit_log(tmp_path: Path) -> None:
    audit = Broken(tmp_path / "audit", 65536, 4)
    audit.left = 99
    assert verified(tmp_path, -0.2, audit)[0] == "reject"
    assert not (tmp_path / "audit").exists()


def test_what_the_audit_log_does_not_take_is_in_the_daemon_s_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit = Broken(tmp_path / "audit", 65536, 4)

    async def life() -> None:
        auditor = Auditor(audit)
        auditor.note("DeleteProfile", "done", "", RALPH, "Ralph\n\x1b[2J")
        await auditor.close(2.0)

    asyncio.run(life())
    (record,) = [record for record in caplog.records if "not in the audit log" in record.message]
    assert "DeleteProfile" in record.message
    assert "\n" not in record.message
    assert "\x1b" not in record.message
