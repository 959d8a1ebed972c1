"""Verification and identification through the socket, with real audio."""

from __future__ import annotations

import time

import numpy as np
import pytest
from daemon_audio import takes, voice
from daemon_caller import Caller, RefusedError, states
from daemon_process import DaemonProcess
from waiting import wait_until


def listen(daemon: DaemonProcess, method: str, samples: np.ndarray | None, **parameters: object) -> list[dict]:
    """All replies to a call; `samples` are played from the moment the daemon listens."""
    with daemon.caller() as caller:
        caller.send(method, **parameters)
        first = caller.reply().parameters
        assert first["state"] == "listening"
        if samples is not None:
            daemon.feed.play(samples)
        return [first, *caller.rest()]


def verify(daemon: DaemonProcess, name: str, samples: np.ndarray | None, **parameters: object) -> dict:
    return listen(daemon, "Verify", samples, name=name, **parameters)[-1]


def decided(caller: Caller) -> dict:
    return caller.until("decided")


def test_the_right_person_is_accepted(daemon: DaemonProcess) -> None:
    answer = verify(daemon, "Ralph", voice("verify-ralph"), nonce="n-1")
    assert (answer["state"], answer["outcome"], answer["reason"]) == ("decided", "accept", "match")
    assert (answer["name"], answer["nonce"]) == ("Ralph", "n-1")
    assert answer["score"] >= answer["threshold"]
    assert answer["margin"] > 0
    assert answer["expires"] > 0
    assert answer["net_speech"] >= answer["net_speech_needed"]
    assert answer["calibrated"] is daemon.ask("Info")["model"]["calibrated"]


def test_another_enrolled_person_is_not_accepted(daemon: DaemonProcess) -> None:
    answer = verify(daemon, "Ralph", voice("turn-08-susan"), timeout=4.0)
    assert (answer["outcome"], answer["reason"]) in {("reject", "no_match"), ("inconclusive", "unsure")}
    assert answer["score"] < answer["threshold"]
    assert answer["margin"] < 0
    assert answer["advice"]


@pytest.mark.parametrize("policy", ["monitor", "unlock"])
def test_a_stranger_is_rejected(daemon: DaemonProcess, policy: str) -> None:
    answer = verify(daemon, "Ralph", voice("verify-stranger"), timeout=4.0, policy=policy)
    assert (answer["outcome"], answer["reason"], answer["policy"]) == ("reject", "no_match", policy)


def test_the_default_policy_is_unlock(daemon: DaemonProcess) -> None:
    aims = {policy["name"]: policy["false_accepts"] for policy in daemon.ask("Status")["policies"]}
    assert aims == {"monitor": 1e-2, "unlock": 1e-3, "auth": 1e-4}
    plain, named = (verify(daemon, "Ralph", None, timeout=0, **given) for given in ({}, {"policy": "monitor"}))
    assert (plain["policy"], named["policy"]) == ("unlock", "monitor")
    assert plain["threshold"] >= named["threshold"]


def test_auth_is_refused_without_a_calibration_and_without_listening(stub_at) -> None:
    daemon = stub_at(speed=10.0)
    daemon.enroll("Ralph", takes("Ralph"))
    refused = daemon.refusal("Verify", name="Ralph", policy="auth")
    assert (refused.error, refused.parameters["policy"]) == ("PolicyNotDemonstrated", "auth")
    status = daemon.ask("Status")
    assert (status["claim"], status["windows"]["cut"]) == (None, 0)
    assert [policy["demonstrated"] for policy in status["policies"]] == [False] * 3


def test_audio_that_cannot_be_used_is_reported_with_advice(daemon: DaemonProcess) -> None:
    replies = listen(daemon, "Verify", voice("verify-ralph") * 40.0, name="Ralph", timeout=2.0)
    progress = [reply for reply in replies if reply["state"] == "progress"]
    assert {reply["reason"] for reply in progress} == {"clipped"}
    assert all(reply["advice"] and reply["net_speech"] == 0.0 for reply in progress)
    assert (replies[-1]["outcome"], replies[-1]["reason"]) == ("inconclusive", "clipped")
    assert daemon.ask("Status")["windows"]["refused"] >= len(progress)


def test_silence_is_inconclusive(daemon: DaemonProcess) -> None:
    answer = verify(daemon, "Ralph", None, timeout=0.5)
    assert (answer["outcome"], answer["reason"], answer["net_speech"]) == ("inconclusive", "no_speech", 0.0)
    assert answer["score"] is None


def test_too_little_speech_is_inconclusive(daemon: DaemonProcess) -> None:
    answer = verify(daemon, "Ralph", voice("verify-ralph")[:27_000], timeout=1.5)
    assert (answer["outcome"], answer["reason"]) == ("inconclusive", "too_little_speech")
    assert 0 < answer["net_speech"] < answer["net_speech_needed"]
    assert answer["score"] is None


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_a_timeout_that_is_over_at_once_is_inconclusive(daemon: DaemonProcess, timeout: float) -> None:
    assert verify(daemon, "Ralph", voice("verify-ralph"), timeout=timeout)["outcome"] == "inconclusive"


def test_speech_from_before_the_request_does_not_count(daemon: DaemonProcess) -> None:
    daemon.feed.play_through(voice("verify-ralph"))
    answer = verify(daemon, "Ralph", None, timeout=0.5)
    assert (answer["outcome"], answer["reason"]) == ("inconclusive", "no_speech")


def test_an_utterance_is_cut_when_a_request_begins(daemon: DaemonProcess) -> None:
    """Speech from before the request is not even in the same window as speech after it."""
    with daemon.caller() as monitor, daemon.caller() as caller:
        monitor.send("Monitor")
        monitor.events("started")
        before = daemon.feed.play_through(np.zeros(0, np.float32), 0.2)

        def next_events(kind: str) -> list[dict]:
            """The next events of this kind, without those of earlier audio that are late on a busy machine."""
            while not (found := [e for e in monitor.events(kind) if e["kind"] == kind and e["start"] > before]):
                pass
            return found

        clip = daemon.feed.play(np.concatenate([voice("ralph-1"), voice("ralph-5"), voice("ralph-2")]))
        windows = next_events("window")
        while windows[-1]["duration"] < 3.0:
            windows += next_events("window")
        caller.send("Verify", name="Ralph", timeout=1.5)
        caller.until("listening")
        daemon.feed.stop_playing()
        end = next_events("silence")[-1]["start"]
        answer = decided(caller)
    assert sum(window["quality"]["net_speech"] for window in windows) > answer["net_speech_needed"]
    assert clip.start < end < clip.start + 10.0
    assert (answer["outcome"], answer["reason"]) in {
        ("inconclusive", "no_speech"),
        ("inconclusive", "too_little_speech"),
    }


def test_somebody_who_keeps_speaking_is_heard_from_the_request_on(daemon: DaemonProcess) -> None:
    without_edges = [take[4_000:-4_000] for take in takes("Ralph")]
    with daemon.caller() as monitor, daemon.caller() as caller:
        monitor.send("Monitor")
        monitor.events("started")
        daemon.feed.play(np.concatenate(without_edges))  # without a pause
        monitor.events("window")
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        monitor.events("silence")
        assert decided(caller)["outcome"] == "accept"


def test_windows_from_before_the_request_do_not_count_even_if_they_are_embedded_after_it(stub_at) -> None:
    """As with a slow model."""
    daemon = stub_at(speed=10.0)
    daemon.enroll("Ralph", takes("Ralph"))
    before = daemon.ask("Status")["windows"]["embedded"]
    (daemon.folder / "hold-worker").touch()
    daemon.feed.play_through(voice("ralph-1"))
    daemon.feed.play_quiet(1.0)
    waiting = daemon.ask("Status")["windows"]["cut"] - before
    assert waiting >= 3
    with daemon.caller() as caller:
        caller.send("Verify", name="Ralph", timeout=1.0)
        caller.until("listening")
        (daemon.folder / "hold-worker").unlink()
        answer = decided(caller)
    assert daemon.ask("Status")["windows"]["embedded"] >= before + waiting
    assert (answer["outcome"], answer["reason"]) == ("inconclusive", "no_speech")
    assert verify(daemon, "Ralph", voice("ralph-1"))["outcome"] == "accept"


def test_windows_that_do_not_fit_into_the_queue_are_dropped_counted_and_reported(stub_at) -> None:
    daemon = stub_at({"queue": {"windows": 2}}, speed=20.0)
    with daemon.caller() as monitor:
        monitor.send("Monitor")
        monitor.events("started")
        (daemon.folder / "hold-worker").touch()
        daemon.feed.play_through(np.tile(voice("ralph-1"), 3))
        dropped = monitor.events("dropped")[-1]
        assert (dropped["detail"], dropped["count"]) == ("windows", 1)
        assert daemon.ask("Status")["queue"]["dropped"] >= 1
        assert daemon.ask("Status")["queue"]["depth"] <= daemon.ask("Status")["queue"]["capacity"] == 2
        (daemon.folder / "hold-worker").unlink()
        assert monitor.events("window")


def test_the_progress_of_a_verification_is_reported(daemon: DaemonProcess) -> None:
    replies = listen(daemon, "Verify", voice("verify-ralph"), name="Ralph", nonce="n-2")
    assert states(replies)[:3] == ["listening", "speech", "progress"]
    assert [reply["outcome"] for reply in replies[:-1]] == [None] * (len(replies) - 1)
    assert all(reply["score"] is None and reply["name"] == "Ralph" for reply in replies[:-1])
    net_speech = [reply["net_speech"] for reply in replies]
    assert net_speech == sorted(net_speech)
    assert replies[-1]["state"] == "decided"


def test_a_call_without_more_gets_only_the_decision(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller:
        caller.send("Verify", more=False, name="Ralph")
        wait_until("the daemon listens", lambda: daemon.ask("Status")["claim"] == "Verify")
        assert caller.silent(0.3)
        daemon.feed.play(voice("verify-ralph"))
        reply = caller.reply()
    assert (reply.continues, reply.parameters["outcome"], reply.parameters["nonce"]) == (False, "accept", None)


def test_the_nonce_is_returned_unchanged(daemon: DaemonProcess) -> None:
    nonce = 'ein "Nonce" \\ \u2028 \U0001f399 ' + "x" * 1000
    assert verify(daemon, "Ralph", None, timeout=0, nonce=nonce)["nonce"] == nonce


def test_the_name_is_returned_as_in_the_call(daemon: DaemonProcess) -> None:
    assert verify(daemon, "ralph", None, timeout=0)["name"] == "ralph"
    with daemon.caller() as caller:
        caller.send("Verify", name="RALPH", timeout=0)
        assert {reply["name"] for reply in caller.rest()} == {"RALPH"}


def test_a_second_caller_gets_busy_at_once(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller, daemon.caller() as other:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        assert daemon.ask("Status")["claim"] == "Verify"
        other.send("Verify", name="Susan")
        with pytest.raises(RefusedError) as refused:
            other.reply(seconds=2.0)
        assert (refused.value.error, "Verify" in refused.value.parameters["holder"]) == ("Busy", True)
        daemon.feed.play(voice("verify-ralph"))
        assert decided(caller)["outcome"] == "accept"


def test_a_client_that_disconnects_frees_the_claim(daemon: DaemonProcess) -> None:
    caller = daemon.caller()
    caller.send("Verify", name="Ralph")
    caller.until("listening")
    caller.close()
    wait_until("the claim is free", lambda: daemon.ask("Status")["claim"] is None, 2.0)
    assert verify(daemon, "Ralph", voice("verify-ralph"))["outcome"] == "accept"


def test_a_hundred_abandoned_verifications_leave_nothing_behind(daemon: DaemonProcess) -> None:
    for _ in range(100):
        with daemon.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
        wait_until("the claim is free", lambda: daemon.ask("Status")["claim"] is None, 2.0)
    status = daemon.ask("Status")
    assert (status["state"], status["monitors"]) == ("ready", 0)
    assert status["connections"] <= 3


def test_a_profile_that_is_deleted_during_the_verification_accepts_nobody(daemon: DaemonProcess) -> None:
    daemon.copy("Ralph", "Newcomer")
    with daemon.caller() as caller:
        caller.send("Verify", name="Newcomer", timeout=2.0)
        caller.until("listening")
        daemon.ask("DeleteProfile", name="Newcomer")
        daemon.feed.play(voice("ralph-5"))
        answer = decided(caller)
    assert (answer["outcome"], answer["reason"]) == ("reject", "not_enrolled")


def test_a_voice_enrolled_under_two_names_is_ambiguous(daemon: DaemonProcess) -> None:
    daemon.copy("Ralph", "Newcomer")
    answer = verify(daemon, "Ralph", voice("verify-ralph"), timeout=2.0)
    assert (answer["outcome"], answer["reason"]) == ("reject", "ambiguous")
    assert answer["score"] >= answer["threshold"]


def test_a_decision_comes_within_two_seconds_of_speech(stub_at) -> None:
    """In real time. The first decision needs 2 s of speech, which the second window contains, after 3 s."""
    daemon = stub_at(speed=1.0)
    daemon.enroll("Ralph", takes("Ralph"))
    began = time.monotonic()
    answer = verify(daemon, "Ralph", voice("ralph-1"))
    assert answer["outcome"] == "accept"
    assert time.monotonic() - began < 0.5 + 3.0 + 1.0


def test_an_enrolled_speaker_is_identified(daemon: DaemonProcess) -> None:
    replies = listen(daemon, "Identify", voice("turn-08-susan"))
    assert states(replies) == ["listening", "speech", "progress", "decided"]
    answer = replies[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("known", "Susan", "match")
    assert answer["margin"] > 0


def test_a_stranger_is_identified_as_unknown(daemon: DaemonProcess) -> None:
    answer = listen(daemon, "Identify", voice("verify-stranger"), timeout=2.0)[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("unknown", None, "no_match")
    assert answer["advice"]


def test_silence_is_undecided(daemon: DaemonProcess) -> None:
    answer = listen(daemon, "Identify", None, timeout=0.3)[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("undecided", None, "no_speech")


def test_without_enrolled_people_every_voice_is_unknown(stub_at) -> None:
    answer = listen(stub_at(speed=16.0), "Identify", voice("ralph-1"), timeout=1.5)[-1]
    assert (answer["decision"], answer["identity"], answer["reason"]) == ("unknown", None, "nobody_enrolled")
