"""From scores to decisions. Every comparison is written so that NaN, an empty list or a missing part rejects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score


@dataclass(frozen=True, slots=True)
class Rule:
    """What a decision is held against.

    threshold   cosine, at or above which a voice may be the claimed one
    margin      cosine by which an identity must lead the next one
    min_speech  seconds of net speech below which nothing is decided
    calibrated  whether the threshold stands for a measured error rate
    """

    threshold: float
    margin: float
    min_speech: float
    calibrated: bool


def identify(scores: Sequence[Score], net_speech: float, rule: Rule) -> Identified:
    """Open-set: the best identity, if it reaches the threshold and leads the next by the margin; else unknown.

    scores: one an identity, in any order.
    """
    if not net_speech >= rule.min_speech:
        return Identified(Recognition.UNDECIDED, "too_little_speech")
    if not scores:
        return Identified(Recognition.UNKNOWN, "nobody_enrolled")
    if not all(math.isfinite(score.cosine) for score in scores):
        return Identified(Recognition.UNDECIDED, "unusable_score")
    ranked = sorted(scores, key=lambda score: score.cosine, reverse=True)
    best = ranked[0]
    margin = best.cosine - ranked[1].cosine if len(ranked) > 1 else None
    if not best.cosine >= rule.threshold:
        return Identified(Recognition.UNKNOWN, "no_match", None, best, margin)
    if not _leads(margin, rule):
        return Identified(Recognition.UNKNOWN, "ambiguous", None, best, margin)
    return Identified(Recognition.KNOWN, "match", best.name, best, margin)


def verify(name: str, scores: Sequence[Score], net_speech: float, rule: Rule) -> Decision:
    """Is it `name`? Accepts only if every condition holds; `scores` must have one of `name`.

    The margin is held against the best other identity, and counts nothing when there is no other.
    """
    if not net_speech >= rule.min_speech:
        return Decision(Outcome.INCONCLUSIVE, "too_little_speech")
    claimed = [score for score in scores if score.name == name]
    if len(claimed) != 1:
        return Decision(Outcome.REJECT, "not_enrolled")
    if not all(math.isfinite(score.cosine) for score in scores):
        return Decision(Outcome.REJECT, "unusable_score")
    score = claimed[0]
    others = [other.cosine for other in scores if other.name != name]
    margin = score.cosine - max(others) if others else None
    if not score.cosine >= rule.threshold:
        return Decision(Outcome.REJECT, "no_match", score, margin)
    if not _leads(margin, rule):
        return Decision(Outcome.REJECT, "ambiguous", score, margin)
    return Decision(Outcome.ACCEPT, "match", score, margin)


def _leads(margin: float | None, rule: Rule) -> bool:
    """Whether an identity is far enough before the next one. In a tie nobody is, even where no margin is asked for."""
    return margin is None or (margin >= rule.margin and margin > 0.0)
