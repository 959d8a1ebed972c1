"""Faults of the model, the comparison and the worker while the owner speaks."""

from __future__ import annotations

import pytest
from faults_stub import MODEL, PROFILES, SCORES
from faulty_daemon import VOICE_FIRST, FaultyDaemon, slow_except

QUICK = {"raises", "NaN", "one NaN", "infinity", "zeros", "a dimension too few", "no embedding", "complex"}
"""The cases that are not slow."""

REASONS = {
    "NaN scores": {"unusable_score"},
    "infinite scores": {"unusable_score"},
    "the lowest scores": {"no_match"},
    "no scores": {"not_enrolled"},
    "each score twice": {"not_enrolled"},
    "somebody else's scores": {"not_enrolled"},
    "an empty profile": {"unusable_score"},
}


def test_the_owner_is_accepted_while_nothing_is_broken(faulty: FaultyDaemon) -> None:
    faulty.accepts_the_owner()


@pytest.mark.parametrize("what", slow_except(MODEL, QUICK))
def test_a_model_without_a_valid_embedding_accepts_nobody(faulty: FaultyDaemon, what: str) -> None:
    with faulty.broken(what):
        # The attempts end with the first window; the long timeout is for a busy machine.
        found = faulty.accepts_nobody(f"the model: {what}", found=faulty.attempts(timeout=5.0))
    assert {one.message for one in found if one.way != "PAM"} == {"embedding_failed"}


@pytest.mark.parametrize("what", slow_except(SCORES, {"NaN scores", "no scores"}))
def test_a_comparison_without_a_valid_score_accepts_nobody(faulty: FaultyDaemon, what: str) -> None:
    with faulty.broken(what):
        found = faulty.accepts_nobody(f"the comparison: {what}")
    if what in REASONS:
        assert {one.message for one in found if one.way != "PAM"} == REASONS[what]


@pytest.mark.parametrize("what", PROFILES)
def test_a_profile_without_a_valid_voice_accepts_nobody(faulty: FaultyDaemon, what: str) -> None:
    """Even if the store returned one; its own checks are tested in test_faults_profiles.py."""
    with faulty.broken(what):
        faulty.try_to_reload()
        faulty.accepts_nobody(f"the store: {what}")
    faulty.reload()


def test_the_password_is_asked_for_when_the_model_is_broken(faulty: FaultyDaemon) -> None:
    with faulty.broken("raises"):
        faulty.falls_through_to_the_password()
        wrong = faulty.by_pam(service=VOICE_FIRST, typed="not the password\n")
    assert not wrong.accepted
    assert "Password:" in wrong.message


def test_a_model_that_hangs_accepts_nobody_and_the_password_is_asked_for(faulty: FaultyDaemon) -> None:
    with faulty.held("worker"):
        found = faulty.accepts_nobody("the worker hangs", found=[faulty.by_socket(), faulty.by_client()])
        faulty.falls_through_to_the_password()
    assert {one.message for one in found} == {"no_speech"}


@pytest.mark.slow
def test_a_model_that_hangs_accepts_nobody_by_the_voice_alone(faulty: FaultyDaemon) -> None:
    with faulty.held("worker"):
        faulty.accepts_nobody("the worker hangs")
