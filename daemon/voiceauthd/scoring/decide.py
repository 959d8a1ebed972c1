"""From scores to decisions. Every comparison is written so that NaN, an empty list or a missing value rejects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score

REJECT_LEAD = 0.2
"""Lead of another enrolled identity, in the unit of `Score.normalised`, at which a claim below the bound is rejected
instead of unsure: four times the lead that distinguishes two identities."""

UNUSABLE = "unusable_score"
"""Reason if a value is not finite. More speech does not fix that, so a request ends with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The bounds of a decision.

    policy      name of the policy
    calibrated  whether the bounds are log-likelihood ratios; otherwise cosines, which correspond to no error rate
    accept      bound at or above which a voice may be accepted
    reject      bound below which it is rejected without more speech; between the two it is unsure
    margin      lead that an identity must have over the next one, in the unit of `Score.normalised`
    min_speech  seconds of net speech below which nothing is decided
    agreement   minimum cosine between windows of one voice
    """

    policy: str
    calibrated: bool
    accept: float
    reject: float
    margin: float
    min_speech: float
    agreement: float

    def measure(self, score: Score) -> float:
        """Return the value of a score that is compared with the bounds; NaN if it is missing."""
        value = score.llr if self.calibrated else score.cosine
        return math.nan if value is None else value


def identify(scores: Sequence[Score], net_speech: float, agreement: float, rule: Rule) -> Identified:
    """Identify open-set: the best identity if it reaches the bound and leads the next by the margin, otherwise unknown.

    scores: one per identity, in any order. For LLRs the bound rises by the logarithm of the number of identities,
    because each is a chance of a false accept, and the policy's rate is for all of them together.
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
    """Return the bound for the best of a number of identities. `identities`: at least one."""
    return rule.accept + math.log(identities) if rule.calibrated else rule.accept


def verify(name: str, scores: Sequence[Score], net_speech: float, agreement: float, rule: Rule) -> Decision:
    """Verify the claim to be `name`. Accepts only if every condition holds; `scores` must contain one of `name`.

    The margin is the lead over the best other identity; it is not required if there is no other.
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
        if margin is not None and margin <= -REJECT_LEAD:
            return Decision(Outcome.REJECT, "no_match", score, margin)
        return Decision(Outcome.INCONCLUSIVE, "unsure", score, margin)
    if not _reaches(agreement, rule.agreement):
        return Decision(Outcome.INCONCLUSIVE, "not_one_voice", score, margin)
    if not _leads(margin, rule):
        return Decision(Outcome.REJECT, "ambiguous", score, margin)
    return Decision(Outcome.ACCEPT, "match", score, margin)


def _is_usable(score: Score, rule: Rule) -> bool:
    """Whether every value of a score is finite, including those that are not compared with a bound."""
    ratio = 0.0 if score.llr is None else score.llr
    return all(map(math.isfinite, (score.cosine, score.normalised, ratio, rule.measure(score))))


def _reaches(value: float, bound: float) -> bool:
    """Whether a value is at or above a bound, and both are finite: infinity is as invalid as NaN."""
    return math.isfinite(value) and math.isfinite(bound) and value >= bound


def _leads(margin: float | None, rule: Rule) -> bool:
    """Whether the lead over the next identity is large enough. A tie never is, even if no margin is required."""
    if margin is None:
        return math.isfinite(rule.margin)
    return _reaches(margin, rule.margin) and margin > 0.0
