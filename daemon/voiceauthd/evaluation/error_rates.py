"""Error rates and costs of a set of trials, each with a confidence interval over speakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from voiceauthd.evaluation.metrics import (
    Bools,
    Curve,
    Floats,
    accept,
    equal_error_rate,
    false_rejects_at,
    log_ratio_cost,
    min_detection_cost,
    min_log_ratio_cost,
    rank,
)

CONFIDENCE = 0.95
"""Of the intervals."""

WEIGHTS_PER_BATCH = 2**22
"""Bootstrap weights computed at a time: 32 MiB."""

MIN_USABLE_SHARE = 0.1
"""Share of the resamples that must have trials of both kinds; below it no interval is given."""

ROUGH_USABLE_SHARE = 0.8
"""Share of such resamples below which the interval is called rough: there are too few people."""

FALSE_ACCEPT_RATES = {"frr_at_far_1e-2": 1e-2, "frr_at_far_1e-3": 1e-3}

CURVE_METRICS: Mapping[str, Callable[[Curve], Floats]] = {
    "eer": equal_error_rate,
    "mindcf_0.01": partial(min_detection_cost, p_target=0.01),
    "mindcf_0.001": partial(min_detection_cost, p_target=0.001),
    **{name: partial(false_rejects_at, false_accepts=rate) for name, rate in FALSE_ACCEPT_RATES.items()},
}

METRICS = (*CURVE_METRICS, "cllr", "mincllr")
"""Names of all metrics, as programs read them, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The value of a metric and its interval at `CONFIDENCE`. None: it cannot be computed from the trials."""

    value: float | None
    low: float | None
    high: float | None


NO_ESTIMATE = Estimate(None, None, None)


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """The metrics of one set of trials.

    values                 by the names in `METRICS`; rates as fractions, Cllr in bits
    target, nontarget      number of trials
    speakers               number of people in them, enrolled or tested
    rejected_target, rejected_nontarget  number of trials without a score, which count as rejects
    notes                  caveats for the reader, a sentence each
    """

    values: Mapping[str, Estimate]
    target: int
    nontarget: int
    speakers: int
    rejected_target: int
    rejected_nontarget: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTrials:
    """Trials and their scores.

    scores    shape (trials,); NaN is a reject
    target    shape (trials,)
    enrolled, tested  shape (trials,): the enrolled and the tested person, as a number per person
    llr       whether the scores are log-likelihood ratios in natural logarithms
    """

    scores: Floats
    target: Bools
    enrolled: NDArray[np.intp]
    tested: NDArray[np.intp]
    llr: bool

    def part(self, chosen: Bools) -> ScoredTrials:
        """The trials where `chosen`, shape (trials,), is true."""
        return ScoredTrials(
            self.scores[chosen], self.target[chosen], self.enrolled[chosen], self.tested[chosen], self.llr
        )


def measure(scored: ScoredTrials, resamples: int, seed: int) -> ErrorRates:
    """Compute the metrics of at least one trial.

    resamples  of the speakers, for the intervals; 0: no intervals
    """
    people = np.union1d(scored.enrolled, scored.tested)
    estimates, notes = dict.fromkeys(METRICS, NO_ESTIMATE), _missing_kind_notes(scored)
    if not notes:
        values = _compute(scored, None)
        resampled = _resample(scored, people, resamples, seed)
        estimates = {name: _estimate(float(values[name][0]), resampled[name]) for name in METRICS}
        notes = (*_notes(estimates, scored), *_rough_notes(resampled["eer"]))
        estimates |= dict.fromkeys(
            (name for name, rate in FALSE_ACCEPT_RATES.items() if _too_few_nontargets(scored, rate)), NO_ESTIMATE
        )
    unscored = np.isnan(scored.scores)
    return ErrorRates(
        values=estimates,
        target=int(np.sum(scored.target)),
        nontarget=int(np.sum(~scored.target)),
        speakers=len(people),
        rejected_target=int(np.sum(unscored & scored.target)),
        rejected_nontarget=int(np.sum(unscored & ~scored.target)),
        notes=notes,
    )


def speaker_weights(scored: ScoredTrials, counts: NDArray[np.int64], people: NDArray[np.intp]) -> Floats:
    """How often each trial is in each resample, shape (resamples, trials), if person i was drawn counts[:, i] times.

    A trial of two people is repeated for each copy of one with each copy of the other, a trial of one person once for
    each copy. This is the vertex bootstrap of Snijders & Borgatti 1999, "Non-parametric standard errors and tests for
    network statistics": trials that share a speaker are not independent, on either side.
    """
    enrolled = np.searchsorted(people, scored.enrolled)
    tested = np.searchsorted(people, scored.tested)
    other = np.where(enrolled == tested, 1, counts[:, tested])
    weights: Floats = (counts[:, enrolled] * other).astype(np.float64)
    return weights


def _resample(scored: ScoredTrials, people: NDArray[np.intp], resamples: int, seed: int) -> Mapping[str, Floats]:
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(people), np.full(len(people), 1.0 / len(people)), size=resamples)
    rows = max(1, WEIGHTS_PER_BATCH // len(scored.scores))
    parts = [
        _compute(scored, speaker_weights(scored, counts[start : start + rows], people))
        for start in range(0, resamples, rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0) for name in METRICS}


def _compute(scored: ScoredTrials, weights: Floats | None) -> Mapping[str, Floats]:
    """Every metric for each row of weights. NaN where a row has trials of one kind only."""
    curve = accept(rank(scored.scores, scored.target), weights)
    # A missing score counts as a log ratio of 0, no information, in both costs, so minCllr stays a bound of Cllr.
    calibrated = accept(rank(scored.scores, scored.target, missing=0.0), weights) if scored.llr else curve
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {name: function(curve) for name, function in CURVE_METRICS.items()}
    nothing = np.full(len(curve.hits), np.nan)
    found["cllr"] = log_ratio_cost(scored.scores, scored.target, weights) if scored.llr else nothing
    found["mincllr"] = min_log_ratio_cost(calibrated)
    return found


def _estimate(value: float, resampled: Floats) -> Estimate:
    if not np.isfinite(value):
        return NO_ESTIMATE
    usable = resampled[np.isfinite(resampled)]
    if len(resampled) == 0 or len(usable) < MIN_USABLE_SHARE * len(resampled):
        return Estimate(value, None, None)
    low, high = np.quantile(usable, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Estimate(value, float(low), float(high))


def _missing_kind_notes(scored: ScoredTrials) -> tuple[str, ...]:
    """A note if there are no targets, or no non-targets."""
    missing = [kind for kind, there in (("target", scored.target), ("non-target", ~scored.target)) if not there.any()]
    return tuple(f"there are no {kind} trials, so there are no error rates" for kind in missing)


def _too_few_nontargets(scored: ScoredTrials, rate: float) -> bool:
    """Whether this rate allows less than one false accept: it then cannot be distinguished from zero."""
    return float(np.sum(~scored.target)) * rate < 1.0 - 1e-9


def _rough_notes(resampled: Floats) -> tuple[str, ...]:
    """A note if many resamples have trials of one kind only."""
    usable = float(np.mean(np.isfinite(resampled))) if len(resampled) else 1.0
    if usable >= ROUGH_USABLE_SHARE:
        return ()
    lost = 1.0 - usable
    return (f"so few speakers that {lost:.0%} of the resamples have one kind of trial only: the intervals are rough",)


def _notes(estimates: Mapping[str, Estimate], scored: ScoredTrials) -> tuple[str, ...]:
    target, nontarget = int(np.sum(scored.target)), int(np.sum(~scored.target))
    notes = [
        f"a false-accept rate of {rate:g} needs {round(1.0 / rate):,} non-target trials; there are {nontarget}"
        for rate in FALSE_ACCEPT_RATES.values()
        if _too_few_nontargets(scored, rate)
    ]
    if estimates["eer"].value == 0.0:
        rejects, accepts = min(1.0, 3.0 / target), min(1.0, 3.0 / nontarget)
        notes.append(
            f"no errors in {target} target and {nontarget} non-target trials, and so none in any resample; by the rule "
            f"of three there may be {rejects:.2%} false rejects and {accepts:.2%} false accepts"
        )
    if scored.llr and estimates["cllr"].value is None:
        notes.append("a log-likelihood ratio is infinite and wrong, so Cllr is infinite")
    return tuple(notes)
