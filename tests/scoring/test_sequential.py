"""Deciding while somebody speaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from score_parts import DIMENSION, MODEL, OTHER_MODEL, RULE, axis, between, profile, unit, vectors, voice, window

from voiceauthd.config.schema import VerifyConfig
from voiceauthd.embed.embedding import Embedding, Vector
from voiceauthd.errors import ModelError
from voiceauthd.scoring.decision import Decision, Outcome, Recognition, Score
from voiceauthd.scoring.sequential import CLEARLY_ANOTHER, Identification, Pool, Verification
from voiceauthd.scoring.similarity import compare, make_gallery

CONFIG = VerifyConfig(speech=2.0, max_speech=6.0)
GALLERY = make_gallery([profile("anna", [axis(0)]), profile("ben", [axis(5)])], MODEL)
LENGTHS = st.floats(0.02, 3.0)


def against(embedding: Embedding) -> list[Score]:
    return compare(embedding, GALLERY)


def verification(config: VerifyConfig = CONFIG) -> Verification:
    return Verification("anna", against, RULE, config)


def identification(config: VerifyConfig = CONFIG) -> Identification:
    return Identification(against, RULE, config)


def pooled(heard: list[tuple[float, Vector]]) -> Embedding:
    pool = Pool()
    for speech, vector in heard:
        pool.add(window(speech), voice(vector))
    found = pool.voice()
    assert found is not None
    return found


def judge(heard: list[tuple[float, Vector]]) -> Decision:
    """What is said in the end of all of it, whatever could be said before."""
    verifying = verification()
    for speech, vector in heard:
        verifying.hear(window(speech), voice(vector))
    return verifying.decide()


# When it may decide, and when it must


def test_the_right_voice_is_accepted_as_soon_as_there_is_enough_speech() -> None:
    verifying = verification()
    assert verifying.hear(window(1.5), between(0.9)) is None
    decision = verifying.hear(window(1.5), between(0.9))
    assert decision is not None
    assert (decision.outcome, decision.reason) == (Outcome.ACCEPT, "match")


@settings(deadline=None)
@given(st.lists(LENGTHS, max_size=12), vectors())
def test_nothing_is_decided_below_the_speech_that_is_asked_for(lengths: list[float], vector: Vector) -> None:
    verifying, identifying = verification(), identification()
    for speech in lengths:
        decision = verifying.hear(window(speech), voice(vector))
        identified = identifying.hear(window(speech), voice(vector))
        if verifying.net_speech < CONFIG.speech:
            assert decision is None
            assert identified is None
            assert verifying.decide().outcome is Outcome.INCONCLUSIVE


@settings(deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=400), vectors())
def test_it_must_decide_when_there_is_all_the_speech(lengths: list[float], vector: Vector) -> None:
    verifying, identifying = verification(), identification()
    for speech in lengths:
        decision = verifying.hear(window(speech), voice(vector))
        identified = identifying.hear(window(speech), voice(vector))
        if verifying.net_speech >= CONFIG.max_speech:
            assert decision is not None
            assert decision.outcome in (Outcome.ACCEPT, Outcome.REJECT)
            assert identified is not None
            assert identified.recognition in (Recognition.KNOWN, Recognition.UNKNOWN)
            return


def test_speech_counts_once_although_windows_overlap() -> None:
    verifying = verification()
    verifying.hear(window(1.4, net_speech=1.4), between(0.9))
    assert verifying.hear(window(0.5, net_speech=1.9), between(0.9)) is None
    assert verifying.net_speech == pytest.approx(1.9)


def test_a_borderline_voice_gets_time_and_another_one_does_not() -> None:
    borderline, clearly = RULE.threshold - CLEARLY_ANOTHER / 2, RULE.threshold - CLEARLY_ANOTHER - 0.05
    verifying = verification()
    assert [verifying.hear(window(1.5), between(borderline)) for _ in range(3)] == [None] * 3
    decision = verifying.hear(window(1.5), between(borderline))
    assert decision is not None
    assert decision.outcome is Outcome.REJECT
    early = verification()
    assert early.hear(window(1.5), between(clearly)) is None
    decision = early.hear(window(1.5), between(clearly))
    assert decision is not None
    assert (decision.outcome, decision.reason) == (Outcome.REJECT, "no_match")


def test_an_identification_waits_for_a_known_voice_until_the_end() -> None:
    identifying = identification()
    assert [identifying.hear(window(1.5), voice(axis(2))) for _ in range(3)] == [None] * 3
    identified = identifying.hear(window(1.5), voice(axis(2)))
    assert identified is not None
    assert (identified.recognition, identified.identity) == (Recognition.UNKNOWN, None)


def test_nobody_spoke() -> None:
    assert verification().decide() == Decision(Outcome.INCONCLUSIVE, "no_speech")
    identified = identification().decide()
    assert (identified.recognition, identified.reason) == (Recognition.UNDECIDED, "no_speech")


# What is pooled


@settings(deadline=None)
@given(st.lists(st.tuples(LENGTHS, vectors()), min_size=1, max_size=8))
def test_the_pool_is_the_mean_weighted_by_speech(heard: list[tuple[float, Vector]]) -> None:
    mean = np.sum([speech * vector.astype(np.float64) for speech, vector in heard], axis=0)
    total = sum(speech for speech, _ in heard)
    assume(float(np.linalg.norm(mean)) > 0.01 * total)
    assert np.allclose(pooled(heard).vector, mean / np.linalg.norm(mean), atol=1e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(LENGTHS, vectors()), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_windows_does_not_matter(heard: list[tuple[float, Vector]], order: object) -> None:
    assume(float(np.linalg.norm(np.sum([speech * vector for speech, vector in heard], axis=0))) > 0.1)
    shuffled = heard.copy()
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.allclose(pooled(heard).vector, pooled(shuffled).vector, atol=1e-4)


# That wrong windows never help. A pool can come closer to somebody than each of its windows: two noisy windows of the
# right voice do, which is its use. A window that has nothing of the claimed voice, and is not the opposite of what else
# was heard, cannot bring it closer.

PART = st.floats(0.05, 1.0)
WITHOUT_ANNA = st.lists(PART, min_size=DIMENSION - 1, max_size=DIMENSION - 1).map(lambda parts: unit([0.0, *parts]))
PARTLY_ANNA = st.lists(PART, min_size=DIMENSION, max_size=DIMENSION).map(unit)


@settings(deadline=None)
@given(
    heard=st.lists(st.tuples(LENGTHS, st.one_of(PARTLY_ANNA, WITHOUT_ANNA)), min_size=1, max_size=5),
    wrong=WITHOUT_ANNA,
    speech=LENGTHS,
)
def test_a_window_with_nothing_of_the_voice_never_brings_it_closer(
    heard: list[tuple[float, Vector]], wrong: Vector, speech: float
) -> None:
    def closeness(windows: list[tuple[float, Vector]]) -> float:
        return next(score.cosine for score in against(pooled(windows)) if score.name == "anna")

    assert closeness([*heard, (speech, wrong)]) <= closeness(heard) + 1e-6


@settings(deadline=None)
@given(st.floats(-1.0, RULE.threshold - 0.01), st.lists(LENGTHS, min_size=1, max_size=40))
def test_a_wrong_voice_is_not_accepted_however_often_it_speaks(cosine: float, lengths: list[float]) -> None:
    verifying = verification()
    for speech in lengths:
        decision = verifying.hear(window(speech), between(cosine))
        assert decision is None or decision.outcome is Outcome.REJECT
    assert verifying.decide().outcome is not Outcome.ACCEPT


@settings(deadline=None)
@given(place=st.integers(0, 3))
def test_one_window_that_passes_does_not_carry_the_others(place: int) -> None:
    heard = [(1.5, axis(1))] * 4
    heard[place] = (1.5, axis(0))
    assert judge([heard[place]] * 2).outcome is Outcome.ACCEPT, "it would pass on its own"
    assert judge(heard).outcome is Outcome.REJECT


# What is broken


def test_a_model_that_changes_in_the_middle_is_an_error() -> None:
    for deciding in (verification(), identification()):
        deciding.hear(window(1.5), voice(axis(0)))
        with pytest.raises(ModelError) as caught:
            deciding.hear(window(1.5), voice(axis(0), OTHER_MODEL))
        assert caught.value.reason == "wrong_model"


def test_profiles_of_another_model_than_the_voice_are_an_error_and_no_accept() -> None:
    other = make_gallery([profile("anna", [axis(0)], OTHER_MODEL)], OTHER_MODEL)
    verifying = Verification("anna", lambda heard: compare(heard, other), RULE, CONFIG)
    with pytest.raises(ModelError) as caught:
        verifying.hear(window(3.0), voice(axis(0)))
    assert caught.value.reason == "wrong_model"


def test_windows_that_cancel_out_are_an_error_and_no_accept() -> None:
    verifying = verification()
    verifying.hear(window(1.5), voice(axis(0)))
    with pytest.raises(ModelError):
        verifying.hear(window(1.5), voice(unit(-axis(0))))


@pytest.mark.parametrize("speech", [math.nan, -math.inf])
def test_speech_that_cannot_be_counted_never_accepts(speech: float) -> None:
    verifying = verification()
    verifying.hear(window(3.0, net_speech=3.0), between(0.1))
    assert verifying.hear(window(speech, net_speech=3.0), voice(axis(0))) is None
    assert verifying.hear(window(3.0), voice(axis(0))) is None
    assert verifying.decide().outcome is Outcome.INCONCLUSIVE


def test_a_profile_that_was_deleted_meanwhile_is_not_accepted() -> None:
    galleries = [GALLERY]
    verifying = Verification("anna", lambda heard: compare(heard, galleries[-1]), RULE, CONFIG)
    assert verifying.hear(window(1.5), voice(axis(0))) is None
    galleries.append(make_gallery([profile("ben", [axis(5)])], MODEL))
    verifying.hear(window(1.5), voice(axis(0)))
    assert verifying.decide() == Decision(Outcome.REJECT, "not_enrolled")
