"""Deciding while a person speaks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import (
    DIMENSION,
    MODEL,
    OTHER_MODEL,
    RATIOS,
    RULE,
    axis,
    between,
    calibration,
    embedding,
    profile,
    strangers,
    unit,
    vectors,
    window,
)

from voiceauthd.config.schema import VerifyConfig
from voiceauthd.embed.embedding import Vector
from voiceauthd.errors import ModelError
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.scoring.sequential import Compare, Identification, Verification
from voiceauthd.scoring.similarity import compare, make_gallery

CONFIG = VerifyConfig(speech=2.0, max_speech=6.0)
PROFILES = [profile("anna", [axis(0)]), profile("ben", [axis(5)])]
GALLERY = make_gallery(PROFILES, MODEL)
CALIBRATED = make_gallery(PROFILES, MODEL, Backend(strangers(), calibration()))
LENGTHS = st.floats(0.02, 3.0)


def against(voice: PooledSpeech) -> list[Score]:
    return compare(voice, GALLERY)


def verification(rule: Rule = RULE, config: VerifyConfig = CONFIG, comparing: Compare = against) -> Verification:
    return Verification("anna", comparing, rule, config)


def identification(rule: Rule = RULE, config: VerifyConfig = CONFIG, comparing: Compare = against) -> Identification:
    return Identification(comparing, rule, config)


class Speaker:
    """Adds one window after the other, without pauses."""

    def __init__(self, deciding: Verification | Identification) -> None:
        self.deciding = deciding
        self.place = 0.0

    def say(self, vector: Vector, seconds: float = 1.5) -> Decision | Identified | None:
        part = window(seconds, at=self.place)
        self.place += seconds if math.isfinite(seconds) else 0.0
        return self.deciding.add(part, embedding(vector))


def verify(spoken: Sequence[Vector], verifying: Verification | None = None) -> tuple[Decision | None, ...]:
    """Return the decision after each window of 1.5 s."""
    speaker = Speaker(verification() if verifying is None else verifying)
    found = [speaker.say(vector) for vector in spoken]
    assert all(each is None or isinstance(each, Decision) for each in found)
    return tuple(found)  # type: ignore[arg-type]


def ended(found: Sequence[Decision | None]) -> tuple[int, str, str]:
    """Return the number of the window with the decision, its outcome and its reason."""
    number, decision = next((number, each) for number, each in enumerate(found, 1) if each is not None)
    return number, decision.outcome.value, decision.reason


# When it ends


def test_the_right_voice_is_accepted_as_soon_as_there_is_enough_speech() -> None:
    assert ended(verify([between(0.9)] * 4)) == (2, "accept", "match")


def test_another_voice_is_rejected_as_soon_as_there_is_enough_speech() -> None:
    assert ended(verify([between(RULE.reject - 0.01)] * 4)) == (2, "reject", "no_match")


@pytest.mark.parametrize("cosine", [RULE.reject + 0.001, 0.4, RULE.accept - 0.001])
def test_between_the_bounds_it_continues_and_ends_inconclusive(cosine: float) -> None:
    assert ended(verify([between(cosine)] * 4)) == (4, "inconclusive", "unsure")


def test_a_voice_closer_to_another_enrolled_person_is_rejected_at_once() -> None:
    assert ended(verify([between(0.4, 0, 1)] * 4)) == (4, "inconclusive", "unsure"), "as a stranger"
    assert ended(verify([between(0.4, 0, 5)] * 4)) == (2, "reject", "no_match"), "as ben"


def test_a_voice_that_gets_closer_later_is_accepted_then() -> None:
    spoken = [between(0.45), between(0.45), between(0.9), between(0.9)]
    found = verify(spoken)
    assert found[1] is None
    assert ended(found)[1:] == ("accept", "match")


def test_a_voice_that_gets_farther_is_rejected_then() -> None:
    found = verify([between(0.45), between(0.35), between(0.0), between(0.0)])
    assert found[1] is None
    assert ended(found)[1:] == ("reject", "no_match")


def test_an_ambiguous_voice_is_rejected_at_the_end() -> None:
    twins = make_gallery([profile("anna", [axis(0)]), profile("ben", [between(0.99)])], MODEL)
    verifying = verification(comparing=lambda voice: compare(voice, twins))
    assert ended(verify([between(0.995)] * 4, verifying)) == (4, "reject", "ambiguous")


def test_with_a_calibration_it_ends_at_the_llr_bounds() -> None:
    def comparing(voice: PooledSpeech) -> list[Score]:
        return compare(voice, CALIBRATED)

    for vector, outcome in ((axis(0), Outcome.ACCEPT), (between(-0.2), Outcome.REJECT)):
        decision = verify([vector] * 2, verification(RATIOS, comparing=comparing))[1]
        assert decision is not None
        assert decision.outcome is outcome
        assert decision.score is not None
        assert decision.score.llr is not None
        assert decision.score.llr >= RATIOS.accept or decision.score.llr < RATIOS.reject


def test_the_comparison_is_of_all_speech_so_far() -> None:
    compared: list[PooledSpeech] = []

    def comparing(voice: PooledSpeech) -> list[Score]:
        compared.append(voice)
        return [Score("anna", 0.4, 0.4, 0.0)]

    verify([axis(0)] * 4, verification(RATIOS, comparing=comparing))
    assert [voice.net_speech for voice in compared] == [3.0, 4.5, 6.0]
    assert all(voice.snr_db == 20.0 for voice in compared)


@settings(deadline=None)
@given(st.lists(LENGTHS, max_size=12), vectors())
def test_nothing_is_decided_below_the_required_speech(lengths: list[float], vector: Vector) -> None:
    verifying, identifying = Speaker(verification()), Speaker(identification())
    for speech in lengths:
        decision, identified = verifying.say(vector, speech), identifying.say(vector, speech)
        if verifying.deciding.net_speech < CONFIG.speech:
            assert decision is identified is None
            assert verifying.deciding.decide() == Decision(Outcome.INCONCLUSIVE, "too_little_speech")
            assert identifying.deciding.decide() == Identified(Recognition.UNDECIDED, "too_little_speech")


@settings(deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=400), vectors())
def test_it_decides_at_the_maximum_of_speech(lengths: list[float], vector: Vector) -> None:
    verifying, identifying = Speaker(verification()), Speaker(identification())
    for speech in lengths:
        decision, identified = verifying.say(vector, speech), identifying.say(vector, speech)
        if verifying.deciding.net_speech >= CONFIG.max_speech:
            assert decision is not None
            assert identified is not None
            assert identified == identifying.deciding.decide()
            return


def test_speech_in_overlapping_windows_counts_once() -> None:
    verifying = verification()
    assert verifying.add(window(1.4), embedding(between(0.9))) is None
    assert verifying.add(window(0.5, net_speech=1.9), embedding(between(0.9))) is None
    assert verifying.net_speech == pytest.approx(1.9)


def test_an_identification_of_an_unknown_voice_ends_at_the_maximum() -> None:
    speaker = Speaker(identification())
    assert [speaker.say(axis(2)) for _ in range(3)] == [None] * 3
    identified = speaker.say(axis(2))
    assert isinstance(identified, Identified)
    assert (identified.recognition, identified.identity) == (Recognition.UNKNOWN, None)


def test_an_identification_names_a_known_voice_as_soon_as_there_is_enough_speech() -> None:
    speaker = Speaker(identification())
    assert speaker.say(axis(5)) is None
    identified = speaker.say(axis(5))
    assert isinstance(identified, Identified)
    assert (identified.recognition, identified.identity) == (Recognition.KNOWN, "ben")


# Without enough speech


def both() -> tuple[Verification, Identification]:
    return verification(), identification()


def reason(deciding: Verification | Identification) -> str:
    """Return why there is no decision."""
    found = deciding.decide()
    undecided = found.outcome is Outcome.INCONCLUSIVE if isinstance(found, Decision) else found.identity is None
    assert undecided
    return found.reason


def test_without_windows_the_reason_is_no_speech() -> None:
    for deciding in both():
        assert reason(deciding) == "no_speech"


def test_if_nothing_passed_the_gate_the_most_common_refusal_is_the_reason() -> None:
    for deciding in both():
        for refusal in ("clipped", "noisy", "noisy", "too_quiet"):
            deciding.add_refusal(refusal)
        assert reason(deciding) == "noisy"
        assert deciding.net_speech == 0.0


def test_with_too_little_speech_a_refusal_is_the_reason() -> None:
    for deciding in both():
        Speaker(deciding).say(axis(0))
        assert reason(deciding) == "too_little_speech"
        deciding.add_refusal("clipped")
        assert reason(deciding) == "clipped"


def test_refusals_do_not_matter_if_there_is_enough_speech() -> None:
    verifying = verification()
    for _ in range(5):
        verifying.add_refusal("noisy")
    assert ended(verify([between(0.9)] * 2, verifying)) == (2, "accept", "match")


# Wrong windows never help. A pool can be closer to a person than each of its windows, which is its purpose for noisy
# windows of the right voice. But a window without any component of the claimed voice, unless it is opposite to the
# others, cannot bring the pool closer.

PART = st.floats(0.05, 1.0)
WITHOUT_ANNA = st.lists(PART, min_size=DIMENSION - 1, max_size=DIMENSION - 1).map(lambda parts: unit([0.0, *parts]))
PARTLY_ANNA = st.lists(PART, min_size=DIMENSION, max_size=DIMENSION).map(unit)


@settings(deadline=None)
@given(
    spoken=st.lists(st.tuples(st.floats(2.0, 3.0), st.one_of(PARTLY_ANNA, WITHOUT_ANNA)), min_size=1, max_size=5),
    wrong=WITHOUT_ANNA,
    speech=LENGTHS,
)
def test_a_window_without_the_claimed_voice_never_brings_the_pool_closer(
    spoken: list[tuple[float, Vector]], wrong: Vector, speech: float
) -> None:
    speaker = Speaker(verification())
    for length, vector in spoken:
        speaker.say(vector, length)
    before = speaker.deciding.decide()
    speaker.say(wrong, speech)
    after = speaker.deciding.decide()
    assert isinstance(before, Decision)
    assert isinstance(after, Decision)
    assert before.score is not None
    assert after.score is not None
    assert after.score.cosine <= before.score.cosine + 1e-6


@settings(deadline=None)
@given(st.floats(-1.0, RULE.accept - 0.01), st.lists(LENGTHS, min_size=1, max_size=40))
def test_a_wrong_voice_is_not_accepted_with_any_number_of_windows(cosine: float, lengths: list[float]) -> None:
    speaker = Speaker(verification())
    for speech in lengths:
        decision = speaker.say(between(cosine), speech)
        assert decision is None or decision.outcome is not Outcome.ACCEPT  # type: ignore[union-attr]
    assert speaker.deciding.decide().outcome is not Outcome.ACCEPT  # type: ignore[union-attr]


@pytest.mark.parametrize("place", [0, 3])
def test_one_matching_window_is_not_enough(place: int) -> None:
    assert ended(verify([axis(0)] * 2))[1] == "accept", "it would pass on its own"
    spoken = [axis(1)] * 4
    spoken[place] = axis(0)
    assert not any(each is not None and each.outcome is Outcome.ACCEPT for each in verify(spoken))


@settings(deadline=None)
@given(
    before=st.integers(1, 3),
    other=st.floats(-0.9, RULE.agreement - 0.01).map(lambda cosine: between(cosine, 0, 1)),
    order=st.booleans(),
)
def test_a_change_of_speaker_is_never_accepted(before: int, other: Vector, order: bool) -> None:
    """Also if the mean of both voices is close enough to the claimed one."""
    config = VerifyConfig(speech=6.0, max_speech=6.0)
    spoken = [axis(0)] * before + [other] * (4 - before)
    verifying = verification(config=config)
    speaker = Speaker(verifying)
    for vector in spoken if order else reversed(spoken):
        decision = speaker.say(vector)
        assert decision is None or decision.outcome is not Outcome.ACCEPT  # type: ignore[union-attr]
    mean = float(axis(0) @ unit(np.sum(spoken, axis=0)))
    if mean >= RULE.accept + 1e-6:
        assert verifying.decide().reason == "not_one_voice"


def test_several_voices_are_the_reason_at_the_end() -> None:
    two = [between(0.6, 0, 1), between(0.6, 0, 2)] * 2  # cosine 0.36 to each other, and 0.73 of their mean to anna
    one = Rule("unlock", False, 0.5, 0.3, 0.05, 1.0, agreement=0.35)
    several = Rule("unlock", False, 0.5, 0.3, 0.05, 1.0, agreement=0.37)
    assert ended(verify(two, verification(one))) == (2, "accept", "match")
    assert ended(verify(two, verification(several))) == (4, "inconclusive", "not_one_voice")
    speaker = Speaker(identification(several))
    *before, last = (speaker.say(vector) for vector in two)
    assert before == [None] * 3
    assert isinstance(last, Identified)
    assert (last.recognition, last.reason) == (Recognition.UNKNOWN, "not_one_voice")


# Invalid values


def test_a_change_of_model_is_an_error() -> None:
    for deciding in both():
        deciding.add(window(1.5), embedding(axis(0)))
        with pytest.raises(ModelError) as caught:
            deciding.add(window(1.5), embedding(axis(0), OTHER_MODEL))
        assert caught.value.reason == "wrong_model"


def test_profiles_of_another_model_are_an_error() -> None:
    other = make_gallery([profile("anna", [axis(0)], OTHER_MODEL)], OTHER_MODEL)
    with pytest.raises(ModelError) as caught:
        verify([axis(0)] * 2, verification(comparing=lambda voice: compare(voice, other)))
    assert caught.value.reason == "wrong_model"


def test_windows_that_cancel_out_are_an_error() -> None:
    with pytest.raises(ModelError):
        verify([axis(0), unit(-axis(0))])


@pytest.mark.parametrize("speech", [math.nan, math.inf, -math.inf])
def test_net_speech_that_is_not_finite_never_accepts(speech: float) -> None:
    verifying = verification()
    for length, vector in ((1.5, axis(0)), (speech, axis(0)), (3.0, axis(0)), (3.0, axis(0))):
        decision = verifying.add(window(length, net_speech=3.0), embedding(vector))
        assert decision is None or decision.outcome is Outcome.INCONCLUSIVE
    assert verifying.decide().outcome is Outcome.INCONCLUSIVE


def test_a_profile_deleted_during_the_request_is_not_accepted() -> None:
    galleries = [GALLERY]
    verifying = verification(comparing=lambda voice: compare(voice, galleries[-1]))
    speaker = Speaker(verifying)
    assert speaker.say(axis(0)) is None
    galleries.append(make_gallery([profile("ben", [axis(5)])], MODEL))
    speaker.say(axis(0))
    assert verifying.decide() == Decision(Outcome.REJECT, "not_enrolled")
