"""From scores to decisions: what is accepted, and that nothing else is."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import ANYTHING, BROKEN, COSINES, NAMES, RATIOS, RULE, RULES, score, scores

from voiceauthd.scoring.decide import Rule, identify, open_set_bound, verify
from voiceauthd.scoring.decision import Outcome, Recognition, Score

VALUES = st.tuples(COSINES, st.floats(-1.5, 1.5), st.floats(-30.0, 30.0))
LISTS = st.lists(VALUES, max_size=4).map(
    lambda found: [Score(name, *values) for name, values in zip(NAMES, found, strict=False)]
)
SOMETHING = st.sampled_from((0.0, 1.0, 1.0, 2.0)) | ANYTHING
SPEECH = st.floats(0.0, 20.0)
AGREEMENT = st.floats(-1.0, 1.0)


def accepts(found: list[Score], speech: float = 3.0, agreement: float = 1.0, rule: Rule = RULE) -> bool:
    return verify("anna", found, speech, agreement, rule).outcome is Outcome.ACCEPT


def identified_name(found: list[Score], speech: float = 3.0, agreement: float = 1.0, rule: Rule = RULE) -> str | None:
    identified = identify(found, speech, agreement, rule)
    assert (identified.recognition is Recognition.KNOWN) == (identified.identity is not None)
    return identified.identity


def raised(one: Score, by: float) -> Score:
    return Score(one.name, one.cosine + by, one.normalised + by, None if one.llr is None else one.llr + by)


# Conditions of an accept


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, rule=RULES)
def test_an_accept_needs_every_condition(found: list[Score], speech: float, agreement: float, rule: Rule) -> None:
    right = False
    if found:
        own, others = found[0], [other.normalised for other in found[1:]]
        measured = own.llr if rule.calibrated else own.cosine
        assert measured is not None
        leads = all(own.normalised > other and own.normalised - other >= rule.margin for other in others)
        enough = speech >= rule.min_speech and agreement >= rule.agreement
        right = enough and measured >= rule.accept and leads
    assert accepts(found, speech, agreement, rule) == right


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, rule=RULES)
def test_an_identified_person_would_be_verified(
    found: list[Score], speech: float, agreement: float, rule: Rule
) -> None:
    name = identified_name(found, speech, agreement, rule)
    if name is not None:
        assert verify(name, found, speech, agreement, rule).outcome is Outcome.ACCEPT


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, rule=RULES)
def test_at_most_one_identity_is_accepted(found: list[Score], speech: float, agreement: float, rule: Rule) -> None:
    outcomes = [verify(each.name, found, speech, agreement, rule).outcome for each in found]
    assert outcomes.count(Outcome.ACCEPT) <= 1


@pytest.mark.parametrize(
    ("values", "outcome", "reason", "margin"),
    [
        ([0.5], Outcome.ACCEPT, "match", None),
        ([0.4999], Outcome.INCONCLUSIVE, "unsure", None),
        ([0.3], Outcome.INCONCLUSIVE, "unsure", None),
        ([0.2999], Outcome.REJECT, "no_match", None),
        ([0.75, 0.5], Outcome.ACCEPT, "match", 0.25),
        ([0.75, 0.71], Outcome.REJECT, "ambiguous", 0.04),
        ([0.75, 0.8], Outcome.REJECT, "ambiguous", -0.05),
        ([0.4, 0.59], Outcome.INCONCLUSIVE, "unsure", -0.19),
        ([0.4, 0.61], Outcome.REJECT, "no_match", -0.21),
        ([0.2, 0.9], Outcome.REJECT, "no_match", -0.7),
    ],
)
def test_verification_around_the_bounds(
    values: list[float], outcome: Outcome, reason: str, margin: float | None
) -> None:
    decision = verify("anna", scores(values), 1.0, 1.0, RULE)
    assert (decision.outcome, decision.reason) == (outcome, reason)
    assert decision.margin == (None if margin is None else pytest.approx(margin))
    assert decision.score == score("anna", values[0])


def test_with_a_calibration_the_llr_decides_otherwise_the_cosine() -> None:
    found = [Score("anna", cosine=0.49, normalised=0.4, llr=6.9)]
    assert accepts(found, rule=RATIOS)
    assert not accepts(found, rule=RULE)
    found = [Score("anna", cosine=0.51, normalised=0.4, llr=6.89)]
    assert not accepts(found, rule=RATIOS)
    assert accepts(found, rule=RULE)


def test_a_missing_llr_accepts_nobody() -> None:
    found = [Score("anna", 0.99, 0.9, None), Score("ben", 0.1, 0.0, 9.0)]
    for each in found:
        assert verify(each.name, found, 3.0, 1.0, RATIOS).reason == "unusable_score"
    assert identify(found, 3.0, 1.0, RATIOS).reason == "unusable_score"


# Invalid values


@settings(deadline=None, max_examples=300)
@given(
    values=st.lists(st.tuples(SOMETHING, SOMETHING, st.none() | SOMETHING), max_size=4),
    speech=SOMETHING,
    agreement=SOMETHING,
    bounds=st.tuples(*[SOMETHING] * 5),
    calibrated=st.booleans(),
)
def test_only_finite_numbers_at_or_above_the_bound_accept(
    values: list[tuple[float, float, float | None]],
    speech: float,
    agreement: float,
    bounds: tuple[float, float, float, float, float],
    calibrated: bool,
) -> None:
    accept, reject, margin, min_speech, min_agreement = bounds
    rule = Rule("unlock", calibrated, accept, reject, margin, min_speech, min_agreement)
    found = [Score(name, *each) for name, each in zip(NAMES, values, strict=False)]
    if accepts(found, speech, agreement, rule):
        used = [speech, agreement, accept, reject, min_speech, min_agreement]
        used += [value for each in found for value in (each.cosine, each.normalised, rule.measure(each))]
        used += [margin] if len(found) > 1 else []
        assert all(map(math.isfinite, used))
        assert rule.measure(found[0]) >= accept
    if identified_name(found, speech, agreement, rule) is not None:
        assert all(math.isfinite(rule.measure(each)) and rule.measure(each) is not None for each in found)
        assert max(map(rule.measure, found)) >= accept
        assert math.isfinite(speech)
        assert math.isfinite(agreement)


@pytest.mark.parametrize("value", ["cosine", "normalised", "llr"])
def test_a_value_that_is_not_finite_has_its_own_reason(value: str) -> None:
    assert accepts(scores([9.0, 0.1]), rule=RATIOS)
    for index, broken in itertools.product((0, 1), BROKEN):
        found = scores([9.0, 0.1])
        found[index] = replace(found[index], **{value: broken})
        for each in found:
            decision = verify(each.name, found, 3.0, 1.0, RATIOS)
            assert (decision.outcome, decision.reason) == (Outcome.REJECT, "unusable_score")
        identified = identify(found, 3.0, 1.0, RATIOS)
        assert (identified.recognition, identified.reason) == (Recognition.UNDECIDED, "unusable_score")


def test_without_scores_the_reason_is_that_nobody_is_enrolled() -> None:
    decision = verify("anna", [], 3.0, 1.0, RULE)
    assert (decision.outcome, decision.reason, decision.score) == (Outcome.REJECT, "not_enrolled", None)
    identified = identify([], 3.0, 1.0, RULE)
    assert (identified.recognition, identified.reason, identified.best) == (
        Recognition.UNKNOWN,
        "nobody_enrolled",
        None,
    )


def test_the_name_must_match_exactly() -> None:
    for name in ("Anna", "ann", "anna ", ""):
        assert verify(name, scores([0.9]), 3.0, 1.0, RULE).reason == "not_enrolled"


# Monotonicity


@settings(deadline=None)
@given(found=LISTS, by=st.floats(0.0, 5.0), rule=RULES)
def test_a_closer_voice_is_never_refused_instead(found: list[Score], by: float, rule: Rule) -> None:
    if accepts(found, 20.0, 1.0, rule):
        assert accepts([raised(found[0], by), *found[1:]], 20.0, 1.0, rule)


@settings(deadline=None)
@given(found=LISTS, by=st.floats(0.0, 5.0), which=st.integers(1, 3), rule=RULES)
def test_a_closer_rival_never_helps(found: list[Score], by: float, which: int, rule: Rule) -> None:
    closer = [raised(each, by) if index == which else each for index, each in enumerate(found)]
    if accepts(closer, 20.0, 1.0, rule):
        assert accepts(found, 20.0, 1.0, rule)
    if identified_name(closer, 20.0, 1.0, rule) == "anna":
        assert identified_name(found, 20.0, 1.0, rule) == "anna"


@settings(deadline=None)
@given(found=LISTS, values=VALUES, rule=RULES)
def test_another_enrolled_person_never_helps_anybody_else(
    found: list[Score], values: tuple[float, float, float], rule: Rule
) -> None:
    grown = [*found, Score("zoe", *values)]
    if found and accepts(grown, 20.0, 1.0, rule):
        assert accepts(found, 20.0, 1.0, rule)
    assert identified_name(grown, 20.0, 1.0, rule) in (identified_name(found, 20.0, 1.0, rule), "zoe", None)


@given(rule=RULES, one=st.integers(1, 10_000), other=st.integers(1, 10_000))
def test_more_identities_never_lower_the_bound(rule: Rule, one: int, other: int) -> None:
    fewer, more = sorted((one, other))
    assert rule.accept <= open_set_bound(rule, fewer) <= open_set_bound(rule, more)


def test_the_bound_rises_with_the_number_of_identities() -> None:
    assert open_set_bound(RATIOS, 1) == RATIOS.accept
    assert open_set_bound(RATIOS, 10) == pytest.approx(RATIOS.accept + math.log(10))
    assert open_set_bound(RULE, 10) == RULE.accept, "a cosine is not an LLR"
    found = scores([RATIOS.accept + 0.1, 0.0])
    assert accepts(found, rule=RATIOS)
    assert identified_name(found, rule=RATIOS) is None
    assert identified_name(found[:1], rule=RATIOS) == "anna"


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, by=SPEECH, rule=RULES)
def test_more_speech_or_agreement_with_the_same_score_is_never_worse(
    found: list[Score], speech: float, agreement: float, by: float, rule: Rule
) -> None:
    if accepts(found, speech, agreement, rule):
        assert accepts(found, speech + by, agreement, rule)
        assert accepts(found, speech, min(1.0, agreement + by), rule)


@settings(deadline=None)
@given(found=LISTS, rule=RULES, order=st.permutations(range(4)))
def test_the_order_of_scores_does_not_matter(found: list[Score], rule: Rule, order: list[int]) -> None:
    shuffled = [found[index] for index in order if index < len(found)]
    assert verify("anna", found, 20.0, 1.0, rule) == verify("anna", shuffled, 20.0, 1.0, rule)
    assert identify(found, 20.0, 1.0, rule) == identify(shuffled, 20.0, 1.0, rule)


# Cases


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_in_a_tie_nobody_is_accepted(margin: float) -> None:
    rule = replace(RULE, margin=margin)
    found = scores([0.9, 0.9, 0.2])
    for name in ("anna", "ben"):
        decision = verify(name, found, 3.0, 1.0, rule)
        assert (decision.outcome, decision.reason) == (Outcome.REJECT, "ambiguous")
    identified = identify(found, 3.0, 1.0, rule)
    assert (identified.recognition, identified.reason) == (Recognition.UNKNOWN, "ambiguous")


def test_the_margin_is_between_normalised_scores() -> None:
    found = [Score("anna", 0.7, 0.5), Score("ben", 0.8, 0.4)]
    decision = verify("anna", found, 3.0, 1.0, RULE)
    assert (decision.outcome, decision.margin) == (Outcome.ACCEPT, pytest.approx(0.1))
    assert identified_name(found) == "anna"


def test_too_little_speech_is_inconclusive() -> None:
    decision = verify("anna", scores([1.0]), 0.99, 1.0, RULE)
    assert (decision.outcome, decision.reason) == (Outcome.INCONCLUSIVE, "too_little_speech")
    assert identify(scores([1.0]), 0.99, 1.0, RULE).recognition is Recognition.UNDECIDED


def test_several_voices_have_their_own_reason() -> None:
    decision = verify("anna", scores([0.9]), 3.0, 0.19, RULE)
    assert (decision.outcome, decision.reason) == (Outcome.INCONCLUSIVE, "not_one_voice")
    identified = identify(scores([0.9]), 3.0, 0.19, RULE)
    assert (identified.recognition, identified.reason) == (Recognition.UNKNOWN, "not_one_voice")
    assert accepts(scores([0.9]), 3.0, 0.2)


def test_a_clearly_different_voice_is_rejected_with_any_agreement() -> None:
    assert verify("anna", scores([0.1]), 3.0, 0.0, RULE).outcome is Outcome.REJECT
