"""Access rights of other users of this machine, as the kernel knows them."""

from __future__ import annotations

import grp
import pwd
import re
from pathlib import Path

import pytest
from daemon_audio import voice
from daemon_process import DaemonProcess
from other_users import DENIED, OWNER, STRANGER, answers, call_as, require_other_users, start_calls_as
from waiting import wait_until

from voiceauthd.service.access import TABLE, Role

NEEDED = "org.voiceauthd.ProofNeeded"


@pytest.fixture(autouse=True)
def _other_users() -> None:
    require_other_users()


@pytest.fixture
def enrolled(daemon: DaemonProcess) -> DaemonProcess:
    """Ralph's voice is enrolled as that of the user `games`, and not as Ralph's, so that it is not ambiguous."""
    daemon.ask("RenameProfile", name="Ralph", new_name="Kept")
    document = daemon.ask("ExportProfile", name="Kept")["document"]
    daemon.ask("DeleteProfile", name="Kept")
    daemon.ask("ImportProfile", document=document, name="games")
    yield daemon
    document = daemon.ask("ExportProfile", name="games")["document"]
    daemon.ask("DeleteProfile", name="games")
    daemon.ask("ImportProfile", document=document, name="Ralph")


def verify_as(daemon: DaemonProcess, user: str, name: str, recording: str) -> dict:
    """The decision that another user gets while this recording is played."""
    daemon.feed.stop_playing()  # a rest of the recording of an earlier verification
    call = ("Verify", {"name": name})
    process = start_calls_as(daemon, user, call)
    wait_until("it listens", lambda: daemon.ask("Status")["claim"] == "Verify")
    daemon.feed.play_quiet(0.5)
    daemon.feed.play(voice(recording))
    return answers(process, call)[0]["parameters"]


def test_other_users_may_only_call_info_status_and_list_profiles(enrolled: DaemonProcess) -> None:
    calls = [
        ("Info", {}),
        ("Status", {}),
        ("ListProfiles", {}),
        ("ShowProfile", {"name": "games"}),
        ("ShowProfile", {"name": "Nobody"}),
        ("Verify", {"name": "games"}),
        ("Verify", {"name": "Nobody"}),
        ("Identify", {}),
        ("Monitor", {}),
        ("VerifyRecording", {"name": "games"}),
        ("VerifyRecording", {"name": "Nobody"}),
        ("IdentifyRecording", {}),
        ("Enroll", {"name": "games", "mode": "replace", "source": "recordings"}),
        ("Enroll", {"name": "Nobody", "source": "recordings"}),
        ("DeleteProfile", {"name": "games"}),
        ("DropExemplar", {"name": "games", "exemplar": 1, "generation": 1}),
        ("RenameProfile", {"name": "games", "new_name": "www-data"}),
        ("ExportProfile", {"name": "games"}),
        ("ImportProfile", {"document": ""}),
        ("Unlock", {"name": "games"}),
        ("Rekey", {}),
        ("Reload", {}),
        ("Vouch", {"uid": pwd.getpwnam("www-data").pw_uid}),
    ]
    info, status, listed, *others = call_as(enrolled, STRANGER, *calls)
    assert info["parameters"]["protocol"] == 1
    assert status["parameters"]["ready"] is True
    hidden = ("claim", "profiles", "config", "runs_as")
    assert [status["parameters"].get(key) for key in hidden] == [None] * len(hidden)
    assert listed["parameters"] == {"profiles": []}
    assert [answer.get("error") for answer in others] == [DENIED] * len(others)
    assert enrolled.names() == ["games", "Susan"] or enrolled.names() == ["Susan", "games"]


def test_users_may_verify_and_see_their_own_voice_without_scores(enrolled: DaemonProcess) -> None:
    decision = verify_as(enrolled, "games", "games", "verify-ralph")
    assert (decision["outcome"], decision["reason"]) == ("accept", "match")
    assert [decision.get(key) for key in ("score", "margin", "threshold")] == [None, None, None]
    decision = verify_as(enrolled, "games", "games", "verify-stranger")
    assert decision["outcome"] == "reject"
    assert [decision.get(key) for key in ("score", "margin", "threshold")] == [None, None, None]
    shown, listed, denied = call_as(
        enrolled, "games", ("ShowProfile", {"name": "games"}), ("ListProfiles", {}), ("ShowProfile", {"name": "Susan"})
    )
    assert shown["parameters"]["profile"]["owner_uid"] == pwd.getpwnam("games").pw_uid
    rating = shown["parameters"]["profile"].pop("rating")
    assert (rating["grade"], rating.get("agreement")) == ("fair", None)
    assert shown["parameters"]["profile"].pop("generation") > 0
    exemplars = shown["parameters"]["profile"].pop("exemplar_list")
    assert len(exemplars) == shown["parameters"]["profile"]["exemplars"]
    assert [exemplar.get("agreement") for exemplar in exemplars] == [None] * len(exemplars)
    assert listed["parameters"]["profiles"] == [shown["parameters"]["profile"]]
    assert denied["error"] == DENIED


def test_root_gets_the_score_of_the_same_decision(enrolled: DaemonProcess) -> None:
    decision = enrolled.verify("games", voice("verify-ralph"))
    assert decision["score"] >= decision["threshold"]
    assert decision["margin"] > 0


def test_users_may_enrol_their_own_voice_once_root_has_vouched_for_them(daemon: DaemonProcess) -> None:
    proof = daemon.ask("Vouch", uid=pwd.getpwnam("games").pw_uid)["proof"]
    own = {"name": "games", "source": "recordings", "timeout": 0.2}
    calls = [
        ("Enroll", own),
        ("Enroll", own | {"name": "www-data", "proof": proof}),
        ("Enroll", own | {"proof": proof}),
        ("Enroll", own | {"proof": proof}),
    ]
    before, others, after, again = call_as(daemon, "games", *calls)
    assert after["error"] == "org.voiceauthd.EnrolmentIncomplete"
    assert others["error"] == DENIED
    assert before == again == {"error": NEEDED, "parameters": {"name": "games"}}


def test_users_may_export_or_delete_their_own_voice_only_with_a_proof(enrolled: DaemonProcess) -> None:
    games, others = (pwd.getpwnam(user).pw_uid for user in (OWNER, STRANGER))
    for method in ("ExportProfile", "DeleteProfile"):
        stolen = enrolled.ask("Vouch", uid=games)["proof"]
        assert call_as(enrolled, "www-data", (method, {"name": "games", "proof": stolen}))[0]["error"] == DENIED
        foreign = enrolled.ask("Vouch", uid=others)["proof"]
        for proof in ({}, {"proof": "guess"}, {"proof": foreign}):
            assert call_as(enrolled, "games", (method, {"name": "games", **proof}))[0]["error"] == NEEDED
    own = enrolled.ask("Vouch", uid=games)["proof"]
    kept = call_as(enrolled, "games", ("ExportProfile", {"name": "games", "proof": own}))[0]["parameters"]["document"]
    own = enrolled.ask("Vouch", uid=games)["proof"]
    assert call_as(enrolled, "games", ("DeleteProfile", {"name": "games", "proof": own})) == [{"parameters": {}}]
    assert enrolled.names() == ["Susan"]
    enrolled.ask("ImportProfile", document=kept, name="games")


def test_every_method_that_is_not_open_to_all_is_tried_above() -> None:
    """So that a new method is not forgotten."""
    everybody = {method for method, roles in TABLE.items() if Role.ANYBODY in roles}
    tried = set(re.findall(r'\(\s*"([A-Z][A-Za-z]+)",', Path(__file__).read_text(encoding="utf-8")))
    assert set(TABLE) <= tried | everybody


def test_only_the_holder_of_a_claim_may_send_recordings_for_it(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller:
        claim = daemon.begin_recordings(caller, name="Newcomer")
        assert (
            call_as(daemon, "www-data", ("SendAudio", {"claim": claim, "pcm": "", "end": "all"}))[0]["error"] == DENIED
        )
        assert daemon.ask("Status")["claim"] == "Enroll"


def test_the_configured_group_may_monitor_and_sees_scores(daemon: DaemonProcess) -> None:
    group = grp.getgrnam("audio")
    daemon.configure({"access": {"monitor_group": "audio"}})
    assert daemon.ask("Reload")["changed"] == ["access.monitor_group"]
    try:
        call = ("Identify", {})
        process = start_calls_as(daemon, "www-data", call, groups=str(group.gr_gid))
        wait_until("it listens", lambda: daemon.ask("Status")["claim"] == "Identify")
        daemon.feed.play_quiet(0.5)
        daemon.feed.play(voice("turn-08-susan"))
        answer = answers(process, call)[0]["parameters"]
        assert (answer["identity"], answer["score"] > 0) == ("Susan", True)
        assert call_as(daemon, "www-data", call)[0]["error"] == DENIED
    finally:
        daemon.configure({})
        daemon.ask("Reload")
