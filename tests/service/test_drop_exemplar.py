"""Dropping an exemplar: who may, what is audited, and who sees how well exemplars agree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from inprocess_daemon import CALIBRATED, LISTENER, MALLORY, RALPH, ROOT, InProcessDaemon

from voiceauthd.audit.log import AuditLog
from voiceauthd.audit.reading import read
from voiceauthd.config.schema import Config
from voiceauthd.service.auditing import Auditor

DROP = {"name": "Ralph", "exemplar": 2, "generation": 1}


@pytest.fixture
def ralphs_account(monkeypatch: pytest.MonkeyPatch) -> None:
    async def account(name: str) -> int | None:
        return RALPH.uid if name == "Ralph" else None

    monkeypatch.setattr("voiceauthd.service.context.account", account)


def life(folder: Path, scenario: Callable[[InProcessDaemon], Awaitable[None]]) -> list[tuple[str | None, ...]]:
    """Run a scenario, and return event, outcome, user, name and detail of each audited call."""

    async def run() -> None:
        daemon = InProcessDaemon(folder, CALIBRATED, [], Config())
        auditor = daemon.state.auditor = Auditor(AuditLog(folder / "audit", 65536, 4))
        await auditor.open()
        await scenario(daemon)
        await auditor.close(5.0)

    asyncio.run(run())
    entries = [line.entry for line in read(folder / "audit")]
    return [(one.event, one.outcome, one.user, one.name, one.detail) for one in entries if one.event != "stop"]


@pytest.mark.usefixtures("ralphs_account")
def test_only_the_owner_with_a_password_and_administrators_drop_exemplars(tmp_path: Path) -> None:
    async def scenario(daemon: InProcessDaemon) -> None:
        for peer, error in (
            (MALLORY, "org.varlink.service.PermissionDenied"),
            (LISTENER, "org.varlink.service.PermissionDenied"),
            (RALPH, "org.voiceauthd.ProofNeeded"),
        ):
            assert (await daemon.ask("DropExemplar", peer, **DROP))[-1].error == error
        assert len(daemon.state.engine.store.get("Ralph").exemplars) == 5
        before = daemon.state.engine.recogniser.gallery
        proof, _ = daemon.state.proofs.issue(RALPH.uid)
        (left,) = await daemon.ask("DropExemplar", RALPH, proof=proof, **DROP)
        assert left.parameters["profile"]["exemplars"] == 4
        (left,) = await daemon.ask("DropExemplar", ROOT, **{**DROP, "generation": 2})
        assert left.parameters["profile"]["exemplars"] == 3
        assert daemon.state.engine.recogniser.gallery is not before, "the voice is compared as it is now"
        stale = (await daemon.ask("DropExemplar", ROOT, **DROP))[-1]
        assert stale.error == "org.voiceauthd.StorageFailed"

    assert life(tmp_path, scenario) == [
        ("DropExemplar", "denied", "Mallory", "Ralph", None),
        ("DropExemplar", "denied", "Lisa", "Ralph", None),
        ("DropExemplar", "denied", "Ralph", "Ralph", None),
        ("DropExemplar", "done", "Ralph", "Ralph", "exemplar 2"),
        ("DropExemplar", "done", "root", "Ralph", "exemplar 2"),
        ("DropExemplar", "refused", "root", "Ralph", "exemplar 2"),
    ]


@pytest.mark.usefixtures("ralphs_account")
def test_only_those_who_see_scores_see_how_well_exemplars_agree(tmp_path: Path) -> None:
    async def scenario(daemon: InProcessDaemon) -> None:
        for peer, agreements in ((ROOT, {1.0}), (RALPH, {None})):
            (reply,) = await daemon.ask("ShowProfile", peer, name="Ralph")
            exemplars = reply.parameters["profile"]["exemplar_list"]
            assert len(exemplars) == 5
            assert {exemplar.get("agreement") for exemplar in exemplars} == agreements
        (reply,) = await daemon.ask("ListProfiles", ROOT)
        assert all("exemplar_list" not in profile for profile in reply.parameters["profiles"])

    life(tmp_path, scenario)
