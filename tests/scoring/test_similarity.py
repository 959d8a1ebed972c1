"""Comparing a voice with the enrolled ones."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import (
    BROKEN,
    MODEL,
    NAMES,
    OTHER_MODEL,
    RATIOS,
    RULE,
    axis,
    between,
    calibration,
    profile,
    strangers,
    unit,
    vectors,
    voice,
)

from voiceauthd.embed.embedding import Vector
from voiceauthd.errors import ModelError
from voiceauthd.profiles.profile import Profile
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.calibration import Evidence
from voiceauthd.scoring.decide import identify, verify
from voiceauthd.scoring.decision import Outcome, Recognition, Score
from voiceauthd.scoring.similarity import compare, gather_evidence, make_gallery

CONDITIONS = ("default", "headset", "far-field")
COHORT = strangers()
BACKENDS = (NO_BACKEND, Backend(COHORT), Backend(COHORT, calibration()))

Takes = dict[str, list[Vector]]
"""The exemplars of a profile, by condition."""


def has_direction(vectors: list[Vector]) -> bool:
    return float(np.linalg.norm(np.mean(vectors, axis=0))) > 0.01


TAKES = st.dictionaries(
    st.sampled_from(CONDITIONS),
    st.lists(vectors(), min_size=1, max_size=4).filter(has_direction),
    min_size=1,
    max_size=3,
)
PROFILES = st.lists(TAKES, min_size=1, max_size=4)


def enrolled(name: str, takes: Takes) -> Profile:
    """Return a profile whose exemplars alternate between conditions, as after adding to conditions in turn."""
    turns = max(map(len, takes.values()))
    order = [(kind, own[turn]) for turn in range(turns) for kind, own in takes.items() if turn < len(own)]
    return profile(name, [vector for _, vector in order], conditions=[kind for kind, _ in order])


def everybody(profiles: list[Takes]) -> list[Profile]:
    return [enrolled(name, takes) for name, takes in zip(NAMES, profiles, strict=False)]


def against(spoken: Vector, *profiles: Profile, backend: Backend = NO_BACKEND) -> list[Score]:
    return compare(voice(spoken), make_gallery(profiles, MODEL, backend))


# Scores


@settings(deadline=None)
@given(profiles=PROFILES, spoken=vectors(), order=st.randoms(use_true_random=False), which=st.integers(0, 2))
def test_scores_follow_their_definition_best_first(
    profiles: list[Takes], spoken: Vector, order: Random, which: int
) -> None:
    """Each score depends on its own profile only, on its closest condition, and not on the order of profiles."""
    backend = BACKENDS[which]
    enrolled_profiles = everybody(profiles)
    found = against(spoken, *enrolled_profiles, backend=backend)
    assert sorted(each.name for each in found) == list(NAMES[: len(profiles)])
    normalised_scores = [each.normalised for each in found]
    assert normalised_scores == sorted(normalised_scores, reverse=True)
    order.shuffle(enrolled_profiles)
    assert found == against(spoken, *enrolled_profiles, backend=backend)
    for each in found:
        best = (-math.inf, 0.0, 0.0, 0)
        for own in profiles[NAMES.index(each.name)].values():
            mean = np.mean(np.array(own, np.float64), axis=0)
            centroid = mean / np.linalg.norm(mean)
            cosine = float(centroid @ spoken)
            level = 0.0
            if backend.cohort is not None:
                level = float(np.mean(backend.cohort.level(np.array([centroid, spoken]))))
            best = max(best, (cosine - level, cosine, level, len(own)))
        normalised, cosine, level, exemplars = best
        assert each.cosine == pytest.approx(cosine, abs=1e-5)
        assert each.normalised == pytest.approx(normalised, abs=1e-5)
        if backend.calibration is None:
            assert each.llr is None
        else:
            known = Evidence(normalised, level, 3.0, exemplars, 20.0)
            assert each.llr == pytest.approx(backend.calibration.llr(known), abs=1e-3)


def test_without_a_cohort_the_normalised_score_is_the_cosine() -> None:
    (found,) = against(between(0.6), profile("anna", [axis(0)]))
    assert found == Score("anna", found.cosine, found.cosine)
    assert found.cosine == pytest.approx(0.6)


def test_a_voice_close_to_everybody_has_a_lower_normalised_score() -> None:
    crowd = unit(np.mean(COHORT.vectors[:3], axis=0))
    plain = against(crowd, profile("anna", [crowd]))
    normed = against(crowd, profile("anna", [crowd]), backend=Backend(COHORT))
    level = float(COHORT.level(crowd[np.newaxis])[0])
    assert level > 0.2
    assert plain[0].normalised - normed[0].normalised == pytest.approx(level)
    assert normed[0].cosine == pytest.approx(plain[0].cosine)


def test_the_llr_uses_the_amount_of_speech_and_its_snr() -> None:
    gallery = make_gallery([profile("anna", [axis(0)] * 3)], MODEL, BACKENDS[2])
    fitted = calibration()
    for spoken in (voice(axis(0), net_speech=1.5), voice(axis(0), net_speech=9.0), voice(axis(0), snr_db=None)):
        (found,) = compare(spoken, gallery)
        ((cosine, known),) = gather_evidence(spoken, gallery)
        assert (known.net_speech, known.snr_db, known.exemplars) == (spoken.net_speech, spoken.snr_db, 3)
        assert (found.cosine, found.normalised) == (cosine, known.normalised)
        assert found.llr == fitted.llr(known)


def test_the_number_of_exemplars_is_that_of_the_closest_condition() -> None:
    takes = {"default": [axis(0)] * 5, "headset": [axis(1)] * 2}
    gallery = make_gallery([enrolled("anna", takes)], MODEL)
    assert gather_evidence(voice(axis(0)), gallery)[0][1].exemplars == 5
    assert gather_evidence(voice(axis(1)), gallery)[0][1].exemplars == 2


# Conditions and people


def test_conditions_are_not_averaged() -> None:
    takes = {"headset": [axis(0)] * 3, "far-field": [axis(1)] * 3}
    for index in (0, 1):
        assert against(axis(index), enrolled("anna", takes))[0].cosine == pytest.approx(1.0)


def test_one_close_exemplar_is_not_enough() -> None:
    anna = profile("anna", [axis(0), axis(1), axis(2), axis(3)])
    assert against(axis(0), anna)[0].cosine == pytest.approx(0.5)


def test_the_margin_is_between_people_and_not_between_their_exemplars() -> None:
    # Five near copies of one voice: as rivals they would always be ambiguous.
    anna = profile("anna", [unit(axis(0) + 0.01 * axis(index)) for index in range(1, 6)])
    found = against(axis(0), anna, profile("ben", [axis(1)]))
    decision = verify("anna", found, 3.0, 1.0, RULE)
    assert decision.outcome is Outcome.ACCEPT
    assert decision.margin == pytest.approx(found[0].normalised - found[1].normalised)
    assert decision.margin > 0.9


def test_one_profile_alone_needs_no_margin() -> None:
    decision = verify("anna", against(between(0.6), profile("anna", [axis(0)])), 3.0, 1.0, RULE)
    assert (decision.outcome, decision.margin) == (Outcome.ACCEPT, None)


def test_nobody_enrolled_gives_no_scores() -> None:
    for backend in BACKENDS:
        assert against(axis(0), backend=backend) == []


# Invalid values


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


def test_a_profile_without_exemplars_is_rejected() -> None:
    found = against(axis(0), profile("anna", []), profile("ben", [axis(1)]), backend=BACKENDS[2])
    assert [each.name for each in found] == ["ben", "anna"]
    assert math.isnan(found[1].cosine)
    for rule in (RULE, RATIOS):
        assert verify("anna", found, 3.0, 1.0, rule).outcome is Outcome.REJECT


@settings(deadline=None)
@given(spoken=vectors(), place=st.integers(0, 5), value=st.sampled_from(BROKEN), which=st.integers(0, 2))
def test_a_voice_that_is_not_finite_is_not_accepted(spoken: Vector, place: int, value: float, which: int) -> None:
    damaged = spoken.copy()
    damaged[place] = value
    with np.errstate(invalid="ignore"):
        found = against(damaged, profile("anna", [spoken]), profile("ben", [axis(0)]), backend=BACKENDS[which])
    rule = RATIOS if BACKENDS[which].calibration else RULE
    for name in ("anna", "ben"):
        assert verify(name, found, 3.0, 1.0, rule).outcome is not Outcome.ACCEPT
    assert identify(found, 3.0, 1.0, rule).recognition is not Recognition.KNOWN


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_condition_with_nan_rejects_the_person(which: int) -> None:
    anna = enrolled("anna", {"default": [axis(0)], "headset": [axis(1)]})
    gallery = make_gallery([anna, profile("ben", [axis(2)]), profile("cleo", [axis(3)])], MODEL, BACKENDS[which])
    gallery.centroids[1, 0] = math.nan
    found = compare(voice(axis(0)), gallery)
    assert found[-1].name == "anna"
    assert math.isnan(found[-1].normalised)
    assert verify("anna", found, 3.0, 1.0, RULE).outcome is Outcome.REJECT


@pytest.mark.parametrize("speech", [*BROKEN, 0.0, -1.0])
def test_an_invalid_amount_of_speech_is_not_accepted(speech: float) -> None:
    found = compare(voice(axis(0), net_speech=speech), make_gallery([profile("anna", [axis(0)])], MODEL, BACKENDS[2]))
    assert verify("anna", found, speech, 1.0, RATIOS).outcome is not Outcome.ACCEPT
