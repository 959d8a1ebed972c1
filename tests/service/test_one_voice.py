"""Enrolling one voice under two names is refused; and the rating of a profile in replies."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from inprocess_daemon import (
    CALIBRATED,
    LISTENER,
    MALLORY,
    RALPH,
    ROOT,
    UNCALIBRATED,
    InProcessDaemon,
    ask,
    profile,
    run_scenario,
    window,
)

from voiceauthd.config.schema import Config, EnrollConfig
from voiceauthd.profiles.document import export_document
from voiceauthd.profiles.profile import new_uid
from voiceauthd.protocol.wire import Reply
from voiceauthd.scoring.backend import Backend
from voiceauthd.server.peer import Peer

QUICK = EnrollConfig(speech=2.0, exemplars=1)
RALPHS_VOICE = window(1.0)


def enrol(
    folder: Any, peer: Peer = ROOT, backend: Backend = CALIBRATED, enroll: EnrollConfig = QUICK, **parameters: Any
):
    asked = {"name": "Newcomer", "timeout": 5.0} | parameters
    return ask(folder, backend, [RALPHS_VOICE], "Enroll", peer, Config(enroll=enroll), **asked)


def duplicate_of(replies: list[Reply]) -> str | None:
    """The name in the last reply, which must be the error VoiceEnrolled."""
    assert replies[-1].error == "org.voiceauthd.VoiceEnrolled"
    assert replies[-1].parameters["detail"]
    return replies[-1].parameters.get("name")


@pytest.mark.parametrize("backend", [CALIBRATED, UNCALIBRATED], ids=["calibrated", "uncalibrated"])
def test_a_voice_enrolled_under_another_name_is_refused_and_nothing_is_written(tmp_path, backend):
    replies, daemon = enrol(tmp_path, backend=backend)
    assert duplicate_of(replies) == "Ralph"
    assert "add to that profile" in replies[-1].parameters["detail"]
    assert [each.name for each in daemon.state.engine.store.all()] == ["Ralph", "Susan"]
    assert daemon.state.claims.current is None


def test_the_other_name_is_not_revealed_to_a_caller_who_may_not_see_it(tmp_path):
    async def scenario(daemon: InProcessDaemon) -> list[Reply]:
        proof, _ = daemon.state.proofs.issue(MALLORY.uid)
        return await daemon.ask("Enroll", MALLORY, name="Mallory", timeout=5.0, proof=proof)

    replies = run_scenario(tmp_path, CALIBRATED, [RALPHS_VOICE], scenario, Config(enroll=QUICK))
    assert duplicate_of(replies) is None
    assert "Ralph" not in replies[-1].parameters["detail"]


def test_replacing_the_own_profile_is_allowed_and_another_persons_is_refused(tmp_path):
    replies, _ = enrol(tmp_path, name="ralph", mode="replace")
    assert replies[-1].parameters["profile"]["name"] == "Ralph"
    replies, daemon = enrol(tmp_path, name="Susan", mode="replace")
    assert duplicate_of(replies) == "Ralph"
    assert len(daemon.state.engine.store.get("Susan").exemplars) == 5


def test_several_names_are_allowed_if_configured(tmp_path):
    replies, daemon = enrol(tmp_path, enroll=dataclasses.replace(QUICK, refuse_duplicates=False))
    assert replies[-1].parameters["profile"]["name"] == "Newcomer"
    assert "Newcomer" in {each.name for each in daemon.state.engine.store.all()}


def test_an_import_under_another_name_is_refused_unless_it_replaces(tmp_path):
    document = export_document(dataclasses.replace(profile("Robert", 0), uid=new_uid()))
    replies, daemon = ask(tmp_path, CALIBRATED, [], "ImportProfile", document=document)
    assert duplicate_of(replies) == "Ralph"
    assert [each.name for each in daemon.state.engine.store.all()] == ["Ralph", "Susan"]
    replies, _ = ask(tmp_path, CALIBRATED, [], "ImportProfile", document=document, replace=True)
    assert replies[-1].parameters["profile"]["name"] == "Robert"


def test_a_new_voice_is_imported(tmp_path):
    document = export_document(profile("Newcomer", 1))
    replies, _ = ask(tmp_path, CALIBRATED, [], "ImportProfile", document=document)
    assert replies[-1].parameters["profile"]["name"] == "Newcomer"


def test_show_profile_has_a_rating_and_the_list_does_not(tmp_path):
    replies, _ = ask(tmp_path, CALIBRATED, [], "ShowProfile", name="Ralph")
    rating = replies[-1].parameters["profile"]["rating"]
    assert (rating["grade"], rating["agreement"], rating["snr_db"]) == ("good", 1.0, 20.0)
    assert any("Only the condition default" in advice for advice in rating["advice"])
    replies, _ = ask(tmp_path, CALIBRATED, [], "ListProfiles")
    assert all(each.get("rating") is None for each in replies[-1].parameters["profiles"])


def test_the_last_reply_of_an_enrolment_has_the_rating(tmp_path):
    replies, _ = enrol(tmp_path, name="ralph", mode="replace")
    assert replies[-1].parameters["profile"]["rating"]["grade"] == "poor"


def test_agreement_is_a_score_and_not_shown_to_the_owner(tmp_path):
    """The owner could change the voice until the number rises."""
    replies, _ = ask(tmp_path, CALIBRATED, [], "ShowProfile", RALPH, name="Ralph")
    rating = replies[-1].parameters["profile"]["rating"]
    assert rating["grade"] == "good"
    assert rating.get("agreement") is None
    replies, _ = ask(tmp_path, CALIBRATED, [], "ShowProfile", LISTENER, name="Ralph")
    assert replies[-1].error == "org.varlink.service.PermissionDenied"
