"""Error rates and costs: equal to known values, and invariant where they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_parts import curve_of, gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from voiceauthd.evaluation.metrics import (
    accept,
    best_ratios,
    equal_error_rate,
    false_rejects_at,
    log_ratio_cost,
    min_detection_cost,
    min_log_ratio_cost,
    rank,
)

TRIALS = st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=2, max_size=60).filter(
    lambda trials: len({target for _, target in trials}) == 2
)
"""Scores are integers, so many are equal."""


def split(trials: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in trials], np.float64), np.array([target for _, target in trials])


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.0, 4.0])
def test_the_equal_error_rate_of_two_normal_distributions_has_its_known_value(distance):
    scores = np.concatenate((gaussian(4000, distance), gaussian(6000, 0.0)))
    curve = accept(rank(scores, np.arange(10000) < 4000))
    assert equal_error_rate(curve)[0] == pytest.approx(ndtr(-distance / 2.0), abs=5e-4)


def test_the_detection_cost_of_two_normal_distributions_has_its_known_value():
    count = 400_000  # the cost at 0.001 depends on a few out of a thousand non-targets
    scores = np.concatenate((gaussian(count, 3.0), gaussian(count, 0.0)))
    curve = accept(rank(scores, np.arange(2 * count) < count))
    thresholds = np.linspace(-5.0, 8.0, 20000)
    for p_target in (0.01, 0.001):
        cost = p_target * ndtr(thresholds - 3.0) + (1.0 - p_target) * ndtr(-thresholds)
        assert min_detection_cost(curve, p_target)[0] == pytest.approx(np.min(cost) / p_target, abs=3e-3)


def test_false_rejects_at_a_false_accept_rate_have_their_known_value():
    scores = np.concatenate((gaussian(10000, 3.0), gaussian(10000, 0.0)))
    curve = accept(rank(scores, np.arange(20000) < 10000))
    assert false_rejects_at(curve, 0.01)[0] == pytest.approx(ndtr(2.3263 - 3.0), abs=1e-3)


def test_no_mapping_lowers_the_cost_of_perfectly_calibrated_ratios():
    # Normal distributions at ± d²/2 with deviation d: the score is its own log-likelihood ratio.
    distance = 2.0
    scores = np.concatenate(
        (
            distance * gaussian(20000, 0.0) + distance**2 / 2.0,
            distance * gaussian(20000, 0.0) - distance**2 / 2.0,
        )
    )
    target = np.arange(40000) < 20000
    grid = np.linspace(-8.0, 8.0, 200001)
    density = np.exp(-(grid**2) / 2.0) / math.sqrt(2.0 * math.pi)
    expected = np.sum(density * np.logaddexp(0.0, -(distance * grid + distance**2 / 2.0))) * (grid[1] - grid[0])
    actual = log_ratio_cost(scores, target)[0]
    assert actual == pytest.approx(expected / math.log(2.0), abs=1e-3)
    assert min_log_ratio_cost(accept(rank(scores, target)))[0] == pytest.approx(actual, abs=5e-3)


def test_ratios_without_information_cost_one_bit_and_perfect_ones_nothing():
    target = np.array([True, True, False])
    assert log_ratio_cost(np.zeros(3), target)[0] == pytest.approx(1.0)
    assert log_ratio_cost(np.full(3, np.nan), target)[0] == pytest.approx(1.0)
    assert log_ratio_cost(np.array([50.0, 50.0, -50.0]), target)[0] == pytest.approx(0.0, abs=1e-12)
    assert log_ratio_cost(np.array([50.0, -np.inf, -50.0]), target)[0] == np.inf


def test_separated_scores_give_no_errors_and_equal_ones_an_equal_error_rate_of_one_half():
    separated = curve_of([0.9, 0.8, 0.3, 0.2], [True, True, False, False])
    assert equal_error_rate(separated)[0] == 0.0
    assert min_detection_cost(separated, 0.01)[0] == 0.0
    assert false_rejects_at(separated, 1e-3)[0] == 0.0
    assert min_log_ratio_cost(separated)[0] == 0.0
    equal = curve_of([0.5] * 4, [True, True, False, False])
    assert equal_error_rate(equal)[0] == 0.5
    assert min_detection_cost(equal, 0.01)[0] == 1.0
    assert false_rejects_at(equal, 0.01)[0] == 1.0
    assert min_log_ratio_cost(equal)[0] == pytest.approx(1.0)


def test_a_score_of_nan_is_a_reject_and_is_counted():
    one_of_four = curve_of([0.9, 0.8, 0.7, math.nan, 0.1, 0.0], [True, True, True, True, False, False])
    assert false_rejects_at(one_of_four, 0.01)[0] == 0.25
    accepted_last = curve_of([0.9, math.nan, 0.1], [True, False, False])
    assert equal_error_rate(accepted_last)[0] == 0.0
    assert np.isneginf(rank(np.array([0.9, math.nan]), np.array([True, False])).thresholds[-1])


def test_false_rejects_are_given_for_actual_thresholds():
    # At one false accept in a hundred, the threshold is above the second non-target: 0.6 and 0.4 are rejected.
    nontargets = [0.7, 0.65, *([0.0] * 98)]
    curve = curve_of([0.8, 0.69, 0.6, 0.4, *nontargets], [True] * 4 + [False] * 100)
    assert false_rejects_at(curve, 0.01)[0] == 0.5
    assert false_rejects_at(curve, 0.02)[0] == 0.0


@settings(deadline=None)
@given(TRIALS)
def test_a_monotone_change_of_the_scores_changes_no_metric(trials):
    scores, target = split(trials)
    before, after = (accept(rank(each, target)) for each in (scores, np.expm1(scores / 3.0) * 7.0 - 2.0))
    for metric in (equal_error_rate, min_log_ratio_cost):
        assert metric(before)[0] == metric(after)[0]
    for p_target in (0.01, 0.001, 0.5):
        assert min_detection_cost(before, p_target)[0] == min_detection_cost(after, p_target)[0]
    assert false_rejects_at(before, 0.1)[0] == false_rejects_at(after, 0.1)[0]


@settings(deadline=None)
@given(TRIALS, st.randoms(use_true_random=False))
def test_the_order_of_the_trials_does_not_matter_for_the_curve(trials, random):
    shuffled = list(trials)
    random.shuffle(shuffled)
    one, other = (accept(rank(*split(each))) for each in (trials, shuffled))
    assert np.array_equal(one.hits, other.hits)
    assert np.array_equal(one.alarms, other.alarms)


@settings(deadline=None)
@given(TRIALS)
def test_metrics_stay_within_their_bounds_and_no_threshold_is_better(trials):
    scores, target = split(trials)
    curve = accept(rank(scores, target))
    rate = equal_error_rate(curve)[0]
    # At any threshold the larger error rate is at least the equal error rate, except where equal scores hide it.
    assert 0.0 <= rate <= 1.0
    assert rate <= np.min(np.maximum(curve.miss, curve.false_alarm)) + 1e-12
    for p_target in (0.01, 0.3):
        costs = [
            (p_target * np.mean(scores[target] < t) + (1 - p_target) * np.mean(scores[~target] >= t)) / p_target
            for t in (*np.unique(scores), np.inf)
        ]
        assert min_detection_cost(curve, p_target)[0] == pytest.approx(min(costs))
        assert 0.0 <= min(costs) <= 1.0
    assert 0.0 <= min_log_ratio_cost(curve)[0] <= 1.0 + 1e-12


@settings(deadline=None)
@given(TRIALS)
def test_no_ratios_in_the_order_of_the_scores_cost_less_than_mincllr(trials):
    scores, target = split(trials)
    ranking = rank(scores, target)
    curve = accept(ranking)
    least = min_log_ratio_cost(curve)[0]
    for scale in (0.1, 0.5, 2.0):
        assert least <= log_ratio_cost(scores * scale, target)[0] + 1e-9
    ratios = best_ratios(ranking, curve)
    assert np.all(np.diff(ratios[np.isfinite(ratios)]) <= 1e-9), "the best mapping keeps the order"
    mapped = np.empty(len(scores))
    mapped[ranking.order] = np.repeat(np.clip(ratios, -700, 700), np.diff([0, *ranking.ends]))
    assert log_ratio_cost(mapped, target)[0] == pytest.approx(least, abs=1e-9)


@settings(deadline=None)
@given(TRIALS, st.data())
def test_a_weight_of_two_equals_two_trials(trials, data):
    scores, target = split(trials)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(trials), max_size=len(trials))))
    if not (weights[target].any() and weights[~target].any()):
        weights += 1
    weighted = accept(rank(scores, target), weights[np.newaxis].astype(np.float64))
    repeated = accept(rank(np.repeat(scores, weights), np.repeat(target, weights)))
    assert equal_error_rate(weighted)[0] == pytest.approx(equal_error_rate(repeated)[0])
    assert min_detection_cost(weighted, 0.01)[0] == pytest.approx(min_detection_cost(repeated, 0.01)[0])
    assert false_rejects_at(weighted, 0.1)[0] == pytest.approx(false_rejects_at(repeated, 0.1)[0])
    assert min_log_ratio_cost(weighted)[0] == pytest.approx(min_log_ratio_cost(repeated)[0])
