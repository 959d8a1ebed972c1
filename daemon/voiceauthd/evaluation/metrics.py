"""Error rates and costs of scores whose truth is known. Everything but Cllr follows from one curve: how many targets
and how many non-targets are accepted as the threshold falls.

    threshold    +inf   0.9   0.7   0.4
    hits            0     2     3     4     of 4 targets
    alarms          0     0     1     5     of 5 non-targets

Equal scores are accepted together or not at all. A score that is NaN is a reject: it counts as the lowest there is, and
is never left out. All curves have a first axis, for the resamples of a bootstrap; it has length 1 without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BIT = float(np.log(2.0))
"""Nats in a bit: Cllr is told in bits, ratios in natural logarithms."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Trials by falling score, equal scores in one group.

    thresholds  shape (groups,), falling: at or above the score of a group, it is accepted with all before it
    order       shape (trials,): the index of each trial
    ends        shape (groups,): trials up to the end of each group
    target      shape (trials,), in `order`
    """

    thresholds: Floats
    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    target: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What is accepted, from nothing to everything. Shapes (resamples, groups + 1); weights where trials have some."""

    hits: Floats
    alarms: Floats

    @property
    def miss(self) -> Floats:
        """False-reject rate, 1 to 0; NaN without targets."""
        return 1.0 - _shares(self.hits)

    @property
    def false_alarm(self) -> Floats:
        """False-accept rate, 0 to 1; NaN without non-targets."""
        return _shares(self.alarms)


def rank(scores: Floats, target: Bools, missing: float = -np.inf) -> Ranking:
    """scores, target: shape (trials,), at least one trial. missing: stands for a score that is NaN."""
    filled = np.where(np.isnan(scores), missing, scores)
    order = np.argsort(-filled, kind="stable")
    falling = filled[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return Ranking(falling[last], order, last + 1, target[order])


def accept(ranking: Ranking, weights: Floats | None = None) -> Curve:
    """The curve of each row of weights, shape (resamples, trials); None: one curve, every trial counts once."""
    if weights is None:
        weights = np.ones((1, len(ranking.order)))
    ordered = weights[:, ranking.order]
    hits = np.cumsum(ordered * ranking.target, axis=1)[:, ranking.ends - 1]
    alarms = np.cumsum(ordered * ~ranking.target, axis=1)[:, ranking.ends - 1]
    nothing = np.zeros((len(ordered), 1))
    return Curve(np.hstack((nothing, hits)), np.hstack((nothing, alarms)))


def equal_error_rate(curve: Curve) -> Floats:
    """Where false rejects and false accepts are equally frequent, 0 to 1. Shape (resamples,).

    The crossing of the curve itself, whose points are joined by straight lines (Fawcett 2006, "An introduction to ROC
    analysis": the way to count ties). Not of its convex hull, which lies lower and is reached by no threshold.
    """
    miss, false_alarm = curve.miss, curve.false_alarm
    gap = false_alarm - miss
    rows = np.arange(len(gap))
    after = np.maximum(np.argmax(gap >= 0.0, axis=1), 1)
    low, high = gap[rows, after - 1], gap[rows, after]
    share = -low / (high - low)
    rate: Floats = false_alarm[rows, after - 1] + share * (false_alarm[rows, after] - false_alarm[rows, after - 1])
    return rate


def min_detection_cost(curve: Curve, p_target: float) -> Floats:
    """The lowest cost at any threshold, as a share of the cost of the better blind decision. Shape (resamples,).

    NIST's detection cost with both errors at cost 1 (Martin & Przybocki 2000; the SRE plans since): p_target times the
    false rejects plus 1 - p_target times the false accepts, over the smaller of the two shares.
    """
    cost = p_target * curve.miss + (1.0 - p_target) * curve.false_alarm
    lowest: Floats = np.min(cost, axis=1) / min(p_target, 1.0 - p_target)
    return lowest


def false_rejects_at(curve: Curve, false_accepts: float) -> Floats:
    """The false-reject rate at the lowest threshold with at most that false-accept rate. Shape (resamples,).

    Only thresholds that exist: nothing is read off between two points, and equal scores are not parted.
    """
    total = curve.alarms[:, -1:]
    # Weights are whole numbers: the hundredth is far below one of them and far above rounding.
    allowed = curve.alarms <= false_accepts * total + 0.01
    point = np.sum(allowed, axis=1) - 1  # alarms never fall along the curve
    rate: Floats = np.where(total[:, 0] > 0.0, curve.miss[np.arange(len(point)), point], np.nan)
    return rate


def log_ratio_cost(ratios: Floats, target: Bools, weights: Floats | None = None) -> Floats:
    """Cllr of log-likelihood ratios in natural logarithms, in bits (Brümmer & du Preez 2006, "Application-independent
    evaluation of speaker detection"). Shape (resamples,).

    0 is perfect; 1 is what a ratio of 1 for every trial costs. NaN says nothing, which is a log ratio of 0.
    """
    said = np.nan_to_num(ratios, nan=0.0, posinf=np.inf, neginf=-np.inf)
    cost = np.where(target, np.logaddexp(0.0, -said), np.logaddexp(0.0, said))
    if weights is None:
        weights = np.ones((1, len(said)))
    if not np.all(np.isfinite(cost)):
        return np.full(len(weights), np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [weights[:, kind] @ cost[kind] / np.sum(weights[:, kind], axis=1) for kind in (target, ~target)]
    total: Floats = (means[0] + means[1]) / (2.0 * BIT)
    return total


def min_log_ratio_cost(curve: Curve) -> Floats:
    """The Cllr that remains when scores are mapped to ratios in the best way that keeps their order, in bits. Shape
    (resamples,). The best way is the pool-adjacent-violators algorithm (Brümmer & du Preez 2006).
    """
    return np.array([_min_cost(hits, alarms) for hits, alarms in zip(curve.hits, curve.alarms, strict=True)])


def best_ratios(ranking: Ranking, curve: Curve) -> Floats:
    """The log-likelihood ratio of each group by pool-adjacent-violators; natural logarithm, shape (groups,).

    -inf and +inf where there are only non-targets, or only targets. For the first row of the curve.
    """
    targets, nontargets = _increments(curve.hits[0], curve.alarms[0])
    posterior = _pooled(targets, nontargets)
    with np.errstate(divide="ignore"):
        ratios: Floats = np.log(posterior) - np.log1p(-posterior)
    return ratios


def _shares(counts: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Floats = counts / counts[:, -1:]
    return shares


def _increments(hits: Floats, alarms: Floats) -> tuple[Floats, Floats]:
    """Share of all targets and of all non-targets in each group."""
    return np.diff(hits) / hits[-1], np.diff(alarms) / alarms[-1]


def _pooled(targets: Floats, nontargets: Floats) -> Floats:
    """The posterior of each group with both kinds equally likely beforehand, falling as the scores do."""
    from scipy.optimize import isotonic_regression

    weights = targets + nontargets
    posterior: Floats = np.clip(isotonic_regression(targets / weights, weights=weights, increasing=False).x, 0.0, 1.0)
    return posterior


def _min_cost(hits: Floats, alarms: Floats) -> float:
    if not (hits[-1] > 0.0 and alarms[-1] > 0.0):
        return float("nan")
    targets, nontargets = _increments(hits, alarms)
    there = targets + nontargets > 0.0
    targets, nontargets = targets[there], nontargets[there]
    posterior = _pooled(targets, nontargets)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.where(targets > 0.0, -targets * np.log(posterior), 0.0)
        alarmed = np.where(nontargets > 0.0, -nontargets * np.log1p(-posterior), 0.0)
    return max(float(np.sum(missed) + np.sum(alarmed)) / (2.0 * BIT), 0.0)
