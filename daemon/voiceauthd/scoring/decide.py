"""From scores to decisions. Every comparison is written so that NaN, an empty list or a missing part rejects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score

CLEARLY_ANOTHERS = 0.2
"""Lead of another enrolled identity, in the unit of `Score.normalised`, at which a claim that is not borne out is wrong
and not merely unsure: four times the lead that tells two identities apart."""

UNUSABLE = "unusable_score"
"""Reason where a figure is no number. More speech does not mend that: a request ends with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a decision is held against.

    policy      its name
    calibrated  the bounds are log-likelihood ratios; else cosines, which stand for no error rate
    accept      at or above which a voice may be the claimed one
    reject      below which it is not, however much more is said; between the two nothing is sure
    margin      lead that an identity must have over the next one, in the unit of `Score.normalised`
    min_speech  seconds of net speech below which nothing is decided
    agreement   cosine that windows of one voice have at least
    """

    policy: str
    calibrated: bool
    accept: float
    reject: float
    margin: float
    min_speech: float
    agreement: float

    def measure(self, score: Score) -> float:
        """What of a score is held against the bounds; NaN if it is not there."""
        value = score.llr if self.calibrated else score.cosine
        return math.nan if value is None else value


def identify(scores: Sequence[Score], net_speech: float, agreement: float, rule: Rule) -> Identified:
    """Open-set: the best identity, if it reaches the bound and leads the next by the margin; else unknown.

    scores: one an identity, in any order. With ratios, the bound rises by the logarithm of the number of identities:
    each is a chance to be taken for somebody, and the false-accept rate of all together is what the policy is about.
    """
    if not _reaches(net_speech, rule.min_speech):
        return Identified(Recognition.UNDECIDED, "too_little_speech")
    if not scores:
        return Identified(Recognition.UNKNOWN, "nobody_enrolled")
    if not all(_is_usable(score, rule) for score in scores):
        return Identified(Recognition.UNDECIDED, UNUSABLE)
    ranked = sorted(scores, key=lambda score: (-score.normalised, score.name))
    best = ranked[0]
    margin = best.normalised - ranked[1].normalised if len(ranked) > 1 else None
    if not _reaches(rule.measure(best), open_set_bound(rule, len(scores))):
        return Identified(Recognition.UNKNOWN, "no_match", None, best, margin)
    if not _reaches(agreement, rule.agreement):
        return Identified(Recognition.UNKNOWN, "not_one_voice", None, best, margin)
    if not _leads(margin, rule):
        return Identified(Recognition.UNKNOWN, "ambiguous", None, best, margin)
    return Identified(Recognition.KNOWN, "match", best.name, best, margin)


def open_set_bound(rule: Rule, identities: int) -> float:
    """What the best of so many identities must reach. `identities`: at least one."""
    return rule.accept + math.log(identities) if rule.calibrated else rule.accept


def verify(name: str, scores: Sequence[Score], net_speech: float, agreement: float, rule: Rule) -> Decision:
    """Is it `name`? Accepts only if every condition holds; `scores` must have one of `name`.

    The margin is held against the best other identity, and counts nothing when there is no other.
    """
    if not _reaches(net_speech, rule.min_speech):
        return Decision(Outcome.INCONCLUSIVE, "too_little_speech")
    claimed = [score for score in scores if score.name == name]
    if len(claimed) != 1:
        return Decision(Outcome.REJECT, "not_enrolled")
    if not all(_is_usable(score, rule) for score in scores):
        return Decision(Outcome.REJECT, UNUSABLE)
    score = claimed[0]
    others = [other.normalised for other in scores if other.name != name]
    margin = score.normalised - max(others) if others else None
    measured = rule.measure(score)
    if not _reaches(measured, rule.reject):
        return Decision(Outcome.REJECT, "no_match", score, margin)
    if not _reaches(measured, rule.accept):
        if margin is not None and margin <= -CLEARLY_ANOTHERS:
            return Decision(Outcome.REJECT, "no_match", score, margin)
        return Decision(Outcome.INCONCLUSIVE, "unsure", score, margin)
    if not _reaches(agreement, rule.agreement):
        return Decision(Outcome.INCONCLUSIVE, "not_one_voice", score, margin)
    if not _leads(margin, rule):
        return Decision(Outcome.REJECT, "ambiguous", score, margin)
    return Decision(Outcome.ACCEPT, "match", score, margin)


def _is_usable(score: Score, rule: Rule) -> bool:
    """Whether every figure of a score is a number, also one that is not held against a bound."""
    ratio = 0.0 if score.llr is None else score.llr
    return all(map(math.isfinite, (score.cosine, score.normalised, ratio, rule.measure(score))))


def _reaches(value: float, bound: float) -> bool:
    """Whether a value is at or above a bound, and both are numbers: infinity is as broken as NaN."""
    return math.isfinite(value) and math.isfinite(bound) and value >= bound


def _leads(margin: float | None, rule: Rule) -> bool:
    """Whether an identity is far enough before the next one. In a tie nobody is, even where no margin is asked for."""
    if margin is None:
        return math.isfinite(rule.margin)
    return _reaches(margin, rule.margin) and margin > 0.0
