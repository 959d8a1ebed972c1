"""Whose voice it is: names, accounts and uids that are easily taken for one another; and what the owner must show."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
from policy_parts import MALLORY, RALPH, RATIOS, ROOT, Desk, profile, window

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

SAYS = window(1.0)
"""What whoever is enrolled as Ralph says."""

QUICK = Config(enroll=EnrollConfig(speech=2.0, exemplars=1, refuse_duplicates=False))

OTHER_RALPH = Peer(4711, 4711, 9, "ralph")
"""A user whose account differs from another's by case alone."""


class Machine:
    """A daemon that hears Ralph's voice, asked one call after the other."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self.folder, self.desk = folder, desk

    @property
    def store(self) -> Any:
        return self.desk.state.engine.store

    async def ask(self, method: str, peer: Peer = ROOT, **parameters: object) -> Reply:
        """The last reply."""
        return (await self.desk.ask(method, peer, **parameters))[-1]

    async def error(self, method: str, peer: Peer = ROOT, **parameters: object) -> str | None:
        return (await self.ask(method, peer, **parameters)).error

    async def verdict(self, peer: Peer = ROOT, **parameters: object) -> str:
        """The outcome of a verification, or its error."""
        reply = await self.ask("Verify", peer, timeout=0.5, **parameters)
        return reply.error or reply.parameters["outcome"]

    async def prove(self, peer: Peer) -> str:
        """A proof for this user, by root's word."""
        reply = await self.ask("Vouch", uid=peer.uid)
        assert reply.error is None
        return str(reply.parameters["proof"])

    def note(self, name: str, owner_uid: int | None, renamed: str | None = None) -> None:
        """Enrols Ralph's voice under a name, with another owner noted in it."""
        self.store.put(dataclasses.replace(profile(name, 0), owner_uid=owner_uid))
        if renamed is not None:
            self.store.rename(name, renamed)
        self.desk.state.engine.refresh()


def on(folder: Path, steps: Any) -> Any:
    """Runs `steps(machine)`."""

    async def run() -> Any:
        async with asyncio.timeout(20.0):
            return await steps(Machine(folder, Desk(folder, RATIOS, [SAYS, SAYS], QUICK)))

    return asyncio.run(run())


# Whose it is


def test_the_owner_is_verified_and_so_is_the_owner_by_root(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.verdict(RALPH, name="Ralph") == "accept"
        assert await machine.verdict(ROOT, name="Ralph") == "accept"
        assert await machine.verdict(MALLORY, name="Ralph") == DENIED

    on(tmp_path, steps)


@pytest.mark.parametrize("noted", [None, RALPH.uid], ids=["nobody noted", "noted"])
def test_an_account_that_differs_by_case_is_another_user(tmp_path, accounts, noted):
    """Profiles are found without case. Its voice must not open the other account, nor be changed from there."""
    accounts["ralph"] = OTHER_RALPH.uid

    async def steps(machine: Machine) -> None:
        machine.note("Ralph", noted)
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

    on(tmp_path, steps)


@pytest.mark.parametrize("mode", ["new", "add", "replace"])
def test_no_administrator_puts_a_voice_into_the_profile_of_another_account(tmp_path, accounts, mode):
    """What is enrolled or imported as `ralph` must not open the account `Ralph`."""
    accounts["ralph"] = OTHER_RALPH.uid

    async def steps(machine: Machine) -> None:
        before = machine.store.get("Ralph")
        reply = await machine.ask("Enroll", name="ralph", mode=mode, timeout=1.0)
        assert (reply.error, reply.parameters) == ("org.voiceauthd.AlreadyEnrolled", {"name": "ralph"})
        document = export_document(dataclasses.replace(profile("ralph", 3), uid=new_uid()))
        assert await machine.error("ImportProfile", document=document, replace=True) == "org.voiceauthd.AlreadyEnrolled"
        assert machine.store.get("Ralph").generation == before.generation
        assert machine.desk.workers.opened == 0

    on(tmp_path, steps)


def test_what_a_reload_has_replaced_decides_nothing_more(tmp_path, monkeypatch):
    """The reload comes while it is looked up whose voice it is, when there is no claim yet that it could cancel."""
    looked_up, reloaded = asyncio.Event(), asyncio.Event()

    async def slow(name: str) -> int | None:
        looked_up.set()
        await reloaded.wait()
        return find(name)

    async def steps(machine: Machine) -> None:
        state = machine.desk.state
        call = asyncio.create_task(machine.ask("Verify", RALPH, name="Ralph", timeout=0.5))
        await looked_up.wait()
        state.use(state.config, state.access, dataclasses.replace(state.engine))
        reloaded.set()
        assert (await call).error == "org.voiceauthd.Cancelled"
        assert machine.desk.workers.opened == 0
        assert await machine.verdict(RALPH, name="Ralph") == "accept"

    find = {RALPH.user: RALPH.uid}.get
    monkeypatch.setattr("voiceauthd.service.context.account", slow)
    on(tmp_path, steps)


def test_a_name_without_an_account_is_the_same_in_any_case(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.verdict(ROOT, name="RALPH") == "accept"
        assert await machine.verdict(RALPH, name="RALPH") == "accept"

    on(tmp_path, steps)


def test_a_name_in_another_unicode_form_is_another_account(tmp_path, accounts):
    composed, decomposed = "Andr\u00e9", "Andre\u0301"
    accounts |= {composed: 5001, decomposed: 5002}

    async def steps(machine: Machine) -> None:
        machine.note(composed, None)
        machine.store.delete("Ralph")
        machine.desk.state.engine.refresh()
        assert await machine.verdict(ROOT, name=composed) == "accept"
        assert await machine.verdict(ROOT, name=decomposed) == NOBODY
        assert await machine.verdict(Peer(5002, 5002, 1, decomposed), name=decomposed) == DENIED

    on(tmp_path, steps)


def test_a_torn_profile_is_not_replaced_by_the_account_that_differs_by_case(tmp_path, accounts):
    accounts["ralph"] = OTHER_RALPH.uid

    async def steps(machine: Machine) -> None:
        (tmp_path / "profiles" / file_name("Ralph")).write_bytes(b"torn")
        machine.desk.state.engine.store.refresh()
        proof = await machine.prove(OTHER_RALPH)
        assert await machine.error("Enroll", OTHER_RALPH, name="ralph", mode="replace", proof=proof) == DENIED
        assert await machine.error("DeleteProfile", OTHER_RALPH, name="ralph", proof=proof) == DENIED
        assert await machine.error("DeleteProfile", RALPH, name="Ralph") == NEEDED
        proof = await machine.prove(RALPH)
        assert await machine.error("DeleteProfile", RALPH, name="ralph", proof=proof) is None

    on(tmp_path, steps)


def test_a_profile_that_bears_another_users_name_is_nobodys_and_opens_nothing(tmp_path):
    """As after a rename: Mallory is noted, and the name opens Ralph's account."""

    async def steps(machine: Machine) -> None:
        machine.store.delete("Ralph")
        machine.note("Tom", MALLORY.uid, renamed="Ralph")
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

    on(tmp_path, steps)


def test_an_account_that_was_made_anew_is_not_opened_by_the_voice_of_before(tmp_path, accounts):
    async def steps(machine: Machine) -> None:
        machine.note("Ralph", RALPH.uid)
        accounts["Ralph"] = 6001
        assert await machine.verdict(ROOT, name="Ralph") == UNUSABLE
        assert await machine.verdict(Peer(6001, 6001, 1, "Ralph"), name="Ralph") == DENIED

    on(tmp_path, steps)


def test_whoever_has_inherited_a_uid_keeps_being_noted(tmp_path, accounts):
    """So that what they enrol never opens the account whose name the profile bears, should it come back."""
    heir = Peer(RALPH.uid, RALPH.gid, 1, "heir")
    del accounts["Ralph"]
    accounts["heir"] = RALPH.uid

    async def steps(machine: Machine) -> None:
        machine.note("Ralph", RALPH.uid)
        proof = await machine.prove(heir)
        assert await machine.error("Enroll", heir, name="Ralph", mode="replace", timeout=1.0, proof=proof) is None
        assert machine.store.get("Ralph").owner_uid == RALPH.uid
        accounts["Ralph"] = 6001
        assert await machine.verdict(ROOT, name="Ralph") == UNUSABLE

    on(tmp_path, steps)


def test_a_profile_under_another_name_stays_its_owners(tmp_path):
    async def steps(machine: Machine) -> None:
        machine.store.delete("Ralph")
        machine.note("Ralph", RALPH.uid, renamed="the boss")
        assert await machine.verdict(RALPH, name="the boss") == "accept"
        assert await machine.verdict(MALLORY, name="the boss") == DENIED
        assert await machine.error("DeleteProfile", RALPH, name="the boss") == NEEDED

    on(tmp_path, steps)


def test_an_account_is_found_letter_by_letter(monkeypatch):
    """Some user databases find accounts without case, too."""
    entry = pytest.importorskip("pwd").getpwuid(0)
    monkeypatch.setattr("pwd.getpwnam", lambda _: entry)
    assert find_account(entry.pw_name) == 0
    assert find_account(entry.pw_name.upper()) is None


# What the owner must show

CHANGES = [
    ("Enroll", {"name": "Ralph", "mode": "replace"}),
    ("Enroll", {"name": "Ralph", "mode": "add"}),
    ("Enroll", {"name": "Ralph", "source": "recordings", "mode": "replace"}),
    ("DeleteProfile", {"name": "Ralph"}),
    ("ExportProfile", {"name": "Ralph"}),
]


@pytest.mark.parametrize(("method", "parameters"), CHANGES)
def test_without_a_proof_nothing_is_heard_changed_or_told(tmp_path, method, parameters):
    async def steps(machine: Machine) -> None:
        before = machine.store.get("Ralph")
        for proof in ({}, {"proof": None}, {"proof": ""}, {"proof": "guess"}, {"proof": await machine.prove(MALLORY)}):
            reply = await machine.ask(method, RALPH, **parameters, **proof)
            assert (reply.error, dict(reply.parameters)) == (NEEDED, {"name": "Ralph"})
        assert machine.desk.workers.opened == 0
        assert machine.desk.state.claims.current is None
        assert machine.store.get("Ralph") is before

    on(tmp_path, steps)


@pytest.mark.parametrize(("method", "parameters"), CHANGES)
def test_with_a_proof_it_is_done_once(tmp_path, method, parameters):
    async def steps(machine: Machine) -> None:
        proof = await machine.prove(RALPH)
        first = await machine.error(method, RALPH, **parameters, proof=proof, **limit(method))
        assert first in (None, "org.voiceauthd.EnrolmentIncomplete")
        assert await machine.error(method, RALPH, **parameters, proof=proof) == NEEDED

    on(tmp_path, steps)


def limit(method: str) -> dict[str, float]:
    return {"timeout": 0.3} if method == "Enroll" else {}


def test_the_first_enrolment_under_the_own_name_needs_one_too(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.error("Enroll", MALLORY, name="Mallory", timeout=1.0) == NEEDED
        assert machine.desk.workers.opened == 0
        proof = await machine.prove(MALLORY)
        reply = await machine.ask("Enroll", MALLORY, name="Mallory", timeout=1.0, proof=proof)
        assert reply.parameters["profile"]["owner_uid"] == MALLORY.uid

    on(tmp_path, steps)


def test_a_proof_does_not_open_what_is_not_ones_own_and_is_not_spent_there(tmp_path):
    async def steps(machine: Machine) -> None:
        proof = await machine.prove(MALLORY)
        for method in ("Enroll", "DeleteProfile", "ExportProfile"):
            for name in ("Ralph", "Susan", "Nobody"):
                assert await machine.error(method, MALLORY, name=name, proof=proof) == DENIED
        assert await machine.error("DeleteProfile", MALLORY, name="Mallory", proof=proof) == NOBODY

    on(tmp_path, steps)


def test_a_uid_without_an_account_has_no_voice(tmp_path):
    stray = Peer(7001, 7001, 1, None)

    async def steps(machine: Machine) -> None:
        proof = await machine.prove(stray)
        assert await machine.error("Enroll", stray, name="stray", proof=proof) == DENIED

    on(tmp_path, steps)


def test_root_and_the_daemons_own_user_need_none(tmp_path):
    async def steps(machine: Machine) -> None:
        assert await machine.error("ExportProfile", ROOT, name="Ralph") is None
        assert await machine.error("ExportProfile", RALPH, name="Ralph") == NEEDED
        machine.desk.state.access = Access(RALPH.uid)
        assert await machine.error("ExportProfile", RALPH, name="Ralph") is None
        assert await machine.error("Vouch", RALPH, uid=RALPH.uid) == DENIED

    on(tmp_path, steps)


@pytest.mark.parametrize("uid", [-1, 65_534, 2**32 - 1, 2**40])
def test_nobody_is_vouched_for_who_is_no_user(tmp_path, uid):
    async def steps(machine: Machine) -> None:
        reply = await machine.ask("Vouch", uid=uid)
        assert (reply.error, reply.parameters["parameter"]) == ("org.varlink.service.InvalidParameter", "uid")

    on(tmp_path, steps)


def test_a_proof_is_in_no_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    async def steps(machine: Machine) -> list[str]:
        spent, wrong = await machine.prove(RALPH), await machine.prove(MALLORY)
        await machine.ask("ExportProfile", RALPH, name="Ralph", proof=wrong)
        await machine.ask("ExportProfile", RALPH, name="Ralph", proof=spent)
        await machine.ask("ExportProfile", RALPH, name="Ralph", proof=7, surplus=spent)
        return [spent, wrong]

    proofs = on(tmp_path, steps)
    assert "exported 'Ralph'" in caplog.text
    assert not any(proof in caplog.text for proof in proofs)
