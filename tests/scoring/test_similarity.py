"""How voices are compared with profiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import MODEL, NAMES, OTHER_MODEL, RULE, axis, between, profile, unit, vectors, voice

from voiceauthd.embed.embedding import Vector
from voiceauthd.errors import ModelError
from voiceauthd.scoring.decide import identify, verify
from voiceauthd.scoring.decision import Outcome, Recognition
from voiceauthd.scoring.similarity import BEST_EXEMPLARS, EXEMPLAR_WEIGHT, compare, make_gallery

EXEMPLARS = st.lists(vectors(), min_size=1, max_size=6).filter(
    lambda chosen: float(np.linalg.norm(np.mean(chosen, axis=0))) > 0.01
)
PROFILES = st.lists(EXEMPLARS, min_size=1, max_size=4)


@settings(deadline=None)
@given(profiles=PROFILES, heard=vectors())
def test_a_score_is_what_the_definition_says(profiles: list[list[Vector]], heard: Vector) -> None:
    enrolled = [profile(name, chosen) for name, chosen in zip(NAMES, profiles, strict=False)]
    found = compare(voice(heard), make_gallery(enrolled, MODEL))
    assert sorted(each.name for each in found) == sorted(each.name for each in enrolled)
    for each in found:
        own = np.array(profiles[NAMES.index(each.name)], np.float64)
        mean = own.mean(axis=0)
        centroid = float(mean @ heard / np.linalg.norm(mean))
        best = float(np.mean(sorted(own @ heard)[-BEST_EXEMPLARS:]))
        assert each.centroid == pytest.approx(centroid, abs=1e-4)
        assert each.exemplar == pytest.approx(best, abs=1e-5)
        assert each.cosine == pytest.approx(
            (1.0 - EXEMPLAR_WEIGHT) * each.centroid + EXEMPLAR_WEIGHT * each.exemplar, abs=1e-6
        )
        assert -1.0 - 1e-6 <= each.cosine <= 1.0 + 1e-6


@settings(deadline=None)
@given(profiles=PROFILES, heard=vectors(), order=st.randoms(use_true_random=False))
def test_the_order_of_profiles_does_not_matter(profiles: list[list[Vector]], heard: Vector, order: object) -> None:
    enrolled = [profile(name, chosen) for name, chosen in zip(NAMES, profiles, strict=False)]
    shuffled = enrolled.copy()
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert compare(voice(heard), make_gallery(enrolled, MODEL)) == compare(voice(heard), make_gallery(shuffled, MODEL))


@settings(deadline=None)
@given(profiles=PROFILES, heard=vectors())
def test_the_best_comes_first(profiles: list[list[Vector]], heard: Vector) -> None:
    enrolled = [profile(name, chosen) for name, chosen in zip(NAMES, profiles, strict=False)]
    cosines = [each.cosine for each in compare(voice(heard), make_gallery(enrolled, MODEL))]
    assert cosines == sorted(cosines, reverse=True)


@settings(deadline=None)
@given(exemplars=EXEMPLARS, heard=vectors())
def test_how_often_somebody_is_enrolled_does_not_change_the_scores_of_others(
    exemplars: list[Vector], heard: Vector
) -> None:
    anna = profile("anna", [axis(0)])
    alone = compare(voice(heard), make_gallery([anna], MODEL))[0]
    both = compare(voice(heard), make_gallery([anna, profile("ben", exemplars)], MODEL))
    assert next(each for each in both if each.name == "anna").cosine == pytest.approx(alone.cosine, abs=1e-6)


def test_several_conditions_are_not_judged_by_a_mean_that_is_like_none_of_them() -> None:
    headset, room = axis(0), axis(1)
    anna = profile("anna", [headset] * 3 + [room] * 3)
    heard = compare(voice(headset), make_gallery([anna], MODEL))[0]
    assert heard.centroid == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert heard.exemplar == pytest.approx(1.0)


def test_one_lucky_exemplar_does_not_carry_a_profile() -> None:
    lucky = profile("anna", [axis(0), axis(1), axis(2), axis(3)])
    heard = compare(voice(axis(0)), make_gallery([lucky], MODEL))[0]
    assert heard.exemplar == pytest.approx(1.0 / BEST_EXEMPLARS)


def test_the_margin_is_between_people_and_not_between_their_exemplars() -> None:
    # Five near copies of one voice: were they rivals of one another, nobody could ever be told.
    anna = profile("anna", [unit(axis(0) + 0.01 * axis(index)) for index in range(1, 6)])
    found = compare(voice(axis(0)), make_gallery([anna, profile("ben", [axis(1)])], MODEL))
    decision = verify("anna", found, 3.0, RULE)
    assert decision.outcome is Outcome.ACCEPT
    assert decision.margin == pytest.approx(found[0].cosine - found[1].cosine)
    assert decision.margin > 0.9


def test_one_profile_alone_needs_no_margin() -> None:
    found = compare(between(0.6), make_gallery([profile("anna", [axis(0)])], MODEL))
    decision = verify("anna", found, 3.0, RULE)
    assert (decision.outcome, decision.margin) == (Outcome.ACCEPT, None)


def test_nobody_enrolled_gives_no_scores() -> None:
    assert compare(voice(axis(0)), make_gallery([], MODEL)) == []
    assert identify([], 3.0, RULE).recognition is Recognition.UNKNOWN


def test_a_voice_of_another_model_is_never_compared() -> None:
    gallery = make_gallery([profile("anna", [axis(0)])], MODEL)
    with pytest.raises(ModelError) as caught:
        compare(voice(axis(0), OTHER_MODEL), gallery)
    assert caught.value.reason == "wrong_model"


def test_a_profile_of_another_model_is_never_in_the_gallery() -> None:
    profiles = [profile("anna", [axis(0)]), profile("ben", [axis(1)], OTHER_MODEL)]
    with pytest.raises(ModelError, match="'ben'") as caught:
        make_gallery(profiles, MODEL)
    assert caught.value.reason == "wrong_model"


@settings(deadline=None)
@given(heard=vectors(), broken=st.integers(0, 5), value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_voice_that_is_not_a_number_is_nobody(heard: Vector, broken: int, value: float) -> None:
    torn = heard.copy()
    torn[broken] = value
    gallery = make_gallery([profile("anna", [heard]), profile("ben", [axis(0)])], MODEL)
    with np.errstate(invalid="ignore"):
        found = compare(voice(torn), gallery)
    assert not all(math.isfinite(each.cosine) for each in found)
    assert verify("anna", found, 3.0, RULE).outcome is not Outcome.ACCEPT
    assert identify(found, 3.0, RULE).recognition is not Recognition.KNOWN


def test_scores_that_are_not_numbers_come_last() -> None:
    gallery = make_gallery([profile("anna", [axis(0)]), profile("ben", [axis(1)]), profile("cleo", [axis(2)])], MODEL)
    gallery.centroids[0, 0] = math.nan
    found = compare(voice(axis(1)), gallery)
    assert [each.name for each in found][0::2] == ["ben", "anna"]
    assert math.isnan(found[-1].cosine)
