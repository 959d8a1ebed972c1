"""Refusing to enrol one voice under two names, in the whole daemon with the real model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon_audio import takes, voice
from daemon_caller import RefusedError
from daemon_process import DaemonProcess


@pytest.fixture
def strict(daemon: DaemonProcess) -> Iterator[DaemonProcess]:
    """The shared daemon, with `enroll.refuse_duplicates`."""
    daemon.configure({"enroll": {**daemon.settings["enroll"], "refuse_duplicates": True}})
    daemon.ask("Reload")
    yield daemon
    daemon.configure({})
    daemon.ask("Reload")


def test_an_enrolled_voice_cannot_be_enrolled_under_another_name(strict: DaemonProcess) -> None:
    with pytest.raises(RefusedError) as refused:
        strict.enroll("Newcomer", [voice("ralph-3"), voice("ralph-4"), voice("verify-ralph")])
    assert (refused.value.error, refused.value.parameters["name"]) == ("VoiceEnrolled", "Ralph")
    assert strict.names() == ["Ralph", "Susan"]


def test_an_enrolled_person_can_add_recordings_and_replace_the_profile(strict: DaemonProcess) -> None:
    """The last step enrols the original recordings again, so that the shared daemon is unchanged."""
    assert strict.enroll("Ralph", [voice("verify-ralph")], mode="add", condition="headset")[-1]["state"] == "done"
    assert strict.enroll("Ralph", takes("Ralph"), mode="replace")[-1]["state"] == "done"


def test_the_rating_of_a_profile_depends_on_its_amount_of_speech(daemon: DaemonProcess) -> None:
    """Three takes with 14 s of speech are less than an enrolment requires by default."""
    rating = daemon.ask("ShowProfile", name="Ralph")["profile"]["rating"]
    assert rating["grade"] == "fair"
    assert rating["agreement"] > 0.5
    assert "s of speech" in rating["advice"][0]
