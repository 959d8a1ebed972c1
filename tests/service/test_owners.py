"""The owner of a voice: similar names, accounts and uids that must not be confused; and proofs of the password."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from inprocess_daemon import CALIBRATED, MALLORY, RALPH, ROOT, InProcessDaemon, profile, run_scenario, window

from voiceauthd.config.schema import Config, EnrollConfig
from voiceauthd.profiles.document import export_document
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.profile import new_uid
from voiceauthd.protocol.wire import Reply
from voiceauthd.server.peer import Peer
from voiceauthd.service.access import Access
from voiceauthd.service.context import find_account

DENIED = "org.varlink.service.PermissionDenied"
NEEDED = "org.voiceauthd.ProofNeeded"
NOBODY = "org.voiceauthd.NotEnrolled"
UNUSABLE = "org.voiceauthd.ProfileUnusable"

RALPHS_VOICE = window(1.0)

QUICK = Config(enroll=EnrollConfig(speech=2.0, exemplars=1, refuse_duplicates=False))

OTHER_RALPH = Peer(4711, 4711, 9, "ralph")
"""A user whose account name differs from Ralph's only by case."""


class Machine:
    """A daemon that hears Ralph's voice, for one call at a time."""

    def __init__(self, folder: Path, daemon: InProcessDaemon) -> None:
        self.folder, self.daemon = folder, daemon

    @property
    def store(self) -> Any:
        return self.daemon.state.engine.store

    async def ask(self, method: str, peer: Peer = ROOT, **parameters: object) -> Reply:
        """The last reply."""
        return (await self.daemon.ask(method, peer, **parameters))[-1]

    async def error(self, method: str, peer: Peer = ROOT, **parameters: object) -> str | None:
        return (await self.ask(method, peer, **parameters)).error

    async def verdict(self, peer: Peer = ROOT, **parameters: object) -> str:
        """The outcome of a verification, or its error."""
        reply = await self.ask("Verify", peer, timeout=0.5, **parameters)
        return reply.error or reply.parameters["outcome"]

    async def prove(self, peer: Peer) -> str:
        """A proof for this user, for whom root vouches."""
        reply = await self.ask("Vouch", uid=peer.uid)
        assert reply.error is None
        return str(reply.parameters["proof"])

    def enrol(self, name: str, owner_uid: int | None, renamed: str | None = None) -> None:
        """Enrol Ralph's voice under `name`, with `owner_uid` recorded as its owner."""
        self.store.put(dataclasses.replace(profile(name, 0), owner_uid=owner_uid))
        if renamed is not None:
            self.store.rename(name, renamed)
        self.daemon.state.engine.refresh()


def run_steps(folder: Path, steps: Callable[[Machine], Awaitable[Any]]) -> Any:
    """Run `steps(machine)`."""
    return run_scenario(folder, CALIBRATED, [RALPHS_VOICE] * 2, lambda daemon: steps(Machine(folder, daemon)), QUICK)


# The owner of a voice


def test_the_owner_and_root_may_verify_the_owner_and_others_may_not(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.verdict(RALPH, name="Ralph") == "accept"
        assert await machine.verdict(ROOT, name="Ralph") == "accept"
        assert await machine.verdict(MALLORY, name="Ralph") == DENIED

    run_steps(tmp_path, steps)


@pytest.mark.parametrize("recorded", [None, RALPH.uid], ids=["no owner recorded", "owner recorded"])
def test_an_account_that_differs_by_case_is_another_user(tmp_path, accounts, recorded):
    """Profile names ignore case. The voice must not unlock the other account, nor be changed from it."""
    accounts["ralph"] = OTHER_RALPH.uid

    async def steps(machine: Machine) -> None:
        machine.enrol("Ralph", recorded)
        assert await machine.verdict(ROOT, name="ralph") == NOBODY
        assert await machine.verdict(ROOT, name="Ralph") == "accept"
        proof = await machine.prove(OTHER_RALPH)
        for method in ("Verify", "ShowProfile", "DeleteProfile", "ExportProfile", "Enroll"):
            for name in ("Ralph", "ralph"):
                spending = {"proof": proof} if method not in {"Verify", "ShowProfile"} else {}
                assert await machine.error(method, OTHER_RALPH, name=name, **spending) == DENIED, (method, name)
        for mode in ("add", "replace"):
            assert await machine.error("Enroll", OTHER_RALPH, name="ralph", mode=mode, proof=proof) == DENIED
        assert (await machine.ask("ListProfiles", OTHER_RALPH)).parameters["profiles"] == []

    run_steps(tmp_path, steps)


@pytest.mark.parametrize("mode", ["new", "add", "replace"])
def test_not_even_an_administrator_puts_a_voice_into_the_profile_of_another_account(tmp_path, accounts, mode):
    """A voice enrolled or imported as `ralph` must not unlock the account `Ralph`."""
    accounts["ralph"] = OTHER_RALPH.uid

    async def steps(machine: Machine) -> None:
        before = machine.store.get("Ralph")
        reply = await machine.ask("Enroll", name="ralph", mode=mode, timeout=1.0)
        assert (reply.error, reply.parameters) == ("org.voiceauthd.AlreadyEnrolled", {"name": "ralph"})
        document = export_document(dataclasses.replace(profile("ralph", 3), uid=new_uid()))
        assert await machine.error("ImportProfile", document=document, replace=True) == "org.voiceauthd.AlreadyEnrolled"
        assert machine.store.get("Ralph").generation == before.generation
        assert machine.daemon.live.opened == 0

    run_steps(tmp_path, steps)


def test_a_call_that_began_before_a_reload_decides_nothing_with_the_old_engine(tmp_path, monkeypatch):
    """The reload happens while the owner is looked up, when there is no claim yet that it could cancel."""
    looked_up, reloaded = asyncio.Event(), asyncio.Event()

    async def slow(name: str) -> int | None:
        looked_up.set()
        await reloaded.wait()
        return find(name)

    async def steps(machine: Machine) -> None:
        state = machine.daemon.state
        call = asyncio.create_task(machine.ask("Verify", RALPH, name="Ralph", timeout=0.5))
        await looked_up.wait()
        state.use(state.config, state.access, dataclasses.replace(state.engine))
        reloaded.set()
        assert (await call).error == "org.voiceauthd.Cancelled"
        assert machine.daemon.live.opened == 0
        assert await machine.verdict(RALPH, name="Ralph") == "accept"

    find = {RALPH.user: RALPH.uid}.get
    monkeypatch.setattr("voiceauthd.service.context.account", slow)
    run_steps(tmp_path, steps)


def test_without_another_account_a_name_may_be_written_in_any_case(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.verdict(ROOT, name="RALPH") == "accept"
        assert await machine.verdict(RALPH, name="RALPH") == "accept"

    run_steps(tmp_path, steps)


def test_a_name_in_another_unicode_form_is_another_account(tmp_path, accounts):
    composed, decomposed = "Andr\u00e9", "Andre\u0301"
    accounts |= {composed: 5001, decomposed: 5002}

    async def steps(machine: Machine) -> None:
        machine.enrol(composed, None)
        machine.store.delete("Ralph")
        machine.daemon.state.engine.refresh()
        assert await machine.verdict(ROOT, name=composed) == "accept"
        assert await machine.verdict(ROOT, name=decomposed) == NOBODY
        assert await machine.verdict(Peer(5002, 5002, 1, decomposed), name=decomposed) == DENIED

    run_steps(tmp_path, steps)


def test_a_torn_profile_cannot_be_replaced_from_an_account_that_differs_by_case(tmp_path, accounts):
    accounts["ralph"] = OTHER_RALPH.uid

    async def steps(machine: Machine) -> None:
        (tmp_path / "profiles" / file_name("Ralph")).write_bytes(b"torn")
        machine.daemon.state.engine.store.refresh()
        proof = await machine.prove(OTHER_RALPH)
        assert await machine.error("Enroll", OTHER_RALPH, name="ralph", mode="replace", proof=proof) == DENIED
        assert await machine.error("DeleteProfile", OTHER_RALPH, name="ralph", proof=proof) == DENIED
        assert await machine.error("DeleteProfile", RALPH, name="Ralph") == NEEDED
        proof = await machine.prove(RALPH)
        assert await machine.error("DeleteProfile", RALPH, name="ralph", proof=proof) is None

    run_steps(tmp_path, steps)


def test_a_profile_with_the_name_of_another_user_than_its_owner_unlocks_nothing(tmp_path):
    """As after a rename: Mallory is recorded as the owner, and the name is that of Ralph's account."""

    async def steps(machine: Machine) -> None:
        machine.store.delete("Ralph")
        machine.enrol("Tom", MALLORY.uid, renamed="Ralph")
        assert await machine.verdict(ROOT, name="Ralph") == UNUSABLE
        for peer in (RALPH, MALLORY):
            proof = await machine.prove(peer)
            assert await machine.verdict(peer, name="Ralph") == DENIED
            assert await machine.error("Enroll", peer, name="Ralph", mode="replace", proof=proof) == DENIED
            assert await machine.error("DeleteProfile", peer, name="Ralph", proof=proof) == DENIED
        assert await machine.error("ShowProfile", ROOT, name="Ralph") is None
        assert await machine.error("Enroll", ROOT, name="Ralph", mode="replace", timeout=1.0) is None
        assert machine.store.get("Ralph").owner_uid == RALPH.uid
        assert await machine.verdict(RALPH, name="Ralph") == "accept"

    run_steps(tmp_path, steps)


def test_an_account_that_was_deleted_and_created_again_is_not_unlocked_by_the_old_voice(tmp_path, accounts):
    async def steps(machine: Machine) -> None:
        machine.enrol("Ralph", RALPH.uid)
        accounts["Ralph"] = 6001
        assert await machine.verdict(ROOT, name="Ralph") == UNUSABLE
        assert await machine.verdict(Peer(6001, 6001, 1, "Ralph"), name="Ralph") == DENIED

    run_steps(tmp_path, steps)


def test_a_user_who_has_reused_a_uid_stays_recorded_as_the_owner(tmp_path, accounts):
    """So that their voice never unlocks the account with the profile's name, should it be created again."""
    heir = Peer(RALPH.uid, RALPH.gid, 1, "heir")
    del accounts["Ralph"]
    accounts["heir"] = RALPH.uid

    async def steps(machine: Machine) -> None:
        machine.enrol("Ralph", RALPH.uid)
        proof = await machine.prove(heir)
        assert await machine.error("Enroll", heir, name="Ralph", mode="replace", timeout=1.0, proof=proof) is None
        assert machine.store.get("Ralph").owner_uid == RALPH.uid
        accounts["Ralph"] = 6001
        assert await machine.verdict(ROOT, name="Ralph") == UNUSABLE

    run_steps(tmp_path, steps)


def test_a_renamed_profile_still_belongs_to_its_owner(tmp_path):
    async def steps(machine: Machine) -> None:
        machine.store.delete("Ralph")
        machine.enrol("Ralph", RALPH.uid, renamed="the boss")
        assert await machine.verdict(RALPH, name="the boss") == "accept"
        assert await machine.verdict(MALLORY, name="the boss") == DENIED
        assert await machine.error("DeleteProfile", RALPH, name="the boss") == NEEDED

    run_steps(tmp_path, steps)


def test_an_account_is_found_only_by_its_exact_name(monkeypatch):
    """Some user databases ignore case."""
    entry = pytest.importorskip("pwd").getpwuid(0)
    monkeypatch.setattr("pwd.getpwnam", lambda _: entry)
    assert find_account(entry.pw_name) == 0
    assert find_account(entry.pw_name.upper()) is None


# Proofs of the password

CHANGES = [
    ("Enroll", {"name": "Ralph", "mode": "replace"}),
    ("Enroll", {"name": "Ralph", "mode": "add"}),
    ("Enroll", {"name": "Ralph", "source": "recordings", "mode": "replace"}),
    ("DeleteProfile", {"name": "Ralph"}),
    ("ExportProfile", {"name": "Ralph"}),
]


@pytest.mark.parametrize(("method", "parameters"), CHANGES)
def test_without_a_proof_nothing_is_recorded_changed_or_revealed(tmp_path, method, parameters):
    async def steps(machine: Machine) -> None:
        before = machine.store.get("Ralph")
        for proof in ({}, {"proof": None}, {"proof": ""}, {"proof": "guess"}, {"proof": await machine.prove(MALLORY)}):
            reply = await machine.ask(method, RALPH, **parameters, **proof)
            assert (reply.error, dict(reply.parameters)) == (NEEDED, {"name": "Ralph"})
        assert machine.daemon.live.opened == 0
        assert machine.daemon.state.claims.current is None
        assert machine.store.get("Ralph") is before

    run_steps(tmp_path, steps)


@pytest.mark.parametrize(("method", "parameters"), CHANGES)
def test_a_proof_allows_one_change(tmp_path, method, parameters):
    async def steps(machine: Machine) -> None:
        proof = await machine.prove(RALPH)
        timeout = {"timeout": 0.3} if method == "Enroll" else {}
        first = await machine.error(method, RALPH, **parameters, proof=proof, **timeout)
        assert first in (None, "org.voiceauthd.EnrolmentIncomplete")
        assert await machine.error(method, RALPH, **parameters, proof=proof) == NEEDED

    run_steps(tmp_path, steps)


def test_the_first_enrolment_under_the_own_name_needs_a_proof_too(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.error("Enroll", MALLORY, name="Mallory", timeout=1.0) == NEEDED
        assert machine.daemon.live.opened == 0
        proof = await machine.prove(MALLORY)
        reply = await machine.ask("Enroll", MALLORY, name="Mallory", timeout=1.0, proof=proof)
        assert reply.parameters["profile"]["owner_uid"] == MALLORY.uid

    run_steps(tmp_path, steps)


def test_a_proof_does_not_help_with_another_users_voice_and_is_not_spent_by_trying(tmp_path):
    async def steps(machine: Machine) -> None:
        proof = await machine.prove(MALLORY)
        for method in ("Enroll", "DeleteProfile", "ExportProfile"):
            for name in ("Ralph", "Susan", "Nobody"):
                assert await machine.error(method, MALLORY, name=name, proof=proof) == DENIED
        assert await machine.error("DeleteProfile", MALLORY, name="Mallory", proof=proof) == NOBODY

    run_steps(tmp_path, steps)


def test_a_uid_without_an_account_cannot_enrol(tmp_path):
    stray = Peer(7001, 7001, 1, None)

    async def steps(machine: Machine) -> None:
        proof = await machine.prove(stray)
        assert await machine.error("Enroll", stray, name="stray", proof=proof) == DENIED

    run_steps(tmp_path, steps)


def test_root_and_the_daemons_own_user_need_no_proof(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.error("ExportProfile", ROOT, name="Ralph") is None
        assert await machine.error("ExportProfile", RALPH, name="Ralph") == NEEDED
        machine.daemon.state.access = Access(RALPH.uid)
        assert await machine.error("ExportProfile", RALPH, name="Ralph") is None
        assert await machine.error("Vouch", RALPH, uid=RALPH.uid) == DENIED

    run_steps(tmp_path, steps)


def test_root_cannot_vouch_for_a_uid_that_is_not_a_user(tmp_path):
    async def steps(machine: Machine) -> None:
        for uid in (-1, 65_534, 2**32 - 1, 2**40):
            reply = await machine.ask("Vouch", uid=uid)
            assert (reply.error, reply.parameters["parameter"]) == ("org.varlink.service.InvalidParameter", "uid")

    run_steps(tmp_path, steps)


def test_a_proof_is_never_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    async def steps(machine: Machine) -> list[str]:
        spent, wrong = await machine.prove(RALPH), await machine.prove(MALLORY)
        await machine.ask("ExportProfile", RALPH, name="Ralph", proof=wrong)
        await machine.ask("ExportProfile", RALPH, name="Ralph", proof=spent)
        await machine.ask("ExportProfile", RALPH, name="Ralph", proof=7, surplus=spent)
        return [spent, wrong]

    proofs = run_steps(tmp_path, steps)
    assert "exported 'Ralph'" in caplog.text
    assert not any(proof in caplog.text for proof in proofs)
