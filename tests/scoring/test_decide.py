"""From scores to decisions: what accepts, and that nothing else does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import ANYTHING, COSINES, NAMES, RULE, score, scores

from voiceauthd.scoring.advice import ADVICE
from voiceauthd.scoring.decide import Rule, identify, verify
from voiceauthd.scoring.decision import Outcome, Recognition

LISTS = st.lists(COSINES, max_size=4)
RULES = st.builds(
    Rule, threshold=COSINES, margin=st.floats(0.0, 0.5), min_speech=st.floats(1.0, 10.0), calibrated=st.booleans()
)
SPEECH = st.floats(0.0, 20.0)


def accepts(values: list[float], speech: float = 3.0, rule: Rule = RULE, name: str = "anna") -> bool:
    return verify(name, scores(values), speech, rule).outcome is Outcome.ACCEPT


def known(values: list[float], speech: float = 3.0, rule: Rule = RULE) -> str | None:
    found = identify(scores(values), speech, rule)
    assert (found.recognition is Recognition.KNOWN) == (found.identity is not None)
    return found.identity


@settings(deadline=None)
@given(values=LISTS, speech=SPEECH, rule=RULES)
def test_an_accept_means_all_of_it(values: list[float], speech: float, rule: Rule) -> None:
    leads = all(values[0] > other and values[0] - other >= rule.margin for other in values[1:])
    right = bool(values) and speech >= rule.min_speech and values[0] >= rule.threshold and leads
    assert accepts(values, speech, rule) == right


@settings(deadline=None)
@given(values=LISTS, speech=SPEECH, rule=RULES)
def test_the_one_who_is_identified_is_the_one_who_would_be_accepted(
    values: list[float], speech: float, rule: Rule
) -> None:
    assert {known(values, speech, rule)} - {None} == {
        name for name in NAMES if accepts(values, speech, rule, name) and name in NAMES[: len(values)]
    }


@settings(deadline=None)
@given(
    values=st.lists(ANYTHING, max_size=4),
    speech=ANYTHING,
    threshold=ANYTHING,
    margin=ANYTHING,
    least=ANYTHING,
)
def test_nothing_that_is_not_a_number_accepts(
    values: list[float], speech: float, threshold: float, margin: float, least: float
) -> None:
    rule = Rule(threshold, margin, least, calibrated=True)
    broken = not all(map(math.isfinite, values)) or any(map(math.isnan, (speech, threshold, least)))
    broken = broken or (math.isnan(margin) and len(values) > 1)
    if broken or not values:
        assert not accepts(values, speech, rule)
        assert known(values, speech, rule) is None


@pytest.mark.parametrize("values", [[math.nan], [math.nan, 0.1], [0.9, math.nan], [math.inf], [0.9, -math.inf]])
def test_one_score_that_is_not_a_number_decides_against(values: list[float]) -> None:
    assert verify("anna", scores(values), 3.0, RULE).reason == "unusable_score"
    assert identify(scores(values), 3.0, RULE).reason == "unusable_score"


def test_an_empty_list_accepts_nobody() -> None:
    decision = verify("anna", [], 3.0, RULE)
    assert (decision.outcome, decision.reason, decision.score) == (Outcome.REJECT, "not_enrolled", None)
    found = identify([], 3.0, RULE)
    assert (found.recognition, found.reason, found.best) == (Recognition.UNKNOWN, "nobody_enrolled", None)


@settings(deadline=None)
@given(values=st.lists(COSINES, min_size=1, max_size=4), more=st.floats(0.0, 2.0), rule=RULES)
def test_a_closer_voice_is_never_worse_off(values: list[float], more: float, rule: Rule) -> None:
    if accepts(values, 20.0, rule):
        assert accepts([values[0] + more, *values[1:]], 20.0, rule)


@settings(deadline=None)
@given(values=st.lists(COSINES, min_size=2, max_size=4), more=st.floats(0.0, 2.0), rule=RULES)
def test_a_closer_rival_never_helps(values: list[float], more: float, rule: Rule) -> None:
    if accepts([values[0], values[1] + more, *values[2:]], 20.0, rule):
        assert accepts(values, 20.0, rule)


@settings(deadline=None)
@given(values=LISTS, speech=SPEECH, more=SPEECH, rule=RULES)
def test_more_speech_with_the_same_score_is_never_worse(
    values: list[float], speech: float, more: float, rule: Rule
) -> None:
    if accepts(values, speech, rule):
        assert accepts(values, speech + more, rule)


@settings(deadline=None)
@given(values=LISTS, rule=RULES, order=st.permutations(range(4)))
def test_the_order_of_scores_does_not_matter(values: list[float], rule: Rule, order: list[int]) -> None:
    ordered = scores(values)
    shuffled = [ordered[index] for index in order if index < len(ordered)]
    assert verify("anna", ordered, 20.0, rule) == verify("anna", shuffled, 20.0, rule)
    one, other = identify(ordered, 20.0, rule), identify(shuffled, 20.0, rule)
    assert (one.recognition, one.identity, one.margin) == (other.recognition, other.identity, other.margin)


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_in_a_tie_it_is_nobody(margin: float) -> None:
    rule = replace(RULE, margin=margin)
    decision = verify("anna", scores([0.9, 0.9, 0.2]), 3.0, rule)
    assert (decision.outcome, decision.reason) == (Outcome.REJECT, "ambiguous")
    found = identify(scores([0.9, 0.9, 0.2]), 3.0, rule)
    assert (found.recognition, found.reason) == (Recognition.UNKNOWN, "ambiguous")


@pytest.mark.parametrize(
    ("values", "outcome", "reason", "margin"),
    [
        ([0.5], Outcome.ACCEPT, "match", None),
        ([0.4999], Outcome.REJECT, "no_match", None),
        ([0.75, 0.5], Outcome.ACCEPT, "match", 0.25),
        ([0.75, 0.71], Outcome.REJECT, "ambiguous", 0.04),
        ([0.75, 0.8], Outcome.REJECT, "ambiguous", -0.05),
        ([0.2, 0.9], Outcome.REJECT, "no_match", -0.7),
    ],
)
def test_the_edges_of_a_decision(values: list[float], outcome: Outcome, reason: str, margin: float | None) -> None:
    decision = verify("anna", scores(values), 1.0, RULE)
    assert (decision.outcome, decision.reason) == (outcome, reason)
    assert decision.margin == (None if margin is None else pytest.approx(margin))


def test_too_little_speech_is_no_reject_and_no_accept() -> None:
    decision = verify("anna", scores([1.0]), 0.99, RULE)
    assert (decision.outcome, decision.reason) == (Outcome.INCONCLUSIVE, "too_little_speech")
    assert identify(scores([1.0]), 0.99, RULE).recognition is Recognition.UNDECIDED


def test_two_scores_of_one_name_are_a_defect_and_accept_nobody() -> None:
    twice = [score("anna", 0.9), score("anna", 0.8)]
    assert verify("anna", twice, 3.0, RULE).outcome is Outcome.REJECT


def test_the_name_must_be_that_very_name() -> None:
    for name in ("Anna", "ann", "anna ", ""):
        assert verify(name, scores([0.9]), 3.0, RULE).reason == "not_enrolled"


@settings(deadline=None)
@given(values=st.lists(ANYTHING, max_size=4), speech=ANYTHING)
def test_every_reason_has_advice(values: list[float], speech: float) -> None:
    assert verify("anna", scores(values), speech, RULE).reason in ADVICE
    assert identify(scores(values), speech, RULE).reason in ADVICE
