"""One voice, one name, in the whole daemon and with the real model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon_box import Box
from daemon_caller import RefusedError
from daemon_room import takes, voice


@pytest.fixture
def strict(box: Box) -> Iterator[Box]:
    """The shared daemon, which now refuses a voice that has another name."""
    box.configure({"enroll": {**box.settings["enroll"], "refuse_duplicates": True}})
    box.ask("Reload")
    yield box
    box.configure({})
    box.ask("Reload")


def test_who_is_enrolled_cannot_be_enrolled_under_another_name(strict: Box) -> None:
    with pytest.raises(RefusedError) as refused:
        strict.enroll("Newcomer", [voice("ralph-3"), voice("ralph-4"), voice("verify-ralph")])
    assert (refused.value.error, refused.value.parameters["name"]) == ("VoiceEnrolled", "Ralph")
    assert strict.names() == ["Ralph", "Susan"]


def test_who_is_enrolled_can_add_and_start_over(strict: Box) -> None:
    """And leaves everything as it was: the same recordings are enrolled again."""
    assert strict.enroll("Ralph", [voice("verify-ralph")], mode="add", condition="headset")[-1]["state"] == "done"
    assert strict.enroll("Ralph", takes("Ralph"), mode="replace")[-1]["state"] == "done"


def test_a_profile_is_rated_by_what_it_holds(box: Box) -> None:
    """Three takes with 14 s of speech are less than an enrolment asks for by default."""
    rating = box.ask("ShowProfile", name="Ralph")["profile"]["rating"]
    assert rating["grade"] == "fair"
    assert rating["agreement"] > 0.5
    assert "s of speech" in rating["advice"][0]
