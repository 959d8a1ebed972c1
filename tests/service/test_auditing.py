"""Writing calls to the audit log: in order, even if the caller disconnects, and limited for each user."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from inprocess_daemon import CALIBRATED, MALLORY, RALPH, ROOT, InProcessDaemon, window

from voiceauthd.audit.check_chain import Damage
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
from voiceauthd.service.auditing import AUDITED, MAX_LINES, Auditor, failed_outcome

Summary = tuple[str, str, str, str | None, int]
"""Event, outcome, reason, user and count of a line."""


def run(folder: Path, work: Callable[[Auditor], Awaitable[None]]) -> list[Summary]:
    """Run `work(auditor)`, and return its lines."""

    async def life() -> None:
        auditor = Auditor(AuditLog(folder / "audit", 65536, 16))
        async with asyncio.timeout(20.0):
            await auditor.open()
            await work(auditor)
            await auditor.close(5.0)

    asyncio.run(life())
    assert verify(folder / "audit").whole
    return summaries(folder)


def summaries(folder: Path) -> list[Summary]:
    lines = [line.entry for line in read(folder / "audit")]
    return [(line.event, line.outcome, line.reason, line.user, line.count) for line in lines]


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[str]:
    """Make the disk slow. Returns a list that collects the names of the writing threads."""
    real, threads = AuditLog.write, []

    def write(log: AuditLog, entry: object) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(seconds)
        real(log, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(AuditLog, "write", write)
    return threads


def test_lines_are_in_the_order_of_the_calls(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        calls = [auditor.record("Verify", "accept", f"match-{number}", RALPH, "Ralph") for number in range(30)]
        await asyncio.gather(*(asyncio.create_task(call) for call in calls))

    lines = run(tmp_path, work)
    assert [line[2] for line in lines[:-1]] == [f"match-{number}" for number in range(30)]
    assert lines[-1] == ("stop", "done", "", None, 1)


def test_a_line_has_the_caller_the_profile_and_the_detail(tmp_path: Path) -> None:
    run(tmp_path, lambda auditor: auditor.record("Verify", "accept", "match", RALPH, "Ralph", "unlock"))
    entry = next(read(tmp_path / "audit")).entry
    assert (entry.uid, entry.user, entry.pid, entry.name, entry.detail) == (4242, "Ralph", 2, "Ralph", "unlock")


def test_a_line_is_written_even_if_the_caller_disconnects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_closing_does_not_wait_longer_than_allowed_for_a_disk_that_hangs(
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


def test_a_noted_line_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 0.3)
    took = 0.0

    async def work(auditor: Auditor) -> None:
        nonlocal took
        before = time.monotonic()
        auditor.note("Verify", "refused", "busy", RALPH, "Ralph")
        took = time.monotonic() - before

    assert [line[0] for line in run(tmp_path, work)] == ["Verify", "stop"]
    assert took < 0.1


def test_lines_beyond_a_full_queue_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MAX_QUEUED", 1)
    monkeypatch.setattr(auditing, "RESERVED", 2)
    slow(monkeypatch, 0.1)

    async def work(auditor: Auditor) -> None:
        calls = [asyncio.create_task(auditor.record("Verify", "accept", "", RALPH)) for _ in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, StorageError) for result in results] == [False] * 3 + [True] * 2

    assert [line[0] for line in run(tmp_path, work)] == ["Verify"] * 3 + ["stop"]


def test_failed_calls_do_not_fill_the_queue_for_other_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MAX_QUEUED", 3)
    slow(monkeypatch, 0.1)

    async def work(auditor: Auditor) -> None:
        for uid in range(2001, 2009):
            auditor.note("Verify", "denied", "denied", dataclasses.replace(RALPH, uid=uid))
        await auditor.record("Verify", "accept", "match", RALPH)

    assert [line[1] for line in run(tmp_path, work)] == ["denied"] * 3 + ["accept", "done"]


# The limit of lines


def test_a_user_with_many_ids_gets_no_more_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MAX_CALLERS", 3)

    async def work(auditor: Auditor) -> None:
        for uid in range(2001, 2101):
            await auditor.record("Verify", "denied", "denied", dataclasses.replace(RALPH, uid=uid, user=None))

    lines = run(tmp_path, work)
    assert len(lines) == 3 + MAX_LINES + 2, (
        "one line of each of three users, ten of all others, one that counts the rest, and the stop"
    )
    assert lines[-2] == ("Verify", "denied", "denied", "several", 87)


def test_a_user_who_is_denied_again_and_again_gets_ten_lines_and_one_that_counts_the_rest(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(1000):
            await auditor.record("ExportProfile", "denied", "denied", RALPH, "Susan")

    lines = run(tmp_path, work)
    assert lines == [
        *[("ExportProfile", "denied", "denied", "Ralph", 1)] * MAX_LINES,
        ("ExportProfile", "denied", "denied", "Ralph", 1000 - MAX_LINES),
        ("stop", "done", "", None, 1),
    ]
    assert [line.entry.name for line in read(tmp_path / "audit")][MAX_LINES] == "Susan"


def test_calls_of_different_methods_share_the_limit(tmp_path: Path) -> None:
    kinds = [("Verify", "cancelled", "cancelled"), ("Enroll", "denied", "proof_needed"), ("Verify", "refused", "busy")]

    async def work(auditor: Auditor) -> None:
        for number in range(300):
            await auditor.record(*kinds[number % 3], RALPH, f"name-{number}")

    lines = run(tmp_path, work)
    assert len(lines) == MAX_LINES + 2
    assert lines[MAX_LINES] == ("several", "several", "several", "Ralph", 300 - MAX_LINES)


def test_the_count_is_written_when_the_period_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "LIMIT_PERIOD", 0.3)

    async def work(auditor: Auditor) -> None:
        for _ in range(2):
            for _ in range(MAX_LINES + 5):
                await auditor.record("Identify", "denied", "denied", RALPH)
            before = len(summaries(tmp_path))
            while len(summaries(tmp_path)) == before:
                await asyncio.sleep(0.02)

    lines = run(tmp_path, work)
    assert [line[4] for line in lines] == [*[1] * MAX_LINES, 5, *[1] * MAX_LINES, 5, 1]


def test_the_count_is_written_before_the_users_next_decision(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(MAX_LINES + 7):
            await auditor.record("Verify", "denied", "denied", RALPH, "Susan")
        await auditor.record("Verify", "accept", "match", RALPH, "Ralph")
        await auditor.record("Verify", "denied", "denied", RALPH, "Susan")

    lines = run(tmp_path, work)
    assert [(line[1], line[4]) for line in lines[MAX_LINES:]] == [
        ("denied", 7),
        ("accept", 1),
        ("denied", 1),
        ("done", 1),
    ]


def test_each_decision_change_and_internal_error_has_its_own_line(tmp_path: Path) -> None:
    outcomes = ["accept", "reject", "inconclusive", "done", "failed"]

    async def work(auditor: Auditor) -> None:
        for outcome in outcomes:
            for _ in range(2 * MAX_LINES):
                await auditor.record("Verify", outcome, "", RALPH)

    assert len(run(tmp_path, work)) == len(outcomes) * 2 * MAX_LINES + 1


def test_each_call_of_root_has_its_own_line(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(3 * MAX_LINES):
            await auditor.record("Verify", "refused", "busy", ROOT)

    assert len(run(tmp_path, work)) == 3 * MAX_LINES + 1


def test_the_denials_of_one_user_do_not_hide_those_of_another(tmp_path: Path) -> None:
    async def work(auditor: Auditor) -> None:
        for _ in range(50):
            await auditor.record("Verify", "denied", "denied", MALLORY, "Ralph")
        await auditor.record("Verify", "denied", "denied", RALPH, "Susan")

    lines = run(tmp_path, work)
    assert ("Verify", "denied", "denied", "Ralph", 1) in lines


# Outcomes


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
def test_outcome_and_reason_of_a_failed_call(problem: BaseException, outcome: tuple[str, str]) -> None:
    assert failed_outcome(problem) == outcome


def test_new_bounds_apply_after_a_reload(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit", 1, 1)
    Auditor(audit).configure(AuditConfig(size=32, files=3))
    assert (audit.size, audit.files) == (32 * 1024, 3)


def test_docs_audit_md_names_every_event_every_field_and_every_kind_of_damage() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "audit.md").read_text(encoding="utf-8")
    fields = list(Line(1, "", Entry("", ""), "", "", "").object())
    kinds = re.findall(r"kind  (.*?)\n    file", Damage.__doc__ or "", re.DOTALL)[0].replace(",", "").split()
    assert len(kinds) > 10
    for word in (*AUDITED, "start", "stop", "torn", "damage", *fields, *kinds):
        assert f"`{word}`" in page, word


# A verification


def verified(folder: Path, cosine: float, audit: AuditLog) -> tuple[str, str]:
    """Outcome and reason of a verification of Ralph with a voice of this similarity."""

    async def life() -> tuple[str, str]:
        daemon = InProcessDaemon(folder, CALIBRATED, [window(cosine)] * 3, Config())
        daemon.state.auditor = Auditor(audit)
        async with asyncio.timeout(20.0):
            replies = await daemon.ask("Verify", RALPH, name="Ralph", timeout=2.0)
            await daemon.state.auditor.close(2.0)
        last = replies[-1].parameters
        return last["outcome"], last["reason"]

    return asyncio.run(life())


@pytest.mark.parametrize(("cosine", "outcome"), [(0.95, "accept"), (-0.2, "reject")])
def test_a_decision_has_one_line(tmp_path: Path, cosine: float, outcome: str) -> None:
    decision = verified(tmp_path, cosine, AuditLog(tmp_path / "audit", 65536, 4))
    assert decision[0] == outcome
    assert summaries(tmp_path) == [("Verify", *decision, "Ralph", 1), ("stop", "done", "", None, 1)]
    entry = next(read(tmp_path / "audit")).entry
    assert (entry.name, entry.detail) == ("Ralph", "unlock")


class Broken(AuditLog):
    """Fails to write its first `failures` lines."""

    failures = 1

    def write(self, entry: object) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise StorageError("the disk is full", "disk_full")
        super().write(entry)  # type: ignore[arg-type]


def test_an_accept_that_cannot_be_audited_becomes_inconclusive(tmp_path: Path) -> None:
    audit = Broken(tmp_path / "audit", 65536, 4)
    assert verified(tmp_path, 0.95, audit) == ("inconclusive", "not_audited")
    # The next line, about the inconclusive decision, could be written.
    assert summaries(tmp_path) == [("Verify", "inconclusive", "not_audited", "Ralph", 1), ("stop", "done", "", None, 1)]


def test_a_reject_needs_no_audit_log(tmp_path: Path) -> None:
    audit = Broken(tmp_path / "audit", 65536, 4)
    audit.failures = 99
    assert verified(tmp_path, -0.2, audit)[0] == "reject"
    assert not (tmp_path / "audit").exists()


def test_a_line_that_cannot_be_audited_is_in_the_daemons_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
