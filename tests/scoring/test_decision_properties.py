"""Properties of every decision, for all values.

A request ends with its first decision; nothing is claimed about what a `Verification` returns after that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from score_parts import ANYTHING, BROKEN, NAMES, RULES, axis, embedding, window

from voiceauthd.config.schema import VerifyConfig
from voiceauthd.scoring.decide import Rule, identify, verify
from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.scoring.sequential import Identification, Verification

FIELDS = ("cosine", "normalised", "llr")
PARTS = ("accept", "reject", "margin", "min_speech", "agreement")

NUMBERS = st.floats(-40.0, 40.0)
LIKELY = st.sampled_from((-1.0, 0.0, 0.5, 1.0, 10.0, 11.0)) | NUMBERS
"""Often equal to a bound, and often high enough to accept."""
BAD = st.sampled_from(BROKEN)


def lists(min_size: int = 1) -> st.SearchStrategy[list[Score]]:
    """Scores of anna and others; anna's is often the best."""
    values = st.lists(st.tuples(LIKELY, LIKELY, LIKELY), min_size=min_size, max_size=4)
    return values.map(lambda found: [Score(name, *each) for name, each in zip(NAMES, found, strict=False)])


def ok(decision: Decision | Identified | None) -> bool:
    """Whether it accepts or identifies somebody."""
    if isinstance(decision, Identified):
        return decision.recognition is Recognition.KNOWN or decision.identity is not None
    return decision is not None and decision.outcome is Outcome.ACCEPT


def with_value(found: list[Score], at: int, field: str, value: float | None) -> list[Score]:
    at %= len(found)
    return [*found[:at], replace(found[at], **{field: value}), *found[at + 1 :]]


# One decision


@settings(deadline=None)
@given(found=lists(), at=st.integers(0, 3), field=st.sampled_from(FIELDS), value=BAD, rule=RULES)
@example([Score("anna", 9.0, 9.0, 9.0)], 0, "llr", math.nan, Rule("unlock", False, 0.5, 0.3, 0.0, 1.0, 0.0))
@example([Score("anna", 9.0, 9.0, 9.0)], 0, "cosine", math.nan, Rule("unlock", True, 0.5, 0.3, 0.0, 1.0, 0.0))
def test_scores_with_a_value_that_is_not_finite_accept_nobody(
    found: list[Score], at: int, field: str, value: float, rule: Rule
) -> None:
    """In any person's score, and also in a value that this rule does not use."""
    broken = with_value(found, at, field, value)
    for name in NAMES:
        assert not ok(verify(name, broken, 20.0, 1.0, rule))
    assert not ok(identify(broken, 20.0, 1.0, rule))


@settings(deadline=None)
@given(speech=ANYTHING, agreement=ANYTHING, rule=RULES)
def test_no_scores_accept_nobody(speech: float, agreement: float, rule: Rule) -> None:
    for name in NAMES:
        assert not ok(verify(name, [], speech, agreement, rule))
    assert not ok(identify([], speech, agreement, rule))


@settings(deadline=None)
@given(found=lists(min_size=2), rule=RULES)
def test_without_exactly_one_score_of_the_claimed_name_nobody_is_accepted(found: list[Score], rule: Rule) -> None:
    assert not ok(verify("anna", found[1:], 20.0, 1.0, rule))
    for other in found[1:]:
        assert not ok(verify("anna", [*found, replace(other, name="anna")], 20.0, 1.0, rule))
    assert not ok(verify("anna", [*found, found[0]], 20.0, 1.0, rule)), "not even if both are the same"


@settings(deadline=None)
@given(found=lists(), value=BAD, rule=RULES)
@example([Score("anna", 9.0, 9.0, 9.0)], math.nan, Rule("unlock", True, 0.5, 0.3, 0.0, 1.0, 0.0))
def test_speech_agreement_or_a_bound_that_is_not_finite_accepts_nobody(
    found: list[Score], value: float, rule: Rule
) -> None:
    """In any part of the rule, also the margin without another identity. An identification does not use the bound to
    reject."""
    assert not ok(verify("anna", found, value, 1.0, rule))
    assert not ok(verify("anna", found, 20.0, value, rule))
    assert not ok(identify(found, value, 1.0, rule))
    assert not ok(identify(found, 20.0, value, rule))
    for part in PARTS:
        broken = replace(rule, **{part: value})
        assert not ok(verify("anna", found, 20.0, 1.0, broken))
        assert part == "reject" or not ok(identify(found, 20.0, 1.0, broken))


@settings(deadline=None)
@given(found=lists(), by=st.floats(0.0, 40.0), rule=RULES.map(lambda rule: replace(rule, calibrated=True)))
def test_an_accept_is_monotone_in_the_claimed_llr(found: list[Score], by: float, rule: Rule) -> None:
    """All else equal, a higher LLR keeps an accept, and a lower one never causes one. The same holds for an
    identification and the LLR of an identity."""
    own = found[0].llr
    assert own is not None
    higher, lower = ([replace(found[0], llr=own + step), *found[1:]] for step in (by, -by))
    now = ok(verify("anna", found, 20.0, 1.0, rule))
    assert ok(verify("anna", higher, 20.0, 1.0, rule)) or not now
    assert now or not ok(verify("anna", lower, 20.0, 1.0, rule))
    known = identify(found, 20.0, 1.0, rule).identity
    if known is not None:
        assert identify(higher, 20.0, 1.0, rule).identity == known
    if (after := identify(lower, 20.0, 1.0, rule).identity) is not None:
        assert after == known


def test_the_rules_above_accept_often_enough() -> None:
    """Otherwise the properties above would be trivial."""
    accepting: list[bool] = []

    @settings(deadline=None, max_examples=150, database=None)
    @given(found=lists(), rule=RULES)
    def look(found: list[Score], rule: Rule) -> None:
        accepting.append(ok(verify("anna", found, 20.0, 1.0, rule)))

    look()
    assert sum(accepting) > len(accepting) / 20


# Whole requests, window after window


CONFIG = VerifyConfig(speech=2.0, max_speech=30.0)
STEPS = st.lists(st.tuples(st.floats(1.0, 3.0), lists()), min_size=1, max_size=8)


def scripted(
    steps: Sequence[tuple[float, list[Score]]], rule: Rule, listening: type = Verification
) -> Decision | Identified:
    """Return the decision of a request with these scores at each window: the first one, or the one at the end."""
    place, now = 0.0, [Score("anna", 0.0, 0.0, 0.0)]
    comparing: Callable[[PooledSpeech], list[Score]] = lambda voice: now  # noqa: E731 - uses the current `now` of the loop
    deciding = (
        Verification("anna", comparing, rule, CONFIG)
        if listening is Verification
        else Identification(comparing, rule, CONFIG)
    )
    for seconds, scores in steps:
        now = scores
        decision = deciding.add(window(seconds, at=place), embedding(axis(0)))
        place += seconds
        if decision is not None:
            return decision
    return deciding.decide()


@settings(deadline=None, max_examples=150)
@given(
    before=st.lists(st.tuples(st.floats(1.0, 3.0), lists()), max_size=4),
    broken=st.tuples(lists(), st.integers(0, 3), st.sampled_from(FIELDS), BAD),
    after=STEPS,
    rule=RULES,
)
def test_a_request_with_a_value_that_is_not_finite_is_not_accepted_later(
    before: list[tuple[float, list[Score]]],
    broken: tuple[list[Score], int, str, float],
    after: list[tuple[float, list[Score]]],
    rule: Rule,
) -> None:
    """Such a comparison ends the request without an accept; later good scores do not matter."""
    whole = [(2.0, [Score("anna", 0.0, 0.0, 0.0)]), *before]
    for listening in (Verification, Identification):
        if ok(scripted(whole, rule, listening)):
            continue  # it ended before
        assert not ok(scripted([*whole, (2.0, with_value(*broken)), *after], rule, listening))


@settings(deadline=None)
@given(steps=STEPS, rule=RULES, missing=st.booleans())
def test_a_request_without_a_score_of_the_name_is_not_accepted(
    steps: list[tuple[float, list[Score]]], rule: Rule, missing: bool
) -> None:
    steps = [(seconds, found[1:] if missing else []) for seconds, found in steps]
    assert not ok(scripted(steps, rule))


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, by=st.floats(0.0, 40.0), rule=RULES.map(lambda rule: replace(rule, calibrated=True)))
def test_an_accept_of_a_request_is_monotone_in_the_claimed_llr(
    steps: list[tuple[float, list[Score]]], by: float, rule: Rule
) -> None:
    """With a higher claimed LLR at every step, an accepted request is accepted, perhaps sooner."""

    def moved(step: float) -> list[tuple[float, list[Score]]]:
        return [
            (seconds, [replace(found[0], llr=(found[0].llr or 0.0) + step), *found[1:]]) for seconds, found in steps
        ]

    now = ok(scripted(steps, rule))
    assert ok(scripted(moved(by), rule)) or not now
    assert now or not ok(scripted(moved(-by), rule))
