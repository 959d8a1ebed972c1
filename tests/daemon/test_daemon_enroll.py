"""Enrolment through the socket, from recordings and from the microphone, and all ways in which it can fail."""

from __future__ import annotations

import base64
import functools

import numpy as np
import pytest
from daemon_audio import noisy, quiet, takes, voice
from daemon_caller import Caller, RefusedError, states
from daemon_process import DaemonProcess
from waiting import wait_until


def files(daemon: DaemonProcess) -> set[str]:
    return {entry.name for entry in daemon.profiles.iterdir() if not entry.name.startswith(".lock")}


def verdicts(replies: list[dict]) -> list[tuple[bool, str | None]]:
    return [(reply["accepted"], reply["reason"]) for reply in replies if reply["state"] == "take"]


def send_many(sender: Caller, count: int, claim: str, piece: str) -> None:
    """Send the same piece `count` times."""
    for _ in range(count):
        sender.ask("SendAudio", claim=claim, pcm=piece)


def test_recordings_become_a_profile(daemon: DaemonProcess) -> None:
    replies = daemon.enroll("Newcomer", takes("Ralph"), condition="headset")
    assert states(replies) == ["take", "done"]
    assert verdicts(replies) == [(True, None)] * 3
    profile = replies[-1]["profile"]
    assert (profile["name"], profile["usable"], profile["conditions"]) == ("Newcomer", True, ["headset"])
    assert profile["exemplars"] == replies[-1]["exemplars"] >= replies[-1]["exemplars_needed"]
    assert profile["net_speech"] >= replies[-1]["net_speech_needed"]
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == profile
    assert "Newcomer.profile" in files(daemon)
    assert (daemon.profiles / "Newcomer.profile").stat().st_mode & 0o777 == 0o600


def test_a_call_without_more_times_out(daemon: DaemonProcess) -> None:
    """Without `more` the caller does not get the claim, so no recordings can be sent."""
    refused = daemon.refusal("Enroll", name="Newcomer", source="recordings", timeout=0.2)
    assert (refused.error, refused.parameters["reason"]) == ("EnrolmentIncomplete", "timeout")


@pytest.mark.parametrize(
    ("take", "reason"),
    [
        (voice("ralph-1")[:12_000], "too_short"),
        (np.zeros(0, np.float32), "too_short"),
        (np.zeros(48_000, np.float32), "too_short"),
        (quiet(3.0), "too_short"),
        (voice("ralph-1") * 0.03, "too_quiet"),
        (voice("ralph-1") * 40.0, "clipped"),
        (noisy(voice("ralph-1"), 0.0), "noisy"),
        (np.concatenate([voice("ralph-2"), voice("susan-2")]), "not_one_voice"),
    ],
    ids=["too short", "empty", "silent", "room tone", "too quiet", "clipped", "noisy", "two voices"],
)
def test_a_bad_take_is_refused_with_its_reason_and_advice(daemon: DaemonProcess, take: np.ndarray, reason: str) -> None:
    with daemon.caller() as caller:
        claim = daemon.begin_recordings(caller, name="Newcomer")
        daemon.send_recordings(claim, [take], last="take")
        reply = caller.until("take")
        assert (reply["accepted"], reply["reason"]) == (False, reason)
        assert reply["advice"]
        assert (reply["exemplars"], reply["net_speech"]) == (0, 0.0)
        daemon.send_recordings(claim, [voice("ralph-1")[:40_000]])
        assert caller.until("take")["accepted"] is True
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, refused.value.parameters["reason"]) == ("EnrolmentIncomplete", "not_enough_speech")
    assert reason in refused.value.parameters["detail"]
    assert "Newcomer" not in daemon.names()


def test_another_voice_among_the_takes_is_refused(daemon: DaemonProcess) -> None:
    replies = daemon.enroll("Newcomer", [*takes("Ralph"), voice("susan-1")])
    assert verdicts(replies) == [(True, None)] * 3 + [(False, "different_voice")]
    assert replies[-1]["state"] == "done"


def test_a_name_that_is_taken_is_refused_at_once(daemon: DaemonProcess) -> None:
    for name in ("Ralph", "RALPH"):
        assert daemon.refusal("Enroll", name=name, source="recordings").error == "AlreadyEnrolled"


def test_an_invalid_name_is_refused(daemon: DaemonProcess) -> None:
    for name in ("", "../x", "x" * 65, ".hidden", "a\x00b", "two  spaces"):
        refused = daemon.refusal("Enroll", name=name, source="recordings")
        assert (refused.error, refused.parameters["name"]) == ("InvalidName", name)
        assert refused.parameters["detail"]


def test_a_name_in_another_script_is_allowed(daemon: DaemonProcess) -> None:
    assert daemon.enroll("Ирина 3", takes("Ralph"))[-1]["profile"]["name"] == "Ирина 3"


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [({"mode": "append"}, "mode"), ({"condition": "a/b"}, "condition"), ({"timeout": "soon"}, "timeout")],
)
def test_an_invalid_parameter_is_named(daemon: DaemonProcess, parameters: dict, wrong: str) -> None:
    refused = daemon.refusal("Enroll", name="Newcomer", source="recordings", **parameters)
    assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": wrong})


def test_adding_to_an_unknown_profile_is_refused(daemon: DaemonProcess) -> None:
    assert daemon.refusal("Enroll", name="Newcomer", source="recordings", mode="add").error == "NotEnrolled"


def test_adding_keeps_the_old_exemplars(daemon: DaemonProcess) -> None:
    before = daemon.copy("Ralph", "Newcomer")
    after = daemon.enroll("Newcomer", [voice("verify-ralph")], mode="add", condition="far-field")[-1]["profile"]
    assert after["exemplars"] > before["exemplars"]
    assert after["net_speech"] > before["net_speech"]
    assert after["conditions"] == ["default", "far-field"]


def test_adding_another_voice_is_refused_and_changes_nothing(daemon: DaemonProcess) -> None:
    before = daemon.copy("Ralph", "Newcomer")
    with pytest.raises(RefusedError) as refused:
        daemon.enroll("Newcomer", [voice("susan-1")], mode="add")
    assert "different_voice" in refused.value.parameters["detail"]
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == before


def test_replacing_keeps_the_old_profile_until_the_new_one_is_complete(daemon: DaemonProcess) -> None:
    before = daemon.copy("Ralph", "Newcomer")
    content = (daemon.profiles / "Newcomer.profile").read_bytes()
    with daemon.caller() as caller:
        claim = daemon.begin_recordings(caller, name="Newcomer", mode="replace")
        daemon.send_recordings(claim, takes("Susan")[:2], last="take")
        for _ in range(2):
            assert caller.until("take")["accepted"] is True
        assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == before
        assert (daemon.profiles / "Newcomer.profile").read_bytes() == content
        daemon.send_recordings(claim, takes("Susan")[2:])
        assert caller.rest()[-1]["state"] == "done"
    assert (daemon.profiles / "Newcomer.profile").read_bytes() != content


def test_an_incomplete_replacement_leaves_the_old_profile(daemon: DaemonProcess) -> None:
    before = daemon.copy("Ralph", "Newcomer")
    content = (daemon.profiles / "Newcomer.profile").read_bytes()
    with pytest.raises(RefusedError, match="EnrolmentIncomplete"):
        daemon.enroll("Newcomer", takes("Susan")[:1], mode="replace")
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == before
    assert (daemon.profiles / "Newcomer.profile").read_bytes() == content


def test_a_client_that_disconnects_during_enrolment_leaves_nothing_and_frees_the_claim(daemon: DaemonProcess) -> None:
    before = files(daemon)
    caller = daemon.caller()
    claim = daemon.begin_recordings(caller, name="Newcomer")
    daemon.send_recordings(claim, takes("Ralph"), last="take")
    caller.close()
    wait_until("the claim is free", lambda: daemon.ask("Status")["claim"] is None)
    refused = daemon.refusal("SendAudio", claim=claim, pcm="", end="all")
    assert refused.parameters == {"parameter": "claim"}
    assert files(daemon) == before
    assert "Newcomer" not in daemon.names()


def test_a_waiting_sender_gets_an_error_when_the_enrolment_ends(stub_at) -> None:
    """The queue is bounded, so a sender waits while a recording is judged; it must not wait for ever."""
    daemon = stub_at()
    caller, sender = daemon.caller(), daemon.caller()
    claim = daemon.begin_recordings(caller, name="Newcomer")
    (daemon.folder / "hold-worker").touch()
    daemon.send_recordings(claim, [voice("ralph-1")], last="take")
    send_one = functools.partial(sender.send, "SendAudio", more=False, claim=claim, pcm="AAA=")
    send_one()
    sent = 1
    while not sender.silent(0.3):
        assert sender.reply().parameters == {}
        send_one()
        sent += 1
    assert 2 < sent < 100
    caller.close()
    with sender, pytest.raises(RefusedError) as refused:
        sender.reply()
    assert refused.value.parameters == {"parameter": "claim"}
    assert daemon.ask("Status")["claim"] is None


def test_other_callers_get_busy_at_once(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller:
        daemon.begin_recordings(caller, name="Newcomer")
        for method, parameters in (
            ("Enroll", {"name": "Another", "source": "recordings"}),
            ("Verify", {"name": "Ralph"}),
            ("Identify", {}),
        ):
            with daemon.caller() as other:
                other.send(method, more=False, **parameters)
                with pytest.raises(RefusedError) as refused:
                    other.reply(seconds=2.0)
            assert refused.value.error == "Busy"
            assert "Enroll" in refused.value.parameters["holder"]
        assert daemon.ask("Status")["claim"] == "Enroll"


def test_a_wrong_claim_is_refused(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller:
        daemon.begin_recordings(caller, name="Newcomer")
        for claim in ("", "wrong", "ü" * 30):
            refused = daemon.refusal("SendAudio", claim=claim, pcm="", end="all")
            assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": "claim"})
        assert daemon.ask("Status")["claim"] == "Enroll"


INVALID_PCM = {
    "half a sample": base64.b64encode(b"\0").decode(),
    "too long": base64.b64encode(bytes(32 * 1024 + 2)).decode(),
    "torn": "AAA",
    "other letters": "no base64!",
    "line end": "AAAA\n",
    "umlauts": "ÄÄÄÄ",
}


def test_audio_that_is_not_pcm_is_refused_and_the_enrolment_continues(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller:
        claim = daemon.begin_recordings(caller, name="Newcomer")
        for what, pcm in INVALID_PCM.items():
            refused = daemon.refusal("SendAudio", claim=claim, pcm=pcm)
            assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": "pcm"}), what
        daemon.send_recordings(claim, [voice("ralph-1")[:40_000]], last="take")
        assert caller.until("take")["accepted"] is True


def test_an_endless_recording_is_refused(daemon: DaemonProcess) -> None:
    with daemon.caller() as caller, daemon.caller() as sender:
        claim = daemon.begin_recordings(caller, name="Newcomer")
        piece = base64.b64encode(bytes(32 * 1024)).decode()
        with pytest.raises(RefusedError):
            send_many(sender, 400, claim, piece)
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, refused.value.parameters["reason"]) == ("EnrolmentIncomplete", "too_long")


def test_speech_at_the_microphone_becomes_a_profile(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    with daemon.caller() as caller:
        caller.send("Enroll", name="Newcomer", source="microphone")
        first = caller.reply().parameters
        assert (first["state"], first["claim"], first["exemplars"]) == ("listening", None, 0)
        for take in takes("Ralph"):
            daemon.feed.play(take, pause=1.0)
        replies = caller.rest()
    assert replies[-1]["state"] == "done"
    assert replies[-1]["profile"]["net_speech"] >= replies[-1]["net_speech_needed"]
    assert {"speech", "take"} <= set(states(replies))
    assert verdicts(replies).count((True, None)) >= 2
    assert [reply["net_speech"] for reply in replies] == sorted(reply["net_speech"] for reply in replies)


def test_an_enrolment_from_the_microphone_times_out(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    with daemon.caller() as caller:
        caller.send("Enroll", name="Newcomer", timeout=1.5)
        caller.until("listening")
        daemon.feed.play(voice("ralph-1"))
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, refused.value.parameters["reason"]) == ("EnrolmentIncomplete", "not_enough_speech")
    assert "Newcomer" not in daemon.names()


def test_a_short_utterance_between_the_takes_is_refused(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    with daemon.caller() as caller:
        caller.send("Enroll", name="Newcomer")
        caller.until("listening")
        daemon.feed.play(voice("ralph-1")[4_000:14_000])
        reply = caller.until("take")
        assert (reply["accepted"], reply["reason"]) == (False, "too_short")
        daemon.feed.play(voice("ralph-2"))
        assert caller.until("take")["accepted"] is True
