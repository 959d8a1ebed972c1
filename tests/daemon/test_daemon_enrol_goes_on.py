"""An enrolment at the microphone that a person can follow and go on with, through the socket of the real daemon."""

from __future__ import annotations

import time

import numpy as np
import pytest
from daemon_audio import takes, voice
from daemon_caller import Caller, RefusedError
from daemon_process import DaemonProcess


@pytest.fixture(autouse=True)
def nothing_kept(daemon: DaemonProcess) -> None:
    """A reload forgets what an earlier test has left."""
    daemon.ask("Reload")


def begin(caller: Caller, **parameters: object) -> dict:
    caller.send("Enroll", name="Newcomer", **parameters)
    return caller.until("listening")


def speak_and_hang_up(daemon: DaemonProcess, *recordings: np.ndarray) -> dict:
    """Enrol until all of these takes were judged, and disconnect. Returns the last verdict."""
    assert daemon.feed is not None
    with daemon.caller() as caller:
        begin(caller, timeout=30.0)
        for recording in recordings:
            clip = daemon.feed.play(recording, pause=1.0)
            verdict = caller.until("take")
            clip.over.wait()
    daemon.await_idle()
    return verdict


def test_level_and_speech_of_the_running_take_are_shown_while_somebody_speaks(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    with daemon.caller() as caller:
        begin(caller, timeout=30.0)
        quiet = caller.until("progress")
        while quiet["level_dbfs"] is None or quiet["level_dbfs"] > -60.0:  # the end of an earlier test's audio
            quiet = caller.until("progress")
        began = time.monotonic()
        daemon.feed.play(voice("ralph-1"))
        caller.until("speech")
        shown = []
        while (reply := caller.until("progress", "take"))["state"] == "progress":
            shown.append(reply)
        seconds = time.monotonic() - began
        after = caller.until("progress")
    assert quiet["heard"] == after["heard"] == 0.0
    assert max(reply["level_dbfs"] for reply in shown) > -40.0
    heard = [reply["heard"] for reply in shown]
    assert heard == sorted(heard)
    assert heard[-1] > 1.0
    assert 0.0 < shown[-1]["remaining"] < quiet["remaining"] <= 30.0
    assert len(shown) <= seconds / 0.25 + 1
    assert {reply["net_speech"] for reply in shown} == {0.0}, "only a judged take counts"


def test_the_time_goes_on_while_takes_are_accepted(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    with daemon.caller() as caller:
        begin(caller, timeout=2.0)
        began = time.monotonic()
        daemon.feed.play(voice("ralph-1"))
        first = caller.until("take")
        remaining = caller.until("progress")["remaining"]
        while time.monotonic() - began < 2.5:  # past the time that was asked for
            caller.until("progress")
        for recording in takes("Ralph")[1:]:
            daemon.feed.play(recording, pause=1.0)
        replies = caller.rest()
    assert first["accepted"] is True
    assert remaining > 2.0
    assert replies[-1]["state"] == "done"


def test_an_utterance_is_not_cut_when_the_time_is_up(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    long = np.concatenate(takes("Ralph"))
    with daemon.caller() as caller:
        begin(caller, timeout=0.5)
        daemon.feed.play(long)  # one and a half seconds and more at this speed
        replies = caller.rest()
    assert replies[-1]["state"] == "done"


def test_the_next_try_goes_on_from_what_was_accepted(daemon: DaemonProcess) -> None:
    assert daemon.feed is not None
    ralph = takes("Ralph")
    with daemon.caller() as caller:
        begin(caller, timeout=1.5)
        daemon.feed.play(ralph[0])
        verdict = caller.until("take")
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert verdict["accepted"] is True
    assert refused.value.error == "EnrolmentIncomplete"
    assert "kept for 15 minutes" in refused.value.parameters["detail"]
    assert "Newcomer" not in daemon.names()
    with daemon.caller() as caller:
        first = begin(caller)
        for recording in ralph[1:]:
            daemon.feed.play(recording, pause=1.0)
        replies = caller.rest()
    assert first["continued"] == first["net_speech"] == verdict["net_speech"] > 3.0
    assert first["exemplars"] == verdict["exemplars"] >= 1
    assert replies[-1]["state"] == "done"
    exemplars = replies[-1]["profile"]["exemplar_list"]
    assert len(exemplars) == replies[-1]["exemplars"] > first["exemplars"]
    assert all(exemplar["agreement"] > 0.5 for exemplar in exemplars)


def test_a_try_that_goes_on_and_fails_again_keeps_both(daemon: DaemonProcess) -> None:
    first = speak_and_hang_up(daemon, voice("ralph-1"))
    with daemon.caller() as caller:
        assert begin(caller)["continued"] == first["net_speech"]
    daemon.await_idle()
    second = speak_and_hang_up(daemon, voice("ralph-2")[:48_000])
    with daemon.caller() as caller:
        assert begin(caller)["continued"] == second["net_speech"] > first["net_speech"] + 1.0


def test_another_person_who_goes_on_with_kept_takes_is_refused(daemon: DaemonProcess) -> None:
    kept = speak_and_hang_up(daemon, voice("ralph-1"))
    verdict = speak_and_hang_up(daemon, voice("susan-1"))
    assert (verdict["accepted"], verdict["reason"]) == (False, "different_voice")
    assert verdict["net_speech"] == kept["net_speech"]
    assert "Newcomer" not in daemon.names()


@pytest.mark.parametrize("change", [{"fresh": True}, {"condition": "headset"}, {"mode": "replace"}])
def test_a_fresh_or_different_try_begins_with_nothing(daemon: DaemonProcess, change: dict) -> None:
    speak_and_hang_up(daemon, voice("ralph-1"))
    with daemon.caller() as caller:
        first = begin(caller, **change)
        assert (first["continued"], first["net_speech"], first["exemplars"]) == (None, 0.0, 0)


def test_recordings_are_not_kept_because_they_would_count_twice(daemon: DaemonProcess) -> None:
    with pytest.raises(RefusedError, match="EnrolmentIncomplete"):
        daemon.enroll("Newcomer", takes("Ralph")[:1])
    with daemon.caller() as caller:
        assert begin(caller)["continued"] is None


@pytest.mark.parametrize("change", ["a reload", "a deletion"])
def test_a_change_forgets_kept_takes(daemon: DaemonProcess, change: str) -> None:
    speak_and_hang_up(daemon, voice("ralph-1"))
    with daemon.caller() as caller:
        assert begin(caller)["continued"] > 0
    daemon.await_idle()
    if change == "a reload":
        daemon.ask("Reload")
    else:
        daemon.copy("Ralph", "Newcomer")
        daemon.ask("DeleteProfile", name="Newcomer")
    with daemon.caller() as caller:
        assert begin(caller)["continued"] is None


def test_an_exemplar_can_be_dropped_by_its_number(daemon: DaemonProcess) -> None:
    before = daemon.copy("Ralph", "Newcomer")
    listed = before["exemplar_list"]
    assert len(listed) == before["exemplars"]
    assert all(entry["agreement"] > 0.5 and entry["net_speech"] > 1.0 for entry in listed)
    left = daemon.ask("DropExemplar", name="Newcomer", exemplar=2, generation=before["generation"])["profile"]
    assert left["exemplars"] == before["exemplars"] - 1
    assert [entry["net_speech"] for entry in left["exemplar_list"]] == [
        entry["net_speech"] for number, entry in enumerate(listed, 1) if number != 2
    ]
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == left
    stale = daemon.refusal("DropExemplar", name="Newcomer", exemplar=2, generation=before["generation"])
    assert stale.error == "StorageFailed"
    assert "numbered anew" in stale.parameters["detail"]
    wrong = daemon.refusal("DropExemplar", name="Newcomer", exemplar=99, generation=left["generation"])
    assert "has no exemplar 99" in wrong.parameters["detail"]
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == left


def test_the_last_exemplar_stays(daemon: DaemonProcess) -> None:
    profile = daemon.copy("Ralph", "Newcomer")
    while profile["exemplars"] > 1:
        profile = daemon.ask("DropExemplar", name="Newcomer", exemplar=1, generation=profile["generation"])["profile"]
    refused = daemon.refusal("DropExemplar", name="Newcomer", exemplar=1, generation=profile["generation"])
    assert "the only exemplar" in refused.parameters["detail"]
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == profile


def test_what_was_dropped_during_an_enrolment_does_not_come_back(daemon: DaemonProcess) -> None:
    before = daemon.copy("Ralph", "Newcomer")
    with daemon.caller() as caller:
        claim = daemon.begin_recordings(caller, name="Newcomer", mode="add")
        left = daemon.ask("DropExemplar", name="Newcomer", exemplar=1, generation=before["generation"])["profile"]
        daemon.send_recordings(claim, [voice("verify-ralph")])
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, "changed meanwhile" in refused.value.parameters["detail"]) == ("StorageFailed", True)
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == left
