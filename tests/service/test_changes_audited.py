"""Changes of profiles in the audit log: the line is written before the answer, even if the caller has disconnected."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from inprocess_daemon import CALIBRATED, RALPH, InProcessDaemon

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.config.schema import Config
from voiceauthd.errors import StorageError
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.service.auditing import MAX_LINES, Auditor


def summaries(folder: Path) -> list[tuple[str, str, str, str | None, int]]:
    """Event, outcome, reason, user and count of every line."""
    lines = [line.entry for line in read(folder / "audit")]
    return [(line.event, line.outcome, line.reason, line.user, line.count) for line in lines]


def test_a_change_is_logged_as_done_even_if_its_caller_has_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as cancelled, an outcome that is only counted for a user who calls often."""
    begun, gone = threading.Event(), threading.Event()
    real = ProfileStore.delete

    def delete(store: ProfileStore, name: str) -> None:
        begun.set()
        assert gone.wait(5.0)
        real(store, name)

    async def life() -> None:
        daemon = InProcessDaemon(tmp_path, CALIBRATED, [], Config())
        auditor = daemon.state.auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 4))
        await auditor.open()
        for _ in range(MAX_LINES):
            await daemon.ask("Identify", RALPH)
        proof, _ = daemon.state.proofs.issue(RALPH.uid)
        call = asyncio.create_task(daemon.ask("DeleteProfile", RALPH, name="Ralph", proof=proof))
        await asyncio.to_thread(begun.wait, 5.0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gone.set()
        async with asyncio.timeout(5.0):
            await daemon.methods.settle(5.0)
        assert [each.name for each in daemon.state.engine.store.all()] == ["Susan"]
        await auditor.close(5.0)

    monkeypatch.setattr(ProfileStore, "delete", delete)
    asyncio.run(life())
    assert summaries(tmp_path)[MAX_LINES:] == [
        ("DeleteProfile", "done", "", "Ralph", 1),
        ("stop", "done", "", None, 1),
    ]


def test_the_line_of_a_change_is_written_before_the_answer(tmp_path: Path) -> None:
    async def life() -> None:
        daemon = InProcessDaemon(tmp_path, CALIBRATED, [], Config())
        auditor = daemon.state.auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 4))
        await auditor.open()
        assert (await daemon.ask("Unlock", name="Ralph"))[-1].error is None
        assert summaries(tmp_path) == [("Unlock", "done", "", "root", 1)]
        assert (await daemon.ask("RenameProfile", name="Ralph", new_name="Susan"))[-1].error is not None
        await auditor.close(5.0)

    asyncio.run(life())
    assert summaries(tmp_path)[1] == ("RenameProfile", "refused", "already_enrolled", "root", 1)


def test_nothing_is_changed_while_the_log_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = True
    real = AuditLog.write

    def write(log: AuditLog, entry: Entry) -> None:
        if full:
            raise StorageError("the disk is full", "disk_full")
        real(log, entry)

    async def life() -> None:
        nonlocal full
        daemon = InProcessDaemon(tmp_path, CALIBRATED, [], Config())
        auditor = daemon.state.auditor = Auditor(AuditLog(tmp_path / "audit", 65536, 4))
        await auditor.open()
        with pytest.raises(StorageError):
            await auditor.record("Verify", "reject", "no_match", RALPH)
        assert (await daemon.ask("DeleteProfile", name="Ralph"))[-1].error == "org.voiceauthd.StorageFailed"
        assert [each.name for each in daemon.state.engine.store.all()] == ["Ralph", "Susan"]
        with pytest.raises(StorageError):  # writes after the line of the refusal, which has failed by now
            await auditor.record("Verify", "reject", "no_match", RALPH)
        full = False
        assert (await daemon.ask("DeleteProfile", name="Ralph"))[-1].error is None
        assert [each.name for each in daemon.state.engine.store.all()] == ["Susan"]
        assert (await daemon.ask("DeleteProfile", name="Susan"))[-1].error is None
        await auditor.close(5.0)

    monkeypatch.setattr(AuditLog, "write", write)
    asyncio.run(life())
    assert [line[:2] for line in summaries(tmp_path)] == [
        ("DeleteProfile", "begun"),
        ("DeleteProfile", "done"),
        ("DeleteProfile", "done"),
        ("stop", "done"),
    ]
