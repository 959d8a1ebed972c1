"""One voice, one name, as its caller sees it; and how good a profile is."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from policy_parts import LISTENER, MALLORY, RALPH, RATIOS, ROOT, UNCALIBRATED, Desk, ask, profile, window

from voiceauthd.config.schema import Config, EnrollConfig
from voiceauthd.profiles.document import export_document
from voiceauthd.profiles.profile import new_uid
from voiceauthd.protocol.wire import Reply
from voiceauthd.scoring.backend import Backend
from voiceauthd.server.peer import Peer

QUICK = EnrollConfig(speech=2.0, exemplars=1)
ALIKE = window(1.0)
"""What Ralph says."""


def enrol(folder: Any, peer: Peer = ROOT, backend: Backend = RATIOS, enroll: EnrollConfig = QUICK, **parameters: Any):
    asked = {"name": "Newcomer", "timeout": 5.0} | parameters
    return ask(folder, backend, [ALIKE], "Enroll", peer, Config(enroll=enroll), **asked)


def refusal(replies: list[Reply]) -> tuple[str, str | None]:
    """The last reply's error, and the name in it."""
    assert replies[-1].error is not None
    assert replies[-1].error == "org.voiceauthd.VoiceEnrolled"
    assert replies[-1].parameters["detail"]
    return replies[-1].error, replies[-1].parameters.get("name")


@pytest.mark.parametrize("backend", [RATIOS, UNCALIBRATED], ids=["calibrated", "uncalibrated"])
def test_a_voice_that_has_another_name_is_refused_and_nothing_is_written(tmp_path, backend):
    replies, desk = enrol(tmp_path, backend=backend)
    assert refusal(replies)[1] == "Ralph"
    assert "add to that profile" in replies[-1].parameters["detail"]
    assert [each.name for each in desk.state.engine.store.all()] == ["Ralph", "Susan"]
    assert desk.state.claims.current is None


def test_the_other_name_is_not_told_to_who_may_not_know_of_it(tmp_path):
    async def run() -> list[Reply]:
        desk = Desk(tmp_path, RATIOS, [ALIKE], Config(enroll=QUICK))
        proof, _ = desk.state.proofs.give(MALLORY.uid)
        return await desk.ask("Enroll", MALLORY, name="Mallory", timeout=5.0, proof=proof)

    replies = asyncio.run(run())
    assert refusal(replies)[1] is None
    assert "Ralph" not in replies[-1].parameters["detail"]


def test_who_replaces_himself_is_no_duplicate_and_another_one_is(tmp_path):
    replies, _ = enrol(tmp_path, name="ralph", mode="replace")
    assert replies[-1].parameters["profile"]["name"] == "Ralph"
    replies, desk = enrol(tmp_path, name="Susan", mode="replace")
    assert refusal(replies)[1] == "Ralph"
    assert len(desk.state.engine.store.get("Susan").exemplars) == 5


def test_several_names_are_allowed_where_it_is_configured(tmp_path):
    replies, desk = enrol(tmp_path, enroll=dataclasses.replace(QUICK, refuse_duplicates=False))
    assert replies[-1].parameters["profile"]["name"] == "Newcomer"
    assert "Newcomer" in {each.name for each in desk.state.engine.store.all()}


def test_an_import_under_another_name_is_refused_unless_it_replaces(tmp_path):
    document = export_document(dataclasses.replace(profile("Robert", 0), uid=new_uid()))
    replies, desk = ask(tmp_path, RATIOS, [], "ImportProfile", document=document)
    assert refusal(replies)[1] == "Ralph"
    assert [each.name for each in desk.state.engine.store.all()] == ["Ralph", "Susan"]
    replies, _ = ask(tmp_path, RATIOS, [], "ImportProfile", document=document, replace=True)
    assert replies[-1].parameters["profile"]["name"] == "Robert"


def test_somebody_new_is_imported(tmp_path):
    document = export_document(profile("Newcomer", 1))
    replies, _ = ask(tmp_path, RATIOS, [], "ImportProfile", document=document)
    assert replies[-1].parameters["profile"]["name"] == "Newcomer"


def test_a_profile_shows_how_good_it_is_and_a_list_does_not(tmp_path):
    replies, _ = ask(tmp_path, RATIOS, [], "ShowProfile", name="Ralph")
    rating = replies[-1].parameters["profile"]["rating"]
    assert (rating["grade"], rating["agreement"], rating["snr_db"]) == ("good", 1.0, 20.0)
    assert any("Only the condition default" in advice for advice in rating["advice"])
    replies, _ = ask(tmp_path, RATIOS, [], "ListProfiles")
    assert all(each.get("rating") is None for each in replies[-1].parameters["profiles"])


def test_an_enrolment_ends_with_the_rating(tmp_path):
    replies, _ = enrol(tmp_path, name="ralph", mode="replace")
    assert replies[-1].parameters["profile"]["rating"]["grade"] == "poor"


def test_agreement_is_a_score_and_not_for_everybody(tmp_path):
    """Its owner could change his voice until the number rises."""
    replies, _ = ask(tmp_path, RATIOS, [], "ShowProfile", RALPH, name="Ralph")
    rating = replies[-1].parameters["profile"]["rating"]
    assert rating["grade"] == "good"
    assert rating.get("agreement") is None
    replies, _ = ask(tmp_path, RATIOS, [], "ShowProfile", LISTENER, name="Ralph")
    assert replies[-1].error == "org.varlink.service.PermissionDenied"
