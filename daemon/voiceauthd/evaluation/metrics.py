"""Error rates and costs of scored trials. Everything except Cllr follows from one curve: how many targets and how many
non-targets are accepted as the threshold falls.

    threshold    +inf   0.9   0.7   0.4
    hits            0     2     3     4     of 4 targets
    alarms          0     0     1     5     of 5 non-targets

Equal scores are accepted together or not at all. A score of NaN is a reject: it counts as the lowest score and is never
left out. The first axis of all curves is for the resamples of a bootstrap; without one it has length 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NATS_PER_BIT = float(np.log(2.0))
"""Cllr is in bits, ratios are in natural logarithms."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Trials sorted by falling score, in groups of equal scores.

    thresholds  shape (groups,), falling: the score of each group, at which it and all groups before it are accepted
    order       shape (trials,): indices of the trials
    ends        shape (groups,): number of trials up to the end of each group
    target      shape (trials,), in `order`
    """

    thresholds: Floats
    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    target: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The number (or weight) of accepted targets and non-targets, from none to all. Shape (resamples, groups + 1)."""

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
    """Sort trials by score. scores, target: shape (trials,), at least one trial. missing: replaces NaN scores."""
    filled = np.where(np.isnan(scores), missing, scores)
    order = np.argsort(-filled, kind="stable")
    falling = filled[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return Ranking(falling[last], order, last + 1, target[order])


def accept(ranking: Ranking, weights: Floats | None = None) -> Curve:
    """The curve for each row of weights, shape (resamples, trials). None: one curve, every trial counts once."""
    if weights is None:
        weights = np.ones((1, len(ranking.order)))
    ordered = weights[:, ranking.order]
    hits = np.cumsum(ordered * ranking.target, axis=1)[:, ranking.ends - 1]
    alarms = np.cumsum(ordered * ~ranking.target, axis=1)[:, ranking.ends - 1]
    none = np.zeros((len(ordered), 1))
    return Curve(np.hstack((none, hits)), np.hstack((none, alarms)))


def equal_error_rate(curve: Curve) -> Floats:
    """The rate at which false rejects and false accepts are equal, 0 to 1. Shape (resamples,).

    The crossing of the curve itself, with its points joined by straight lines (Fawcett 2006, "An introduction to ROC
    analysis", on ties), not of its convex hull, which is lower and which no threshold reaches.
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
    """The lowest cost at any threshold, relative to the cost of the better blind decision. Shape (resamples,).

    NIST's detection cost with both errors at cost 1 (Martin & Przybocki 2000 and the SRE plans since): p_target times
    the false-reject rate plus 1 - p_target times the false-accept rate, divided by the smaller of the two priors.
    """
    cost = p_target * curve.miss + (1.0 - p_target) * curve.false_alarm
    lowest: Floats = np.min(cost, axis=1) / min(p_target, 1.0 - p_target)
    return lowest


def false_rejects_at(curve: Curve, false_accepts: float) -> Floats:
    """The false-reject rate at the lowest threshold with at most that false-accept rate. Shape (resamples,).

    Only actual thresholds: no interpolation between two points, and equal scores are not split.
    """
    total = curve.alarms[:, -1:]
    # Weights are integers: 0.01 is far less than one trial and far more than the rounding error.
    allowed = curve.alarms <= false_accepts * total + 0.01
    point = np.sum(allowed, axis=1) - 1  # alarms never fall along the curve
    rate: Floats = np.where(total[:, 0] > 0.0, curve.miss[np.arange(len(point)), point], np.nan)
    return rate


def log_ratio_cost(ratios: Floats, target: Bools, weights: Floats | None = None) -> Floats:
    """Cllr of log-likelihood ratios in natural logarithms, in bits (Brümmer & du Preez 2006, "Application-independent
    evaluation of speaker detection"). Shape (resamples,).

    0 is perfect; 1 is the cost of a ratio of 1 for every trial. NaN counts as a log ratio of 0, no information.
    """
    known = np.nan_to_num(ratios, nan=0.0, posinf=np.inf, neginf=-np.inf)
    cost = np.where(target, np.logaddexp(0.0, -known), np.logaddexp(0.0, known))
    if weights is None:
        weights = np.ones((1, len(known)))
    if not np.all(np.isfinite(cost)):
        return np.full(len(weights), np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [weights[:, kind] @ cost[kind] / np.sum(weights[:, kind], axis=1) for kind in (target, ~target)]
    total: Floats = (means[0] + means[1]) / (2.0 * NATS_PER_BIT)
    return total


def min_log_ratio_cost(curve: Curve) -> Floats:
    """The Cllr after the best order-preserving mapping of scores to ratios, in bits. Shape (resamples,).

    The mapping is found by the pool-adjacent-violators algorithm (Brümmer & du Preez 2006).
    """
    return np.array([_min_cost(hits, alarms) for hits, alarms in zip(curve.hits, curve.alarms, strict=True)])


def best_ratios(ranking: Ranking, curve: Curve) -> Floats:
    """The log-likelihood ratio of each group by pool-adjacent-violators, natural logarithm, shape (groups,).

    For the first row of the curve. -inf where there are only non-targets, +inf where there are only targets.
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
    """The share of all targets, and of all non-targets, in each group."""
    return np.diff(hits) / hits[-1], np.diff(alarms) / alarms[-1]


def _pooled(targets: Floats, nontargets: Floats) -> Floats:
    """The posterior of each group for equal priors, falling with the scores."""
    from scipy.optimize import isotonic_regression

    weights = targets + nontargets
    posterior: Floats = np.clip(isotonic_regression(targets / weights, weights=weights, increasing=False).x, 0.0, 1.0)
    return posterior


def _min_cost(hits: Floats, alarms: Floats) -> float:
    if not (hits[-1] > 0.0 and alarms[-1] > 0.0):
        return float("nan")
    targets, nontargets = _increments(hits, alarms)
    present = targets + nontargets > 0.0
    targets, nontargets = targets[present], nontargets[present]
    posterior = _pooled(targets, nontargets)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.where(targets > 0.0, -targets * np.log(posterior), 0.0)
        alarmed = np.where(nontargets > 0.0, -nontargets * np.log1p(-posterior), 0.0)
    return max(float(np.sum(missed) + np.sum(alarmed)) / (2.0 * NATS_PER_BIT), 0.0)
