"""From scores to decisions: what accepts, and that nothing else does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import ANYTHING, BROKEN, COSINES, NAMES, RATIOS, RULE, score, scores

from voiceauthd.scoring.decide import Rule, identify, open_set_bound, verify
from voiceauthd.scoring.decision import Outcome, Recognition, Score

FIGURES = st.tuples(COSINES, st.floats(-1.5, 1.5), st.floats(-30.0, 30.0))
LISTS = st.lists(FIGURES, max_size=4).map(
    lambda found: [Score(name, *figures) for name, figures in zip(NAMES, found, strict=False)]
)
SOMETHING = st.sampled_from((0.0, 1.0, 1.0, 2.0)) | ANYTHING
SPEECH = st.floats(0.0, 20.0)
AGREEMENT = st.floats(-1.0, 1.0)
RULES = st.builds(
    lambda calibrated, reject, between, margin, min_speech, agreement: Rule(
        "unlock", calibrated, reject + between, reject, margin, min_speech, agreement
    ),
    calibrated=st.booleans(),
    reject=st.floats(-5.0, 1.0),
    between=st.floats(0.0, 5.0),
    margin=st.floats(0.0, 0.5),
    min_speech=st.floats(1.0, 10.0),
    agreement=AGREEMENT,
)


def accepts(found: list[Score], speech: float = 3.0, agreement: float = 1.0, rule: Rule = RULE) -> bool:
    return verify("anna", found, speech, agreement, rule).outcome is Outcome.ACCEPT


def known(found: list[Score], speech: float = 3.0, agreement: float = 1.0, rule: Rule = RULE) -> str | None:
    identified = identify(found, speech, agreement, rule)
    assert (identified.recognition is Recognition.KNOWN) == (identified.identity is not None)
    return identified.identity


def more(one: Score, by: float) -> Score:
    return Score(one.name, one.cosine + by, one.normalised + by, None if one.llr is None else one.llr + by)


# What an accept means


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, rule=RULES)
def test_an_accept_means_all_of_it(found: list[Score], speech: float, agreement: float, rule: Rule) -> None:
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
def test_who_is_identified_would_be_accepted(found: list[Score], speech: float, agreement: float, rule: Rule) -> None:
    name = known(found, speech, agreement, rule)
    if name is not None:
        assert verify(name, found, speech, agreement, rule).outcome is Outcome.ACCEPT


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, rule=RULES)
def test_at_most_one_is_accepted(found: list[Score], speech: float, agreement: float, rule: Rule) -> None:
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
def test_the_edges_of_a_verification(values: list[float], outcome: Outcome, reason: str, margin: float | None) -> None:
    decision = verify("anna", scores(values), 1.0, 1.0, RULE)
    assert (decision.outcome, decision.reason) == (outcome, reason)
    assert decision.margin == (None if margin is None else pytest.approx(margin))
    assert decision.score == score("anna", values[0])


def test_it_is_the_ratio_that_counts_where_there_is_a_calibration_and_else_the_cosine() -> None:
    found = [Score("anna", cosine=0.49, normalised=0.4, llr=6.9)]
    assert accepts(found, rule=RATIOS)
    assert not accepts(found, rule=RULE)
    found = [Score("anna", cosine=0.51, normalised=0.4, llr=6.89)]
    assert not accepts(found, rule=RATIOS)
    assert accepts(found, rule=RULE)


def test_no_ratio_where_one_is_asked_for_accepts_nobody() -> None:
    found = [Score("anna", 0.99, 0.9, None), Score("ben", 0.1, 0.0, 9.0)]
    for each in found:
        assert verify(each.name, found, 3.0, 1.0, RATIOS).reason == "unusable_score"
    assert identify(found, 3.0, 1.0, RATIOS).reason == "unusable_score"


# What is broken


@settings(deadline=None, max_examples=300)
@given(
    figures=st.lists(st.tuples(SOMETHING, SOMETHING, st.none() | SOMETHING), max_size=4),
    speech=SOMETHING,
    agreement=SOMETHING,
    bounds=st.tuples(*[SOMETHING] * 5),
    calibrated=st.booleans(),
)
def test_only_finite_numbers_at_or_above_the_bound_accept(
    figures: list[tuple[float, float, float | None]],
    speech: float,
    agreement: float,
    bounds: tuple[float, float, float, float, float],
    calibrated: bool,
) -> None:
    accept, reject, margin, least, agreed = bounds
    rule = Rule("unlock", calibrated, accept, reject, margin, least, agreed)
    found = [Score(name, *each) for name, each in zip(NAMES, figures, strict=False)]
    if accepts(found, speech, agreement, rule):
        used = [speech, agreement, accept, reject, least, agreed]
        used += [value for each in found for value in (each.cosine, each.normalised, rule.measure(each))]
        used += [margin] if len(found) > 1 else []
        assert all(map(math.isfinite, used))
        assert rule.measure(found[0]) >= accept
    if known(found, speech, agreement, rule) is not None:
        assert all(math.isfinite(rule.measure(each)) and rule.measure(each) is not None for each in found)
        assert max(map(rule.measure, found)) >= accept
        assert math.isfinite(speech)
        assert math.isfinite(agreement)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("whose", [0, 1])
@pytest.mark.parametrize("figure", ["cosine", "normalised", "llr"])
def test_one_figure_that_is_no_number_decides_against_everybody(broken: float, whose: int, figure: str) -> None:
    found = scores([9.0, 0.1])
    assert accepts(found, rule=RATIOS)
    found[whose] = replace(found[whose], **{figure: broken})
    for each in found:
        decision = verify(each.name, found, 3.0, 1.0, RATIOS)
        assert (decision.outcome, decision.reason) == (Outcome.REJECT, "unusable_score")
    identified = identify(found, 3.0, 1.0, RATIOS)
    assert (identified.recognition, identified.reason) == (Recognition.UNDECIDED, "unusable_score")


@pytest.mark.parametrize("broken", BROKEN)
def test_speech_agreement_or_bounds_that_are_no_numbers_accept_nobody(broken: float) -> None:
    found = scores([9.0, 0.1])
    assert not accepts(found, speech=broken, rule=RATIOS)
    assert not accepts(found, agreement=broken, rule=RATIOS)
    assert known(found, speech=broken, rule=RATIOS) is known(found, agreement=broken, rule=RATIOS) is None
    for part in ("accept", "reject", "margin", "min_speech", "agreement"):
        rule = replace(RATIOS, **{part: broken})
        assert not accepts(found, rule=rule)
        assert known(found, rule=rule) is None or part == "reject"  # which an identification does not have


def test_an_empty_list_accepts_nobody() -> None:
    decision = verify("anna", [], 3.0, 1.0, RULE)
    assert (decision.outcome, decision.reason, decision.score) == (Outcome.REJECT, "not_enrolled", None)
    identified = identify([], 3.0, 1.0, RULE)
    assert (identified.recognition, identified.reason, identified.best) == (
        Recognition.UNKNOWN,
        "nobody_enrolled",
        None,
    )


def test_two_scores_of_one_name_are_a_defect_and_accept_nobody() -> None:
    assert not accepts([score("anna", 0.9), score("anna", 0.8)])


def test_the_name_must_be_that_very_name() -> None:
    for name in ("Anna", "ann", "anna ", ""):
        assert verify(name, scores([0.9]), 3.0, 1.0, RULE).reason == "not_enrolled"


# What helps and what does not


@settings(deadline=None)
@given(found=LISTS, by=st.floats(0.0, 5.0), rule=RULES)
def test_a_closer_voice_is_never_worse_off(found: list[Score], by: float, rule: Rule) -> None:
    if accepts(found, 20.0, 1.0, rule):
        assert accepts([more(found[0], by), *found[1:]], 20.0, 1.0, rule)


@settings(deadline=None)
@given(found=LISTS, by=st.floats(0.0, 5.0), which=st.integers(1, 3), rule=RULES)
def test_a_closer_rival_never_helps(found: list[Score], by: float, which: int, rule: Rule) -> None:
    raised = [more(each, by) if index == which else each for index, each in enumerate(found)]
    if accepts(raised, 20.0, 1.0, rule):
        assert accepts(found, 20.0, 1.0, rule)
    if known(raised, 20.0, 1.0, rule) == "anna":
        assert known(found, 20.0, 1.0, rule) == "anna"


@settings(deadline=None)
@given(found=LISTS, figures=FIGURES, rule=RULES)
def test_one_more_enrolled_person_never_helps_anybody_else(
    found: list[Score], figures: tuple[float, float, float], rule: Rule
) -> None:
    grown = [*found, Score("zoe", *figures)]
    if found and accepts(grown, 20.0, 1.0, rule):
        assert accepts(found, 20.0, 1.0, rule)
    assert known(grown, 20.0, 1.0, rule) in (known(found, 20.0, 1.0, rule), "zoe", None)


@given(rule=RULES, one=st.integers(1, 10_000), other=st.integers(1, 10_000))
def test_more_identities_never_lower_the_bound(rule: Rule, one: int, other: int) -> None:
    fewer, most = sorted((one, other))
    assert rule.accept <= open_set_bound(rule, fewer) <= open_set_bound(rule, most)


def test_each_identity_costs_its_share_of_the_false_accepts() -> None:
    assert open_set_bound(RATIOS, 1) == RATIOS.accept
    assert open_set_bound(RATIOS, 10) == pytest.approx(RATIOS.accept + math.log(10))
    assert open_set_bound(RULE, 10) == RULE.accept, "a cosine is no ratio"
    found = scores([RATIOS.accept + 0.1, 0.0])
    assert accepts(found, rule=RATIOS)
    assert known(found, rule=RATIOS) is None
    assert known(found[:1], rule=RATIOS) == "anna"


@settings(deadline=None)
@given(found=LISTS, speech=SPEECH, agreement=AGREEMENT, by=SPEECH, rule=RULES)
def test_more_speech_and_agreement_with_the_same_score_are_never_worse(
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
def test_in_a_tie_it_is_nobody(margin: float) -> None:
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
    assert known(found) == "anna"


def test_too_little_speech_is_no_reject_and_no_accept() -> None:
    decision = verify("anna", scores([1.0]), 0.99, 1.0, RULE)
    assert (decision.outcome, decision.reason) == (Outcome.INCONCLUSIVE, "too_little_speech")
    assert identify(scores([1.0]), 0.99, 1.0, RULE).recognition is Recognition.UNDECIDED


def test_several_voices_are_nobody_and_are_told_so() -> None:
    decision = verify("anna", scores([0.9]), 3.0, 0.19, RULE)
    assert (decision.outcome, decision.reason) == (Outcome.INCONCLUSIVE, "not_one_voice")
    identified = identify(scores([0.9]), 3.0, 0.19, RULE)
    assert (identified.recognition, identified.reason) == (Recognition.UNKNOWN, "not_one_voice")
    assert accepts(scores([0.9]), 3.0, 0.2)


def test_a_voice_that_is_clearly_another_is_rejected_however_mixed() -> None:
    assert verify("anna", scores([0.1]), 3.0, 0.0, RULE).outcome is Outcome.REJECT
