"""Too many failures lock a voice, and too many calls a user: through the socket, on what is heard.

The model is one without weights, for which all voices are somewhat alike; so it takes a high threshold.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from daemon_box import Box, wait_until
from daemon_room import takes, voice

STRICT = {"decision": {"threshold": 0.93}, "verify": {"max_speech": 3.0, "timeout": 4.0}}

OWNER, OTHER = "games", "www-data"
"""Accounts of every Debian."""

PYTHON = Path("/usr/bin/python3")

DENIED = "org.varlink.service.PermissionDenied"


@pytest.fixture
def start(stub_at, folder):
    """Starts a daemon in which somebody is enrolled, if they are not yet."""
    folder.chmod(0o755)  # other users call, too

    def start(*people: str, **settings: dict) -> Box:
        box = stub_at({**STRICT, **settings}, speed=16.0)
        for name, sound in zip(people, ("Ralph", "Susan"), strict=False):
            if name not in box.names():
                box.enroll(name, takes(sound))
        return box

    return start


def verify(box: Box, sound: str | None, name: str = "Ralph", **parameters: object) -> str:
    """The outcome and reason of the answer."""
    assert box.room is not None
    with box.caller() as caller:
        caller.send("Verify", name=name, **parameters)
        caller.until("listening")
        if sound is not None:
            box.room.play(voice(sound))
        answer = caller.until("decided")
    box.room.hush()  # what is left of it is not for the next call
    return f"{answer['outcome']}, {answer['reason']}"


def fail(box: Box, times: int, name: str = "Ralph") -> None:
    for _ in range(times):
        assert verify(box, "verify-stranger", name) in {"inconclusive, unsure", "reject, no_match"}


def locked_for(box: Box, name: str = "Ralph") -> float | None:
    return box.ask("ShowProfile", name=name)["profile"]["locked_for"]


def call_as(box: Box, user: str, *calls: tuple[str, dict]) -> list[dict]:
    """The last answer to each call of another user. Skips the test where there are no other users to be."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not PYTHON.exists():
        pytest.skip("needs root, setpriv (util-linux) and the system's python3, to call as other users")
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        pytest.skip(f"needs the account {user!r}, which every Debian has")
    client = box.folder / "daemon_other.py"
    shutil.copyfile(Path(__file__).with_name("daemon_other.py"), client)
    client.chmod(0o644)
    become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    lines = [json.dumps({"method": f"org.voiceauthd.{method}", "parameters": given}) for method, given in calls]
    done = subprocess.run(
        ["setpriv", *become, str(PYTHON), "-I", str(client), str(box.socket)],
        input="\n".join(lines) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def errors(answers: list[dict]) -> list[str | None]:
    return [answer.get("error") for answer in answers]


def test_five_failures_lock_and_the_sixth_call_is_refused_before_anything_is_heard(start) -> None:
    box = start("Ralph", "Susan")
    fail(box, 4)
    assert locked_for(box) is None
    fail(box, 1)
    left = locked_for(box)
    assert left is not None
    assert 280.0 < left <= 300.0
    box.room.rest(1.0)  # until the last of the fifth is through
    cut = box.ask("Status")["windows"]["cut"]
    for name in ("Ralph", "ralph"):  # by root, who is locked out as well
        refused = box.refusal("Verify", name=name)
        assert (refused.error, refused.parameters["name"]) == ("Locked", name)
        assert 0.0 < refused.parameters["seconds"] <= left
    status = box.ask("Status")
    assert (status["claim"], status["windows"]["cut"]) == (None, cut)
    assert box.logged("the voice of 'Ralph' is locked for 300 s")
    assert (locked_for(box, "Susan"), verify(box, "susan-1", "Susan")) == (None, "accept, match")


def test_an_accept_in_between_forgets_the_failures(start) -> None:
    box = start("Ralph", lockout={"failures": 3})
    for _ in range(2):
        fail(box, 2)
        assert verify(box, "ralph-1") == "accept, match"
    assert locked_for(box) is None


def test_neither_silence_nor_a_word_nor_what_is_broken_off_locks(start) -> None:
    box = start("Ralph", verify={"max_speech": 30.0, "timeout": 10.0})
    assert box.room is not None
    for _ in range(6):
        assert verify(box, None, timeout=0.05) == "inconclusive, no_speech"
    for _ in range(5):
        with box.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
            box.room.play(voice("verify-stranger"))
            while caller.until("progress")["net_speech"] < 2.0:  # it was compared, and did not do
                pass
        wait_until("the claim is free", lambda: box.ask("Status")["claim"] is None, 2.0)
        box.room.hush()
    assert locked_for(box) is None
    assert verify(box, "ralph-1") == "accept, match"


def test_a_lock_ends_by_itself(start) -> None:
    box = start("Ralph", lockout={"failures": 1, "lasts": 1.0})
    fail(box, 1)
    assert box.refusal("Verify", name="Ralph").error == "Locked"
    wait_until("the lock is over", lambda: locked_for(box) is None, 3.0)
    assert verify(box, "ralph-1") == "accept, match"


def test_a_lock_outlasts_a_kill(start, folder) -> None:
    box = start("Ralph", lockout={"failures": 3})
    fail(box, 2)
    box.signal(signal.SIGKILL)
    box.wait()
    box = start(lockout={"failures": 3})
    fail(box, 1)
    before = locked_for(box)
    box.signal(signal.SIGKILL)  # at the very moment at which it is known
    box.wait()
    assert stat.S_IMODE((folder / "lockout.json").stat().st_mode) == 0o600
    box = start(lockout={"failures": 3})
    after = locked_for(box)
    assert before is not None
    assert after is not None
    assert before - 60.0 < after < before
    assert box.refusal("Verify", name="Ralph").error == "Locked"


def test_a_torn_file_locks_everybody_is_said_and_heals(start, folder) -> None:
    box = start("Ralph")
    box.end()
    (folder / "lockout.json").write_bytes(b'{"format": "voiceauthd-lock')
    box = start(lockout={"lasts": 2.0})
    assert box.refusal("Verify", name="Ralph").error == "Locked"
    assert "every voice is locked" in box.ask("Status")["problem"]
    assert box.logged("lockout.json.damaged")
    wait_until("the lock is over", lambda: locked_for(box) is None, 4.0)
    assert box.ask("Status")["state"] == "ready"
    assert verify(box, "ralph-1") == "accept, match"


def test_root_unlocks_and_nobody_else_does(start) -> None:
    box = start(OWNER, lockout={"failures": 1})
    fail(box, 1, OWNER)
    unlock = ("Unlock", {"name": OWNER})
    owned, own = call_as(box, OWNER, unlock, ("Verify", {"name": OWNER}))
    assert (owned["error"], own["error"]) == (DENIED, "org.voiceauthd.Locked")
    assert errors(call_as(box, OTHER, unlock, ("Verify", {"name": OWNER}))) == [DENIED, DENIED]
    assert locked_for(box, OWNER) is not None
    assert box.ask("Unlock", name=OWNER) == {}
    assert locked_for(box, OWNER) is None
    assert verify(box, "ralph-1", OWNER) == "accept, match"
    assert box.refusal("Unlock", name="Nobody").error == "NotEnrolled"


def test_a_user_may_try_only_so_often_a_minute(start) -> None:
    box = start(OWNER, socket={"tries_per_minute": 3, "calls_per_minute": 20})
    try_it = ("Verify", {"name": OWNER, "timeout": 0.0})
    found = call_as(box, OWNER, *[try_it] * 5)
    assert errors(found) == [None] * 3 + ["org.voiceauthd.TooOften"] * 2
    assert found[-1]["parameters"]["limit"] == 3
    assert 0.0 < found[-1]["parameters"]["seconds"] <= 61.0
    assert errors(call_as(box, OTHER, *[try_it] * 4)) == [DENIED] * 3 + ["org.voiceauthd.TooOften"], "counted apart"
    found = call_as(box, OTHER, *[("Status", {})] * 20)
    assert errors(found) == [None] * 16 + ["org.voiceauthd.TooOften"] * 4, "after four calls of before"
    for _ in range(25):  # by root, on whose behalf everybody logs in
        assert verify(box, None, OWNER, timeout=0.0) == "inconclusive, no_speech"


def test_a_nonce_is_good_for_one_call_whoever_makes_it(start) -> None:
    box = start(OWNER)
    call = {"name": OWNER, "timeout": 0.0, "nonce": "4711"}
    assert box.ask("Verify", **call)["nonce"] == "4711"
    refused = box.refusal("Verify", **call)
    assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": "nonce"})
    (answer,) = call_as(box, OWNER, ("Verify", call))
    assert (answer["error"], answer["parameters"]) == (
        "org.varlink.service.InvalidParameter",
        {"parameter": "nonce"},
    )
