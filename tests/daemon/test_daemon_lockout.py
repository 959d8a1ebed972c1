"""Lockout and rate limits through the socket, with real audio.

The model has no weights, and finds all voices somewhat similar; hence the high threshold.
"""

from __future__ import annotations

import signal
import stat

import pytest
from daemon_audio import takes, voice
from daemon_process import DaemonProcess
from other_users import DENIED, OWNER, STRANGER, call_as
from waiting import wait_until

STRICT = {"decision": {"threshold": 0.93}, "verify": {"max_speech": 3.0, "timeout": 4.0}}


@pytest.fixture
def start(stub_at, folder):
    """Starts a daemon in which `people` are enrolled, unless they were before."""
    folder.chmod(0o755)  # other users call it, too

    def start(*people: str, **settings: dict) -> DaemonProcess:
        daemon = stub_at({**STRICT, **settings}, speed=16.0)
        for name, person in zip(people, ("Ralph", "Susan"), strict=False):
            if name not in daemon.names():
                daemon.enroll(name, takes(person))
        return daemon

    return start


def verify(daemon: DaemonProcess, recording: str | None, name: str = "Ralph", **parameters: object) -> str:
    """Outcome and reason of a verification."""
    decision = daemon.verify(name, None if recording is None else voice(recording), **parameters)
    assert daemon.feed is not None
    daemon.feed.stop_playing()  # the next call must not hear the rest of it
    return f"{decision['outcome']}, {decision['reason']}"


def fail(daemon: DaemonProcess, times: int, name: str = "Ralph") -> None:
    for _ in range(times):
        assert verify(daemon, "verify-stranger", name) in {"inconclusive, unsure", "reject, no_match"}


def locked_for(daemon: DaemonProcess, name: str = "Ralph") -> float | None:
    return daemon.ask("ShowProfile", name=name)["profile"]["locked_for"]


def errors(answers: list[dict]) -> list[str | None]:
    return [answer.get("error") for answer in answers]


def test_five_failures_lock_a_voice_and_the_sixth_call_does_not_listen(start) -> None:
    daemon = start("Ralph", "Susan")
    fail(daemon, 4)
    assert locked_for(daemon) is None
    fail(daemon, 1)
    left = locked_for(daemon)
    assert left is not None
    assert 280.0 < left <= 300.0
    daemon.feed.play_quiet(1.0)  # until the last window of the fifth call is cut
    cut = daemon.ask("Status")["windows"]["cut"]
    for name in ("Ralph", "ralph"):  # called by root, for whom the lock holds too
        refused = daemon.refusal("Verify", name=name)
        assert (refused.error, refused.parameters["name"]) == ("Locked", name)
        assert 0.0 < refused.parameters["seconds"] <= left
    status = daemon.ask("Status")
    assert (status["claim"], status["windows"]["cut"]) == (None, cut)
    assert daemon.logged("the voice of 'Ralph' is locked for 300 s")
    assert (locked_for(daemon, "Susan"), verify(daemon, "susan-1", "Susan")) == (None, "accept, match")


def test_an_accept_clears_the_failures(start) -> None:
    daemon = start("Ralph", lockout={"failures": 3})
    for _ in range(2):
        fail(daemon, 2)
        assert verify(daemon, "ralph-1") == "accept, match"
    assert locked_for(daemon) is None


def test_neither_silence_nor_cancelled_verifications_lock_a_voice(start) -> None:
    daemon = start("Ralph", verify={"max_speech": 30.0, "timeout": 10.0})
    assert daemon.feed is not None
    for _ in range(6):
        assert verify(daemon, None, timeout=0.05) == "inconclusive, no_speech"
    for _ in range(5):
        with daemon.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
            daemon.feed.play(voice("verify-stranger"))
            while caller.until("progress")["net_speech"] < 2.0:  # until it has been compared, and not accepted
                pass
        wait_until("the claim is free", lambda: daemon.ask("Status")["claim"] is None, 2.0)
        daemon.feed.stop_playing()
    assert locked_for(daemon) is None
    assert verify(daemon, "ralph-1") == "accept, match"


def test_a_lock_ends_on_its_own(start) -> None:
    daemon = start("Ralph", lockout={"failures": 1, "lasts": 1.0})
    fail(daemon, 1)
    assert daemon.refusal("Verify", name="Ralph").error == "Locked"
    wait_until("the lock is over", lambda: locked_for(daemon) is None, 3.0)
    assert verify(daemon, "ralph-1") == "accept, match"


def test_failures_and_locks_survive_a_kill(start, folder) -> None:
    daemon = start("Ralph", lockout={"failures": 3})
    fail(daemon, 2)
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    daemon = start(lockout={"failures": 3})
    fail(daemon, 1)
    before = locked_for(daemon)
    daemon.signal(signal.SIGKILL)  # right after the answer
    daemon.wait()
    assert stat.S_IMODE((folder / "lockout.json").stat().st_mode) == 0o600
    daemon = start(lockout={"failures": 3})
    after = locked_for(daemon)
    assert before is not None
    assert after is not None
    assert before - 60.0 < after < before
    assert daemon.refusal("Verify", name="Ralph").error == "Locked"


def test_a_torn_lockout_file_locks_everybody_is_reported_and_replaced(start, folder) -> None:
    daemon = start("Ralph")
    daemon.end()
    (folder / "lockout.json").write_bytes(b'{"format": "voiceauthd-lock')
    daemon = start(lockout={"lasts": 2.0})
    assert daemon.refusal("Verify", name="Ralph").error == "Locked"
    assert "every voice is locked" in daemon.ask("Status")["problem"]
    assert daemon.logged("lockout.json.damaged")
    wait_until("the lock is over", lambda: locked_for(daemon) is None, 4.0)
    assert daemon.ask("Status")["state"] == "ready"
    assert verify(daemon, "ralph-1") == "accept, match"


def test_only_root_unlocks_a_voice(start) -> None:
    daemon = start(OWNER, lockout={"failures": 1})
    fail(daemon, 1, OWNER)
    unlock = ("Unlock", {"name": OWNER})
    owned, own = call_as(daemon, OWNER, unlock, ("Verify", {"name": OWNER}))
    assert (owned["error"], own["error"]) == (DENIED, "org.voiceauthd.Locked")
    assert errors(call_as(daemon, STRANGER, unlock, ("Verify", {"name": OWNER}))) == [DENIED, DENIED]
    assert locked_for(daemon, OWNER) is not None
    assert daemon.ask("Unlock", name=OWNER) == {"unlocked": True}
    assert daemon.ask("Unlock", name=OWNER) == {"unlocked": False}
    assert locked_for(daemon, OWNER) is None
    assert verify(daemon, "ralph-1", OWNER) == "accept, match"
    assert daemon.refusal("Unlock", name="Nobody").error == "NotEnrolled"


def test_the_calls_of_a_user_are_limited_per_minute(start) -> None:
    daemon = start(OWNER, socket={"tries_per_minute": 3, "calls_per_minute": 20})
    try_it = ("Verify", {"name": OWNER, "timeout": 0.0})
    found = call_as(daemon, OWNER, *[try_it] * 5)
    assert errors(found) == [None] * 3 + ["org.voiceauthd.TooOften"] * 2
    assert found[-1]["parameters"]["limit"] == 3
    assert 0.0 < found[-1]["parameters"]["seconds"] <= 61.0
    assert errors(call_as(daemon, STRANGER, *[try_it] * 4)) == [DENIED] * 3 + ["org.voiceauthd.TooOften"], (
        "counted apart"
    )
    found = call_as(daemon, STRANGER, *[("Status", {})] * 20)
    assert errors(found) == [None] * 16 + ["org.voiceauthd.TooOften"] * 4, "after the four earlier calls"
    for _ in range(25):  # root is not limited, because logins of all users call as root
        assert verify(daemon, None, OWNER, timeout=0.0) == "inconclusive, no_speech"


def test_a_nonce_is_accepted_for_one_call_of_any_user(start) -> None:
    daemon = start(OWNER)
    call = {"name": OWNER, "timeout": 0.0, "nonce": "4711"}
    assert daemon.ask("Verify", **call)["nonce"] == "4711"
    refused = daemon.refusal("Verify", **call)
    assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": "nonce"})
    (answer,) = call_as(daemon, OWNER, ("Verify", call))
    assert (answer["error"], answer["parameters"]) == (
        "org.varlink.service.InvalidParameter",
        {"parameter": "nonce"},
    )
