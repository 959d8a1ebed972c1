"""A change of a profile in the audit log: its line is there before the answer, and also if nobody waits for one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from policy_parts import RALPH, RATIOS, Desk

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.config.schema import Config
from voiceauthd.errors import StorageError
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.service.auditing import LINES, Auditor


def told(folder: Path) -> list[tuple[str, str, str, str | None, int]]:
    """Event, outcome, reason, user and count of every line."""
    lines = [line.entry for line in read(folder / "audit")]
    return [(line.event, line.outcome, line.reason, line.user, line.count) for line in lines]


def test_a_change_is_told_of_as_done_although_its_caller_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as cancelled, of which a user who asks often gets no line of their own either."""
    begun, gone = threading.Event(), threading.Event()
    real = ProfileStore.delete

    def delete(store: ProfileStore, name: str) -> None:
        begun.set()
        assert gone.wait(5.0)
        real(store, name)

    async def life() -> None:
        desk = Desk(tmp_path, RATIOS, [], Config())
        auditor = desk.state.auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 4))
        await auditor.open()
        for _ in range(LINES):
            await desk.ask("Identify", RALPH)
        proof, _ = desk.state.proofs.give(RALPH.uid)
        call = asyncio.create_task(desk.ask("DeleteProfile", RALPH, name="Ralph", proof=proof))
        await asyncio.to_thread(begun.wait, 5.0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gone.set()
        async with asyncio.timeout(5.0):
            await desk.methods.settle(5.0)
        assert [each.name for each in desk.state.engine.store.all()] == ["Susan"]
        await auditor.close(5.0)

    monkeypatch.setattr(ProfileStore, "delete", delete)
    asyncio.run(life())
    assert told(tmp_path)[LINES:] == [
        ("DeleteProfile", "done", "", "Ralph", 1),
        ("stop", "done", "", None, 1),
    ]


def test_the_line_of_a_change_is_there_before_the_answer(tmp_path: Path) -> None:
    async def life() -> None:
        desk = Desk(tmp_path, RATIOS, [], Config())
        auditor = desk.state.auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 4))
        await auditor.open()
        assert (await desk.ask("Unlock", name="Ralph"))[-1].error is None
        assert told(tmp_path) == [("Unlock", "done", "", "root", 1)]
        assert (await desk.ask("RenameProfile", name="Ralph", new_name="Susan"))[-1].error is not None
        await auditor.close(5.0)

    asyncio.run(life())
    assert told(tmp_path)[1] == ("RenameProfile", "refused", "already_enrolled", "root", 1)


def test_nothing_is_changed_while_the_log_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = True
    real = AuditLog.write

    def write(log: AuditLog, entry: Entry) -> None:
        if full:
            raise StorageError("the disk is full", "disk_full")
        real(log, entry)

    async def life() -> None:
        nonlocal full
        desk = Desk(tmp_path, RATIOS, [], Config())
        auditor = desk.state.auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 4))
        await auditor.open()
        with pytest.raises(StorageError):
            await auditor.record("Verify", "reject", "no_match", RALPH)
        assert (await desk.ask("DeleteProfile", name="Ralph"))[-1].error == "org.voiceauthd.StorageFailed"
        assert [each.name for each in desk.state.engine.store.all()] == ["Ralph", "Susan"]
        with pytest.raises(StorageError):  # and the line of the refusal, before it, has failed by now
            await auditor.record("Verify", "reject", "no_match", RALPH)
        full = False
        assert (await desk.ask("DeleteProfile", name="Ralph"))[-1].error is None
        assert [each.name for each in desk.state.engine.store.all()] == ["Susan"]
        assert (await desk.ask("DeleteProfile", name="Susan"))[-1].error is None
        await auditor.close(5.0)

    monkeypatch.setattr(AuditLog, "write", write)
    asyncio.run(life())
    assert [line[:2] for line in told(tmp_path)] == [
        ("DeleteProfile", "begun"),
        ("DeleteProfile", "done"),
        ("DeleteProfile", "done"),
        ("stop", "done"),
    ]
