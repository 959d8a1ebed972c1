"""Enrolment through the socket: from recordings, from what is heard, and every way that it can end badly."""

from __future__ import annotations

import base64
import functools

import numpy as np
import pytest
from daemon_box import Box, wait_until
from daemon_caller import Caller, RefusedError, states
from daemon_room import noisy, quiet, takes, voice


def files(box: Box) -> set[str]:
    return {entry.name for entry in box.profiles.iterdir() if not entry.name.startswith(".lock")}


def verdicts(replies: list[dict]) -> list[tuple[bool, str | None]]:
    return [(reply["accepted"], reply["reason"]) for reply in replies if reply["state"] == "take"]


def send_many(sender: Caller, count: int, claim: str, piece: str) -> None:
    """Sends the same piece so often."""
    for _ in range(count):
        sender.ask("SendAudio", claim=claim, pcm=piece)


def test_recordings_become_a_profile(box: Box) -> None:
    replies = box.enroll("Newcomer", takes("Ralph"), condition="headset")
    assert states(replies) == ["take", "done"]
    assert verdicts(replies) == [(True, None)] * 3
    profile = replies[-1]["profile"]
    assert (profile["name"], profile["usable"], profile["conditions"]) == ("Newcomer", True, ["headset"])
    assert profile["exemplars"] == replies[-1]["exemplars"] >= replies[-1]["exemplars_needed"]
    assert profile["net_speech"] >= replies[-1]["net_speech_needed"]
    assert box.ask("ShowProfile", name="Newcomer")["profile"] == profile
    assert "Newcomer.profile" in files(box)
    assert (box.profiles / "Newcomer.profile").stat().st_mode & 0o777 == 0o600


def test_a_caller_who_wants_one_answer_gets_the_last_one(box: Box) -> None:
    """Without `more` the claim never comes, so nobody can send recordings: it waits, and gives up in time."""
    refused = box.refusal("Enroll", name="Newcomer", source="recordings", timeout=0.2)
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
def test_a_bad_take_is_refused_with_its_reason_and_advice(box: Box, take: np.ndarray, reason: str) -> None:
    with box.caller() as caller:
        claim = box.begin_recordings(caller, name="Newcomer")
        box.send_recordings(claim, [take], last="take")
        reply = caller.until("take")
        assert (reply["accepted"], reply["reason"]) == (False, reason)
        assert reply["advice"]
        assert (reply["exemplars"], reply["net_speech"]) == (0, 0.0)
        box.send_recordings(claim, [voice("ralph-1")[:40_000]])
        assert caller.until("take")["accepted"] is True
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, refused.value.parameters["reason"]) == ("EnrolmentIncomplete", "not_enough_speech")
    assert reason in refused.value.parameters["detail"]
    assert "Newcomer" not in box.names()


def test_another_voice_among_the_takes_is_refused(box: Box) -> None:
    replies = box.enroll("Newcomer", [*takes("Ralph"), voice("susan-1")])
    assert verdicts(replies) == [(True, None)] * 3 + [(False, "different_voice")]
    assert replies[-1]["state"] == "done"


@pytest.mark.parametrize("name", ["Ralph", "RALPH"])
def test_a_name_that_is_taken_is_refused_at_once(box: Box, name: str) -> None:
    assert box.refusal("Enroll", name=name, source="recordings").error == "AlreadyEnrolled"


@pytest.mark.parametrize("name", ["", "../x", "x" * 65, ".hidden", "a\x00b", "two  spaces"])
def test_a_name_that_nobody_can_have_is_refused(box: Box, name: str) -> None:
    refused = box.refusal("Enroll", name=name, source="recordings")
    assert (refused.error, refused.parameters["name"]) == ("InvalidName", name)
    assert refused.parameters["detail"]


def test_a_name_in_another_script_is_welcome(box: Box) -> None:
    assert box.enroll("Ирина 3", takes("Ralph"))[-1]["profile"]["name"] == "Ирина 3"


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [({"mode": "append"}, "mode"), ({"condition": "a/b"}, "condition"), ({"timeout": "soon"}, "timeout")],
)
def test_a_parameter_that_makes_no_sense_is_named(box: Box, parameters: dict, wrong: str) -> None:
    refused = box.refusal("Enroll", name="Newcomer", source="recordings", **parameters)
    assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": wrong})


def test_nobody_can_be_added_to_who_is_not_there(box: Box) -> None:
    assert box.refusal("Enroll", name="Newcomer", source="recordings", mode="add").error == "NotEnrolled"


def test_adding_keeps_what_was_there(box: Box) -> None:
    before = box.copy("Ralph", "Newcomer")
    after = box.enroll("Newcomer", [voice("verify-ralph")], mode="add", condition="far-field")[-1]["profile"]
    assert after["exemplars"] > before["exemplars"]
    assert after["net_speech"] > before["net_speech"]
    assert after["conditions"] == ["default", "far-field"]


def test_adding_another_voice_is_refused_and_changes_nothing(box: Box) -> None:
    before = box.copy("Ralph", "Newcomer")
    with pytest.raises(RefusedError) as refused:
        box.enroll("Newcomer", [voice("susan-1")], mode="add")
    assert "different_voice" in refused.value.parameters["detail"]
    assert box.ask("ShowProfile", name="Newcomer")["profile"] == before


def test_replacing_keeps_the_old_profile_until_the_new_one_is_whole(box: Box) -> None:
    before = box.copy("Ralph", "Newcomer")
    content = (box.profiles / "Newcomer.profile").read_bytes()
    with box.caller() as caller:
        claim = box.begin_recordings(caller, name="Newcomer", mode="replace")
        box.send_recordings(claim, takes("Susan")[:2], last="take")
        for _ in range(2):
            assert caller.until("take")["accepted"] is True
        assert box.ask("ShowProfile", name="Newcomer")["profile"] == before
        assert (box.profiles / "Newcomer.profile").read_bytes() == content
        box.send_recordings(claim, takes("Susan")[2:])
        assert caller.rest()[-1]["state"] == "done"
    assert (box.profiles / "Newcomer.profile").read_bytes() != content


def test_a_replacement_that_comes_to_nothing_leaves_the_old_profile(box: Box) -> None:
    before = box.copy("Ralph", "Newcomer")
    content = (box.profiles / "Newcomer.profile").read_bytes()
    with pytest.raises(RefusedError, match="EnrolmentIncomplete"):
        box.enroll("Newcomer", takes("Susan")[:1], mode="replace")
    assert box.ask("ShowProfile", name="Newcomer")["profile"] == before
    assert (box.profiles / "Newcomer.profile").read_bytes() == content


def test_a_client_that_disconnects_in_the_middle_leaves_nothing_and_frees_the_claim(box: Box) -> None:
    before = files(box)
    caller = box.caller()
    claim = box.begin_recordings(caller, name="Newcomer")
    box.send_recordings(claim, takes("Ralph"), last="take")
    caller.close()
    wait_until("the claim is free", lambda: box.ask("Status")["claim"] is None)
    refused = box.refusal("SendAudio", claim=claim, pcm="", end="all")
    assert refused.parameters == {"parameter": "claim"}
    assert files(box) == before
    assert "Newcomer" not in box.names()


def test_a_sender_who_waits_for_room_is_told_when_the_enrolment_is_gone(stub_at) -> None:
    """What waits is bounded, so a sender waits while a recording is judged; it must not wait for ever."""
    box = stub_at()
    caller, sender = box.caller(), box.caller()
    claim = box.begin_recordings(caller, name="Newcomer")
    (box.folder / "hold-worker").touch()
    box.send_recordings(claim, [voice("ralph-1")], last="take")
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
    assert box.ask("Status")["claim"] is None


def test_a_second_caller_is_told_at_once_that_somebody_enrols(box: Box) -> None:
    with box.caller() as caller:
        box.begin_recordings(caller, name="Newcomer")
        for method, parameters in (
            ("Enroll", {"name": "Another", "source": "recordings"}),
            ("Verify", {"name": "Ralph"}),
            ("Identify", {}),
        ):
            with box.caller() as other:
                other.send(method, more=False, **parameters)
                with pytest.raises(RefusedError) as refused:
                    other.reply(seconds=2.0)
            assert refused.value.error == "Busy"
            assert "Enroll" in refused.value.parameters["holder"]
        assert box.ask("Status")["claim"] == "Enroll"


@pytest.mark.parametrize("claim", ["", "wrong", "ü" * 30])
def test_a_wrong_claim_is_refused(box: Box, claim: str) -> None:
    with box.caller() as caller:
        box.begin_recordings(caller, name="Newcomer")
        refused = box.refusal("SendAudio", claim=claim, pcm="", end="all")
        assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": "claim"})
        assert box.ask("Status")["claim"] == "Enroll"


@pytest.mark.parametrize(
    "pcm",
    [
        base64.b64encode(b"\0").decode(),
        base64.b64encode(bytes(32 * 1024 + 2)).decode(),
        "AAA",
        "no base64!",
        "AAAA\n",
        "ÄÄÄÄ",
    ],
    ids=["half a sample", "too long", "torn", "other letters", "line end", "umlauts"],
)
def test_sound_that_is_no_pcm_is_refused_and_the_enrolment_goes_on(box: Box, pcm: str) -> None:
    with box.caller() as caller:
        claim = box.begin_recordings(caller, name="Newcomer")
        refused = box.refusal("SendAudio", claim=claim, pcm=pcm)
        assert (refused.error, refused.parameters) == ("InvalidParameter", {"parameter": "pcm"})
        box.send_recordings(claim, [voice("ralph-1")[:40_000]], last="take")
        assert caller.until("take")["accepted"] is True


def test_a_recording_without_end_is_cut_off(box: Box) -> None:
    with box.caller() as caller, box.caller() as sender:
        claim = box.begin_recordings(caller, name="Newcomer")
        piece = base64.b64encode(bytes(32 * 1024)).decode()
        with pytest.raises(RefusedError):
            send_many(sender, 400, claim, piece)
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, refused.value.parameters["reason"]) == ("EnrolmentIncomplete", "too_long")


def test_what_is_heard_becomes_a_profile(box: Box) -> None:
    assert box.room is not None
    with box.caller() as caller:
        caller.send("Enroll", name="Newcomer", source="microphone")
        first = caller.reply().parameters
        assert (first["state"], first["claim"], first["exemplars"]) == ("listening", None, 0)
        for take in takes("Ralph"):
            box.room.play(take, pause=1.0)
        replies = caller.rest()
    assert replies[-1]["state"] == "done"
    assert replies[-1]["profile"]["net_speech"] >= replies[-1]["net_speech_needed"]
    assert {"speech", "take"} <= set(states(replies))
    assert verdicts(replies).count((True, None)) >= 2
    assert [reply["net_speech"] for reply in replies] == sorted(reply["net_speech"] for reply in replies)


def test_an_enrolment_from_what_is_heard_gives_up_in_time(box: Box) -> None:
    assert box.room is not None
    with box.caller() as caller:
        caller.send("Enroll", name="Newcomer", timeout=2.5)
        caller.until("listening")
        box.room.play(voice("ralph-1"))
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, refused.value.parameters["reason"]) == ("EnrolmentIncomplete", "not_enough_speech")
    assert "Newcomer" not in box.names()


def test_a_cough_between_the_takes_is_refused_as_too_short(box: Box) -> None:
    assert box.room is not None
    with box.caller() as caller:
        caller.send("Enroll", name="Newcomer")
        caller.until("listening")
        box.room.play(voice("ralph-1")[4_000:14_000])
        reply = caller.until("take")
        assert (reply["accepted"], reply["reason"]) == (False, "too_short")
        box.room.play(voice("ralph-2"))
        assert caller.until("take")["accepted"] is True
