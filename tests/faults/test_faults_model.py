"""The model, the comparison or the worker breaks while the owner speaks."""

from __future__ import annotations

import pytest
from fault_parts import VOICE_FIRST, House, some
from faults_stub import MODEL, PROFILES, SCORES

OFTEN = {"raises", "NaN", "one NaN", "infinity", "zeros", "a dimension too few", "no embedding", "complex"}
"""Tried in every run of the tests; the others in the long one."""

ENDINGS = {
    "NaN scores": {"unusable_score"},
    "infinite scores": {"unusable_score"},
    "the lowest scores": {"no_match"},
    "no scores": {"not_enrolled"},
    "each score twice": {"not_enrolled"},
    "somebody else's scores": {"not_enrolled"},
    "an empty profile": {"unusable_score"},
}


def test_the_owner_is_let_in_while_nothing_is_broken(house: House) -> None:
    house.lets_the_owner_in()


@pytest.mark.parametrize("what", some(MODEL, OFTEN))
def test_a_model_that_gives_no_embedding_lets_nobody_in(house: House, what: str) -> None:
    with house.broken(what):
        found = house.lets_nobody_in(f"the model: {what}")
    assert {one.said for one in found if one.way != "PAM"} == {"embedding_failed"}


@pytest.mark.parametrize("what", some(SCORES, {"NaN scores", "no scores"}))
def test_a_comparison_that_gives_no_score_lets_nobody_in(house: House, what: str) -> None:
    with house.broken(what):
        found = house.lets_nobody_in(f"the comparison: {what}")
    if what in ENDINGS:
        assert {one.said for one in found if one.way != "PAM"} == ENDINGS[what]


@pytest.mark.parametrize("what", PROFILES)
def test_a_profile_without_a_voice_lets_nobody_in(house: House, what: str) -> None:
    """Even if the store gave one: its own checks are tried in test_faults_profiles.py."""
    with house.broken(what):
        house.try_to_reload()
        house.lets_nobody_in(f"the store: {what}")
    house.reload()


def test_the_password_is_asked_for_when_the_model_is_broken(house: House) -> None:
    with house.broken("raises"):
        house.falls_through_to_the_password()
        wrong = house.by_pam(service=VOICE_FIRST, typed="not the password\n")
    assert not wrong.accepted
    assert "Password:" in wrong.said


def test_a_model_that_hangs_lets_nobody_in_and_the_password_is_asked_for(house: House) -> None:
    with house.held("worker"):
        found = house.lets_nobody_in("the worker hangs", found=[house.by_socket(), house.by_client()])
        house.falls_through_to_the_password()
    assert {one.said for one in found} == {"no_speech"}


@pytest.mark.slow
def test_a_model_that_hangs_lets_nobody_in_by_the_voice_alone(house: House) -> None:
    with house.held("worker"):
        house.lets_nobody_in("the worker hangs")
