"""The figures of a set of trials, each with an interval over speakers."""

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

AT_ONCE = 2**22
"""Weights computed at once: 32 MiB of them."""

LEAST_USABLE = 0.1
"""Share of the resamples that must have trials of both kinds for an interval to be told."""

MOST_USABLE = 0.8
"""Share below which the interval is called rough: so few people are a sample of luck."""

FALSE_ACCEPT_RATES = {"frr_at_far_1e-2": 1e-2, "frr_at_far_1e-3": 1e-3}

ON_THE_CURVE: Mapping[str, Callable[[Curve], Floats]] = {
    "eer": equal_error_rate,
    "mindcf_0.01": partial(min_detection_cost, p_target=0.01),
    "mindcf_0.001": partial(min_detection_cost, p_target=0.001),
    **{name: partial(false_rejects_at, false_accepts=rate) for name, rate in FALSE_ACCEPT_RATES.items()},
}

NAMES = (*ON_THE_CURVE, "cllr", "mincllr")
"""Of the figures, as programs read them, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval at `CONFIDENCE`. None: the trials do not give it."""

    value: float | None
    low: float | None
    high: float | None


NO_ESTIMATE = Estimate(None, None, None)


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Of one set of trials.

    values                 by `NAMES`; rates as fractions, Cllr in bits
    target, nontarget      number of trials
    speakers               number of people in them, enrolled or heard
    rejected_target, rejected_nontarget  trials without a score, which count as rejects
    notes                  what a reader must know, a sentence each
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

    scores    shape (trials,); NaN: a reject
    target    shape (trials,)
    enrolled, tested  shape (trials,): who was enrolled and who speaks, as numbers that mean a person
    llr       the scores are log-likelihood ratios in natural logarithms
    """

    scores: Floats
    target: Bools
    enrolled: NDArray[np.intp]
    tested: NDArray[np.intp]
    llr: bool

    def part(self, chosen: Bools) -> ScoredTrials:
        """The trials that are chosen, shape (trials,)."""
        return ScoredTrials(
            self.scores[chosen], self.target[chosen], self.enrolled[chosen], self.tested[chosen], self.llr
        )


def measure(scored: ScoredTrials, resamples: int, seed: int) -> ErrorRates:
    """The figures of these trials, of which there must be one at least.

    resamples  of the speakers, for the intervals; 0: no intervals
    """
    people = np.union1d(scored.enrolled, scored.tested)
    figures, notes = dict.fromkeys(NAMES, NO_ESTIMATE), _one_kind(scored)
    if not notes:
        values = _compute(scored, None)
        drawn = _resample(scored, people, resamples, seed)
        figures = {name: _figure(float(values[name][0]), drawn[name]) for name in NAMES}
        notes = (*_notes(figures, scored), *_rough(drawn["eer"]))
        figures |= dict.fromkeys(
            (name for name, rate in FALSE_ACCEPT_RATES.items() if _too_few(scored, rate)), NO_ESTIMATE
        )
    silent = np.isnan(scored.scores)
    return ErrorRates(
        values=figures,
        target=int(np.sum(scored.target)),
        nontarget=int(np.sum(~scored.target)),
        speakers=len(people),
        rejected_target=int(np.sum(silent & scored.target)),
        rejected_nontarget=int(np.sum(silent & ~scored.target)),
        notes=notes,
    )


def speaker_weights(scored: ScoredTrials, counts: NDArray[np.int64], people: NDArray[np.intp]) -> Floats:
    """How often each trial is in each resample, shape (resamples, trials), when person i was drawn counts[:, i] times.

    A trial of two people comes with each copy of the one and each copy of the other; a trial of one person with
    himself comes once a copy (the vertex bootstrap of Snijders & Borgatti 1999, "Non-parametric standard errors and
    tests for network statistics": trials that share a speaker are not independent, on either side).
    """
    enrolled = np.searchsorted(people, scored.enrolled)
    tested = np.searchsorted(people, scored.tested)
    other = np.where(enrolled == tested, 1, counts[:, tested])
    weights: Floats = (counts[:, enrolled] * other).astype(np.float64)
    return weights


def _resample(scored: ScoredTrials, people: NDArray[np.intp], resamples: int, seed: int) -> Mapping[str, Floats]:
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(people), np.full(len(people), 1.0 / len(people)), size=resamples)
    rows = max(1, AT_ONCE // len(scored.scores))
    parts = [
        _compute(scored, speaker_weights(scored, counts[start : start + rows], people))
        for start in range(0, resamples, rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0) for name in NAMES}


def _compute(scored: ScoredTrials, weights: Floats | None) -> Mapping[str, Floats]:
    """Every figure for each row of weights. NaN where a row has trials of one kind only."""
    curve = accept(rank(scored.scores, scored.target), weights)
    # What has no score has said nothing, a log ratio of 0, in both costs: the one stays a bound of the other.
    calibrated = accept(rank(scored.scores, scored.target, missing=0.0), weights) if scored.llr else curve
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {name: function(curve) for name, function in ON_THE_CURVE.items()}
    nothing = np.full(len(curve.hits), np.nan)
    found["cllr"] = log_ratio_cost(scored.scores, scored.target, weights) if scored.llr else nothing
    found["mincllr"] = min_log_ratio_cost(calibrated)
    return found


def _figure(value: float, drawn: Floats) -> Estimate:
    if not np.isfinite(value):
        return NO_ESTIMATE
    usable = drawn[np.isfinite(drawn)]
    if len(drawn) == 0 or len(usable) < LEAST_USABLE * len(drawn):
        return Estimate(value, None, None)
    low, high = np.quantile(usable, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Estimate(value, float(low), float(high))


def _one_kind(scored: ScoredTrials) -> tuple[str, ...]:
    """Says so if there are no targets, or no non-targets."""
    missing = [kind for kind, there in (("target", scored.target), ("non-target", ~scored.target)) if not there.any()]
    return tuple(f"there are no {kind} trials, so there are no error rates" for kind in missing)


def _too_few(scored: ScoredTrials, rate: float) -> bool:
    """Whether not even one false accept may be made at this rate: the rate is then not told apart from none."""
    return float(np.sum(~scored.target)) * rate < 1.0 - 1e-9


def _rough(drawn: Floats) -> tuple[str, ...]:
    """Says so if many resamples gave nothing."""
    if len(drawn) == 0 or float(np.mean(np.isfinite(drawn))) >= MOST_USABLE:
        return ()
    lost = 1.0 - float(np.mean(np.isfinite(drawn)))
    return (f"so few speakers that {lost:.0%} of the resamples have one kind of trial only: the intervals are rough",)


def _notes(figures: Mapping[str, Estimate], scored: ScoredTrials) -> tuple[str, ...]:
    target, nontarget = int(np.sum(scored.target)), int(np.sum(~scored.target))
    notes = [
        f"a false-accept rate of {rate:g} needs {round(1.0 / rate):,} non-target trials; there are {nontarget}"
        for rate in FALSE_ACCEPT_RATES.values()
        if _too_few(scored, rate)
    ]
    if figures["eer"].value == 0.0:
        rejects, accepts = min(1.0, 3.0 / target), min(1.0, 3.0 / nontarget)
        notes.append(
            f"no errors in {target} target and {nontarget} non-target trials, and so none in any resample; by the rule "
            f"of three there may be {rejects:.2%} false rejects and {accepts:.2%} false accepts"
        )
    if scored.llr and figures["cllr"].value is None:
        notes.append("a log-likelihood ratio is infinite and wrong, so Cllr is infinite")
    return tuple(notes)
