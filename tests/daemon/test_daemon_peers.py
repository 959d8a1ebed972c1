"""Who may do what: other users of this machine, as the kernel knows them."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from daemon_box import Box, wait_until
from daemon_room import voice

from voiceauthd.protocol.interface import load
from voiceauthd.service.access import TABLE, Role

USERS = ("games", "www-data")
"""Accounts of every Debian: one whose voice is enrolled, and one who has nothing to do with it."""

PYTHON = Path("/usr/bin/python3")

DENIED = "org.varlink.service.PermissionDenied"
NEEDED = "org.voiceauthd.ProofNeeded"


@pytest.fixture(autouse=True)
def _other_users() -> None:
    """Skips where this process cannot become others."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to call as other users")
    if shutil.which("setpriv") is None or not PYTHON.exists():
        pytest.skip("needs setpriv (util-linux) and the system's python3")
    for user in USERS:
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip(f"needs the account {user!r}, which every Debian has")


@pytest.fixture
def enrolled(box: Box) -> Box:
    """Ralph's voice is enrolled as that of the user `games` (and as nobody else's, so that it is not ambiguous)."""
    box.ask("RenameProfile", name="Ralph", new_name="Kept")
    document = box.ask("ExportProfile", name="Kept")["document"]
    box.ask("DeleteProfile", name="Kept")
    box.ask("ImportProfile", document=document, name="games")
    yield box
    document = box.ask("ExportProfile", name="games")["document"]
    box.ask("DeleteProfile", name="games")
    box.ask("ImportProfile", document=document, name="Ralph")


def start(box: Box, user: str, *calls: tuple[str, dict], groups: str = "") -> subprocess.Popen[str]:
    """Begins to call as another user."""
    account = pwd.getpwnam(user)
    client = box.folder / "daemon_other.py"
    shutil.copyfile(Path(__file__).with_name("daemon_other.py"), client)
    client.chmod(0o644)
    become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
    become += [f"--groups={groups}"] if groups else ["--clear-groups"]
    process = subprocess.Popen(
        ["setpriv", *become, str(PYTHON), "-I", str(client), str(box.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert process.stdin is not None
    for method, parameters in calls:
        more = method in {"Verify", "Monitor", "Enroll"}
        call = {"method": f"org.voiceauthd.{method}", "parameters": parameters} | ({"more": True} if more else {})
        process.stdin.write(json.dumps(call) + "\n")
    process.stdin.close()
    process.stdin = None
    return process


def answers(process: subprocess.Popen[str], *calls: tuple[str, dict]) -> list[dict]:
    """What it was answered, held against the interface."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found = [json.loads(line) for line in printed.splitlines()]
    for (method, _), answer in zip(calls, found, strict=True):
        if "error" not in answer:
            load().check_reply(method, answer["parameters"])
    return found


def call_as(box: Box, user: str, *calls: tuple[str, dict], groups: str = "") -> list[dict]:
    return answers(start(box, user, *calls, groups=groups), *calls)


def verify_as(box: Box, user: str, name: str, sound: str) -> dict:
    """The decision that another user is told, while this sound is heard."""
    box.room.hush()  # what is left of the sound of a verification before
    call = ("Verify", {"name": name})
    process = start(box, user, call)
    wait_until("it listens", lambda: box.ask("Status")["claim"] == "Verify")
    box.room.rest(0.5)
    box.room.play(voice(sound))
    return answers(process, call)[0]["parameters"]


def test_others_may_ask_how_it_is_and_nothing_else(enrolled: Box) -> None:
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
        ("Enroll", {"name": "games", "mode": "replace", "source": "recordings"}),
        ("Enroll", {"name": "Nobody", "source": "recordings"}),
        ("DeleteProfile", {"name": "games"}),
        ("RenameProfile", {"name": "games", "new_name": "www-data"}),
        ("ExportProfile", {"name": "games"}),
        ("ImportProfile", {"document": ""}),
        ("Unlock", {"name": "games"}),
        ("Rekey", {}),
        ("Reload", {}),
        ("Vouch", {"uid": pwd.getpwnam("www-data").pw_uid}),
    ]
    info, status, listed, *others = call_as(enrolled, "www-data", *calls)
    assert info["parameters"]["protocol"] == 1
    assert status["parameters"]["ready"] is True
    hidden = ("claim", "profiles", "config")
    assert [status["parameters"].get(key) for key in hidden] == [None] * len(hidden)
    assert listed["parameters"] == {"profiles": []}
    assert [answer.get("error") for answer in others] == [DENIED] * len(others)
    assert enrolled.names() == ["games", "Susan"] or enrolled.names() == ["Susan", "games"]


def test_a_user_may_verify_and_see_their_own_voice_and_gets_no_score(enrolled: Box) -> None:
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
    assert listed["parameters"]["profiles"] == [shown["parameters"]["profile"]]
    assert denied["error"] == DENIED


def test_root_gets_the_score_of_the_same_decision(enrolled: Box) -> None:
    with enrolled.caller() as caller:
        caller.send("Verify", name="games")
        caller.until("listening")
        enrolled.room.play(voice("verify-ralph"))
        decision = caller.until("decided")
    assert decision["score"] >= decision["threshold"]
    assert decision["margin"] > 0


def test_a_user_may_enrol_themself_once_root_has_vouched_for_the_password(box: Box) -> None:
    proof = box.ask("Vouch", uid=pwd.getpwnam("games").pw_uid)["proof"]
    own = {"name": "games", "source": "recordings", "timeout": 0.2}
    calls = [
        ("Enroll", own),
        ("Enroll", own | {"name": "www-data", "proof": proof}),
        ("Enroll", own | {"proof": proof}),
        ("Enroll", own | {"proof": proof}),
    ]
    before, others, after, again = call_as(box, "games", *calls)
    assert after["error"] == "org.voiceauthd.EnrolmentIncomplete"
    assert others["error"] == DENIED
    assert before == again == {"error": NEEDED, "parameters": {"name": "games"}}


def test_a_user_may_take_or_delete_the_own_voice_with_a_proof_only(enrolled: Box) -> None:
    games, others = (pwd.getpwnam(user).pw_uid for user in USERS)
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


def test_every_row_of_the_table_is_denied_to_somebody_here_or_open_to_all() -> None:
    """So that a new method is not forgotten above."""
    everybody = {method for method, roles in TABLE.items() if Role.ANYBODY in roles}
    tried = set(re.findall(r'\(\s*"([A-Z][A-Za-z]+)",', Path(__file__).read_text(encoding="utf-8")))
    assert set(TABLE) <= tried | everybody


def test_nobody_else_may_send_recordings_for_a_claim(box: Box) -> None:
    with box.caller() as caller:
        claim = box.begin_recordings(caller, name="Newcomer")
        assert call_as(box, "www-data", ("SendAudio", {"claim": claim, "pcm": "", "end": "all"}))[0]["error"] == DENIED
        assert box.ask("Status")["claim"] == "Enroll"


def test_the_configured_group_may_monitor_and_sees_scores(box: Box) -> None:
    group = grp.getgrnam("audio")
    box.configure({"access": {"monitor_group": "audio"}})
    assert box.ask("Reload")["changed"] == ["access.monitor_group"]
    try:
        call = ("Identify", {})
        process = start(box, "www-data", call, groups=str(group.gr_gid))
        wait_until("it listens", lambda: box.ask("Status")["claim"] == "Identify")
        box.room.rest(0.5)
        box.room.play(voice("turn-08-susan"))
        answer = answers(process, call)[0]["parameters"]
        assert (answer["identity"], answer["score"] > 0) == ("Susan", True)
        assert call_as(box, "www-data", call)[0]["error"] == DENIED
    finally:
        box.configure({})
        box.ask("Reload")
