"""The grade of a profile, and the advice to improve it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from enrolment_parts import ANNA, BERTA, near
from hypothesis import given
from hypothesis import strategies as st
from profile_parts import MODEL

from voiceauthd.embed.embedding import Vector
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile, new_uid, timestamp
from voiceauthd.profiles.rating import Grade, Rating, agreements, rate

THRESHOLD = 0.6
"""That of CAM++. Vectors `near` the same voice have a cosine of about 0.64."""


def exemplars(
    count: int,
    speech: float = 4.0,
    snr_db: float | None = 25.0,
    condition: str = "default",
    voice: Vector = ANNA,
    seed: int = 0,
) -> list[Exemplar]:
    rng = np.random.default_rng(seed)
    return [Exemplar(near(voice, rng), speech, snr_db, condition, timestamp()) for _ in range(count)]


def rating(found: Sequence[Exemplar], threshold: float = THRESHOLD) -> Rating:
    return rate(Profile("anna", new_uid(), 1, None, MODEL, tuple(found), timestamp(), timestamp()), threshold)


def test_a_profile_that_meets_the_default_requirements_is_good() -> None:
    found = rating(exemplars(5))
    assert (found.grade, found.exemplars, found.net_speech, found.snr_db) == (Grade.GOOD, 5, 20.0, pytest.approx(25.0))
    assert found.agreement is not None
    assert 0.6 < found.agreement < 0.7
    (advice,) = found.advice
    assert "Only the condition default" in advice


@pytest.mark.parametrize(
    ("found", "grade", "word"),
    [
        (exemplars(4, speech=6.0), "fair", "one more sentence"),
        (exemplars(3, speech=4.0), "fair", "8 s of speech and 2 more sentences"),
        (exemplars(2, speech=12.0), "poor", "3 more sentences"),
        (exemplars(5, speech=1.5), "poor", "13 s of speech"),  # 12.5: half a second less would not be enough
        (exemplars(5, speech=3.92), "fair", "1 s of speech"),  # 0.4
        (exemplars(5, snr_db=8.0), "fair", "quieter place"),
        (exemplars(5, snr_db=2.0), "poor", "quieter place"),
    ],
)
def test_advice_says_what_is_missing(found: list[Exemplar], grade: str, word: str) -> None:
    made = rating(found)
    assert made.grade == grade
    assert word in made.advice[0]
    assert "voiceauth enroll NAME" in made.advice[0]


def test_a_take_of_another_person_makes_it_poor_and_comes_first_in_the_advice() -> None:
    found = rating([*exemplars(5, condition="headset"), *exemplars(1, voice=BERTA, condition="headset", seed=1)])
    assert found.grade is Grade.POOR
    assert found.agreement is not None
    assert found.agreement < 0.2
    assert "condition headset differ too much" in found.advice[0]
    assert "--replace" in found.advice[0]


def test_takes_that_differ_a_little_make_it_fair() -> None:
    found = rating(exemplars(5), threshold=0.7)
    assert found.grade is Grade.FAIR
    assert "differ more than usual" in found.advice[0]


def test_agreement_is_graded_by_the_models_threshold() -> None:
    assert rating(exemplars(5), threshold=0.5).grade is Grade.GOOD
    assert rating(exemplars(5), threshold=0.9).grade is Grade.POOR


def test_conditions_may_differ_and_are_rated_separately() -> None:
    found = rating([*exemplars(5), *exemplars(1, voice=BERTA, condition="my headset", seed=1)])
    assert found.grade is Grade.GOOD
    (advice,) = found.advice
    assert advice.endswith("16 s of speech and 4 more sentences: voiceauth enroll NAME --add --condition 'my headset'.")


def test_two_good_conditions_need_no_advice() -> None:
    assert rating([*exemplars(5), *exemplars(5, condition="headset")]).advice == ()


def test_missing_noise_measurements_do_not_lower_the_grade() -> None:
    found = rating(exemplars(5, snr_db=None))
    assert (found.grade, found.snr_db) == (Grade.GOOD, None)


def test_one_exemplar_has_no_agreement() -> None:
    assert rating(exemplars(1)).agreement is None


def test_a_full_profile_is_not_advised_to_add() -> None:
    found = rating(exemplars(MAX_EXEMPLARS, speech=0.9))
    assert found.grade is Grade.FAIR
    assert "--replace" in found.advice[0]
    assert not any("--add" in advice for advice in found.advice)


def test_vectors_with_nan_are_poor() -> None:
    found = exemplars(5)
    broken = dataclasses.replace(found[2], vector=np.full_like(ANNA, np.nan))
    assert rating([*found[:2], broken, *found[3:]]).grade is Grade.POOR


@given(st.integers(1, 19), st.floats(0.5, 10.0), st.none() | st.floats(-5.0, 40.0), st.floats(0.0, 1.0))
def test_more_speech_never_lowers_the_grade(count: int, speech: float, snr_db: float | None, threshold: float) -> None:
    """For the same vectors; further utterances may disagree."""
    order = [Grade.POOR, Grade.FAIR, Grade.GOOD]
    less = rating(exemplars(count, speech, snr_db), threshold).grade
    more = rating(exemplars(count, speech * 1.5, snr_db), threshold).grade
    assert order.index(more) >= order.index(less)


def test_the_agreement_of_each_exemplar_shows_which_one_is_somebody_elses() -> None:
    found = [*exemplars(4), *exemplars(1, voice=BERTA), *exemplars(1, condition="headset")]
    made = Profile("anna", new_uid(), 1, None, MODEL, tuple(found), timestamp(), timestamp())
    *same, other, alone = agreements(made)
    assert alone is None, "there is no other of its condition"
    assert other is not None
    assert all(agreement is not None and agreement > other + 0.2 for agreement in same)
    assert rate(made, THRESHOLD).agreement == other
