"""Verification and identification through the socket, on what is heard."""

from __future__ import annotations

import time

import numpy as np
import pytest
from daemon_box import Box, wait_until
from daemon_caller import Caller, RefusedError, states
from daemon_room import takes, voice


def listen(box: Box, method: str, sound: np.ndarray | None, **parameters: object) -> list[dict]:
    """All replies to a call that listens, while `sound` is played from the moment on that it does."""
    with box.caller() as caller:
        caller.send(method, **parameters)
        first = caller.reply().parameters
        assert first["state"] == "listening"
        if sound is not None:
            box.room.play(sound)
        return [first, *caller.rest()]


def verify(box: Box, name: str, sound: np.ndarray | None, **parameters: object) -> dict:
    return listen(box, "Verify", sound, name=name, **parameters)[-1]


def decided(caller: Caller) -> dict:
    return caller.until("decided")


def test_the_right_person_is_accepted(box: Box) -> None:
    answer = verify(box, "Ralph", voice("verify-ralph"), nonce="n-1")
    assert (answer["state"], answer["outcome"], answer["reason"]) == ("decided", "accept", "match")
    assert (answer["name"], answer["nonce"]) == ("Ralph", "n-1")
    assert answer["score"] >= answer["threshold"]
    assert answer["margin"] > 0
    assert answer["expires"] > 0
    assert answer["net_speech"] >= answer["net_speech_needed"]
    assert answer["calibrated"] is box.ask("Info")["model"]["calibrated"]


def test_another_enrolled_person_is_not_accepted(box: Box) -> None:
    answer = verify(box, "Ralph", voice("turn-08-susan"), timeout=4.0)
    assert (answer["outcome"], answer["reason"]) in {("reject", "no_match"), ("inconclusive", "unsure")}
    assert answer["score"] < answer["threshold"]
    assert answer["margin"] < 0
    assert answer["advice"]


@pytest.mark.parametrize("policy", ["monitor", "unlock"])
def test_a_stranger_is_rejected(box: Box, policy: str) -> None:
    answer = verify(box, "Ralph", voice("verify-stranger"), timeout=4.0, policy=policy)
    assert (answer["outcome"], answer["reason"], answer["policy"]) == ("reject", "no_match", policy)


def test_the_policy_is_unlock_unless_another_is_named(box: Box) -> None:
    aims = {policy["name"]: policy["false_accepts"] for policy in box.ask("Status")["policies"]}
    assert aims == {"monitor": 1e-2, "unlock": 1e-3, "auth": 1e-4}
    plain, named = (verify(box, "Ralph", None, timeout=0, **given) for given in ({}, {"policy": "monitor"}))
    assert (plain["policy"], named["policy"]) == ("unlock", "monitor")
    assert plain["threshold"] >= named["threshold"]


def test_auth_is_refused_without_a_calibration_and_nothing_is_heard(stub_at) -> None:
    box = stub_at(speed=10.0)
    box.enroll("Ralph", takes("Ralph"))
    refused = box.refusal("Verify", name="Ralph", policy="auth")
    assert (refused.error, refused.parameters["policy"]) == ("PolicyNotDemonstrated", "auth")
    status = box.ask("Status")
    assert (status["claim"], status["windows"]["cut"]) == (None, 0)
    assert [policy["demonstrated"] for policy in status["policies"]] == [False] * 3


def test_sound_that_cannot_be_used_is_told_with_what_to_do(box: Box) -> None:
    replies = listen(box, "Verify", voice("verify-ralph") * 40.0, name="Ralph", timeout=4.0)
    told = [reply for reply in replies if reply["state"] == "progress"]
    assert {reply["reason"] for reply in told} == {"clipped"}
    assert all(reply["advice"] and reply["net_speech"] == 0.0 for reply in told)
    assert (replies[-1]["outcome"], replies[-1]["reason"]) == ("inconclusive", "clipped")
    assert box.ask("Status")["windows"]["refused"] >= len(told)


def test_silence_is_inconclusive(box: Box) -> None:
    answer = verify(box, "Ralph", None, timeout=0.5)
    assert (answer["outcome"], answer["reason"], answer["net_speech"]) == ("inconclusive", "no_speech", 0.0)
    assert answer["score"] is None


def test_too_little_speech_is_inconclusive(box: Box) -> None:
    answer = verify(box, "Ralph", voice("verify-ralph")[:27_000], timeout=2.0)
    assert (answer["outcome"], answer["reason"]) == ("inconclusive", "too_little_speech")
    assert 0 < answer["net_speech"] < answer["net_speech_needed"]
    assert answer["score"] is None


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_a_time_that_is_over_at_once_is_inconclusive(box: Box, timeout: float) -> None:
    assert verify(box, "Ralph", voice("verify-ralph"), timeout=timeout)["outcome"] == "inconclusive"


def test_speech_from_before_the_request_does_not_count(box: Box) -> None:
    box.room.say(voice("verify-ralph"))
    answer = verify(box, "Ralph", None, timeout=0.5)
    assert (answer["outcome"], answer["reason"]) == ("inconclusive", "no_speech")


def test_speech_that_is_under_way_is_cut_at_the_request(box: Box) -> None:
    """Somebody speaks already: what was said before the request is not even in the same window."""
    with box.caller() as monitor, box.caller() as caller:
        monitor.send("Monitor")
        monitor.events("started")
        before = box.room.say(np.zeros(0, np.float32), 0.2)

        def heard(kind: str) -> list[dict]:
            """The next such events, without those of older sound that a busy machine is late with."""
            while not (found := [e for e in monitor.events(kind) if e["kind"] == kind and e["start"] > before]):
                pass
            return found

        clip = box.room.play(np.concatenate([voice("ralph-1"), voice("ralph-5"), voice("ralph-2")]))
        windows = heard("window")
        while windows[-1]["duration"] < 3.0:
            windows += heard("window")
        caller.send("Verify", name="Ralph", timeout=1.5)
        caller.until("listening")
        box.room.hush()
        end = heard("silence")[-1]["start"]
        answer = decided(caller)
    assert sum(window["quality"]["net_speech"] for window in windows) > answer["net_speech_needed"]
    assert clip.start < end < clip.start + 10.0
    assert (answer["outcome"], answer["reason"]) in {
        ("inconclusive", "no_speech"),
        ("inconclusive", "too_little_speech"),
    }


def test_who_speaks_on_is_heard_from_the_request_on(box: Box) -> None:
    without_edges = [sound[4_000:-4_000] for sound in takes("Ralph")]
    with box.caller() as monitor, box.caller() as caller:
        monitor.send("Monitor")
        monitor.events("started")
        box.room.play(np.concatenate(without_edges))  # without a pause
        monitor.events("window")
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        monitor.events("silence")
        assert decided(caller)["outcome"] == "accept"


def test_windows_that_still_wait_for_the_model_do_not_count(stub_at) -> None:
    """The model is slow: what was said before the request reaches it after the request."""
    box = stub_at(speed=10.0)
    box.enroll("Ralph", takes("Ralph"))
    before = box.ask("Status")["windows"]["embedded"]
    (box.folder / "hold-worker").touch()
    box.room.say(voice("ralph-1"))
    box.room.rest(1.0)
    waiting = box.ask("Status")["windows"]["cut"] - before
    assert waiting >= 3
    with box.caller() as caller:
        caller.send("Verify", name="Ralph", timeout=1.0)
        caller.until("listening")
        (box.folder / "hold-worker").unlink()
        answer = decided(caller)
    assert box.ask("Status")["windows"]["embedded"] >= before + waiting
    assert (answer["outcome"], answer["reason"]) == ("inconclusive", "no_speech")
    assert verify(box, "Ralph", voice("ralph-1"))["outcome"] == "accept"


def test_windows_that_come_too_late_are_dropped_counted_and_told(stub_at) -> None:
    box = stub_at({"queue": {"windows": 2}}, speed=20.0)
    with box.caller() as monitor:
        monitor.send("Monitor")
        monitor.events("started")
        (box.folder / "hold-worker").touch()
        box.room.say(np.tile(voice("ralph-1"), 3))
        dropped = monitor.events("dropped")[-1]
        assert (dropped["detail"], dropped["count"]) == ("windows", 1)
        assert box.ask("Status")["queue"]["dropped"] >= 1
        assert box.ask("Status")["queue"]["depth"] <= box.ask("Status")["queue"]["capacity"] == 2
        (box.folder / "hold-worker").unlink()
        assert monitor.events("window")


def test_its_progress_is_told(box: Box) -> None:
    replies = listen(box, "Verify", voice("verify-ralph"), name="Ralph", nonce="n-2")
    assert states(replies)[:3] == ["listening", "speech", "progress"]
    assert [reply["outcome"] for reply in replies[:-1]] == [None] * (len(replies) - 1)
    assert all(reply["score"] is None and reply["name"] == "Ralph" for reply in replies[:-1])
    heard = [reply["net_speech"] for reply in replies]
    assert heard == sorted(heard)
    assert replies[-1]["state"] == "decided"


def test_a_caller_who_wants_one_answer_gets_the_decision(box: Box) -> None:
    with box.caller() as caller:
        caller.send("Verify", more=False, name="Ralph")
        wait_until("it listens", lambda: box.ask("Status")["claim"] == "Verify")
        assert caller.silent(0.3)
        box.room.play(voice("verify-ralph"))
        reply = caller.reply()
    assert (reply.continues, reply.parameters["outcome"], reply.parameters["nonce"]) == (False, "accept", None)


def test_the_nonce_comes_back_as_it_was(box: Box) -> None:
    nonce = 'ein "Nonce" \\ \u2028 \U0001f399 ' + "x" * 1000
    assert verify(box, "Ralph", None, timeout=0, nonce=nonce)["nonce"] == nonce


def test_a_name_is_answered_as_it_was_asked(box: Box) -> None:
    assert verify(box, "ralph", None, timeout=0)["name"] == "ralph"
    with box.caller() as caller:
        caller.send("Verify", name="RALPH", timeout=0)
        assert {reply["name"] for reply in caller.rest()} == {"RALPH"}


def test_a_second_caller_is_told_at_once_that_somebody_verifies(box: Box) -> None:
    with box.caller() as caller, box.caller() as other:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        assert box.ask("Status")["claim"] == "Verify"
        other.send("Verify", name="Susan")
        with pytest.raises(RefusedError) as refused:
            other.reply(seconds=2.0)
        assert (refused.value.error, "Verify" in refused.value.parameters["holder"]) == ("Busy", True)
        box.room.play(voice("verify-ralph"))
        assert decided(caller)["outcome"] == "accept"


def test_a_client_that_vanishes_frees_the_claim(box: Box) -> None:
    caller = box.caller()
    caller.send("Verify", name="Ralph")
    caller.until("listening")
    caller.close()
    wait_until("the claim is free", lambda: box.ask("Status")["claim"] is None, 2.0)
    assert verify(box, "Ralph", voice("verify-ralph"))["outcome"] == "accept"


def test_a_hundred_verifications_that_are_left_leave_nothing_behind(box: Box) -> None:
    for _ in range(100):
        with box.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
        wait_until("the claim is free", lambda: box.ask("Status")["claim"] is None, 2.0)
    status = box.ask("Status")
    assert (status["state"], status["monitors"]) == ("ready", 0)
    assert status["connections"] <= 3


@pytest.mark.parametrize(("name", "error"), [("Nobody", "NotEnrolled"), ("../Ralph", "InvalidName")])
def test_who_is_not_enrolled_cannot_be_verified(box: Box, name: str, error: str) -> None:
    refused = box.refusal("Verify", name=name)
    assert (refused.error, refused.parameters["name"]) == (error, name)


def test_a_profile_that_is_deleted_meanwhile_accepts_nobody(box: Box) -> None:
    box.copy("Ralph", "Newcomer")
    with box.caller() as caller:
        caller.send("Verify", name="Newcomer", timeout=2.0)
        caller.until("listening")
        box.ask("DeleteProfile", name="Newcomer")
        box.room.play(voice("ralph-5"))
        answer = decided(caller)
    assert (answer["outcome"], answer["reason"]) == ("reject", "not_enrolled")


def test_a_voice_that_two_names_share_is_nobodys(box: Box) -> None:
    box.copy("Ralph", "Newcomer")
    answer = verify(box, "Ralph", voice("verify-ralph"), timeout=2.0)
    assert (answer["outcome"], answer["reason"]) == ("reject", "ambiguous")
    assert answer["score"] >= answer["threshold"]


def test_a_decision_comes_within_two_seconds_of_speech(stub_at) -> None:
    """In real time: the first decision needs 2 s of speech, which the second window, after 3 s, has."""
    box = stub_at(speed=1.0)
    box.enroll("Ralph", takes("Ralph"))
    began = time.monotonic()
    answer = verify(box, "Ralph", voice("ralph-1"))
    assert answer["outcome"] == "accept"
    assert time.monotonic() - began < 0.5 + 3.0 + 1.0


def test_who_speaks_is_identified(box: Box) -> None:
    replies = listen(box, "Identify", voice("turn-08-susan"))
    assert states(replies) == ["listening", "speech", "progress", "decided"]
    answer = replies[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("known", "Susan", "match")
    assert answer["margin"] > 0


def test_a_stranger_is_identified_as_nobody(box: Box) -> None:
    answer = listen(box, "Identify", voice("verify-stranger"), timeout=2.5)[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("unknown", None, "no_match")
    assert answer["advice"]


def test_silence_is_not_identified(box: Box) -> None:
    answer = listen(box, "Identify", None, timeout=0.3)[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("undecided", None, "no_speech")


def test_nobody_is_known_where_nobody_is_enrolled(stub_at) -> None:
    answer = listen(stub_at(), "Identify", voice("ralph-1"), timeout=3.0)[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("unknown", None, "nobody_enrolled")
