"""Error rates with intervals: when they are given, and whether the intervals contain the true rate."""

from __future__ import annotations

import time

import numpy as np
import pytest
from evaluation_parts import scored
from scipy.special import ndtr

from voiceauthd.evaluation.error_rates import METRICS, NO_ESTIMATE, ScoredTrials, measure, speaker_weights


def crossed(people: int, tests: int, distance: float, spread: float, generator: np.random.Generator) -> ScoredTrials:
    """Everybody enrolled against everybody's tests. All scores of a person are shifted together, by `spread`."""
    enrolled = np.repeat(np.arange(people), people * tests)
    tested = np.tile(np.repeat(np.arange(people), tests), people)
    target = enrolled == tested
    shift = generator.normal(0.0, spread, people)
    scores = generator.normal(0.0, 1.0, len(target)) + target * (distance + shift[enrolled])
    return ScoredTrials(scores, target, enrolled, tested, llr=False)


def test_the_intervals_contain_the_true_rate_about_as_often_as_they_claim():
    generator = np.random.default_rng(7)
    spread = 0.7
    # Target scores are normal with the deviation of both parts; the true rate is where both error rates are equal.
    thresholds = np.linspace(-5.0, 8.0, 100001)
    miss, alarm = ndtr((thresholds - 3.0) / np.hypot(1.0, spread)), ndtr(-thresholds)
    truth = alarm[np.argmin(np.abs(miss - alarm))]
    hits = 0
    for seed in range(60):
        eer = measure(crossed(20, 3, 3.0, spread, generator), 150, seed).values["eer"]
        assert eer.low <= eer.high
        hits += eer.low <= truth <= eer.high
    assert hits >= 48, "of 60 intervals at 95 %, 57 contain the truth on average; with few people it is fewer"


def test_intervals_are_wider_when_trials_share_speakers():
    generator = np.random.default_rng(3)
    few = crossed(8, 40, 2.5, 1.0, generator)
    as_people = measure(few, 300, 0).values["eer"]
    alone = np.arange(len(few.scores))
    as_trials = measure(ScoredTrials(few.scores, few.target, alone, alone, llr=False), 300, 0).values["eer"]
    assert as_people.value == as_trials.value
    assert as_people.high - as_people.low > 2.0 * (as_trials.high - as_trials.low)


def test_the_seed_determines_the_intervals():
    trials = crossed(12, 5, 2.0, 0.5, np.random.default_rng(1))
    assert measure(trials, 100, 5) == measure(trials, 100, 5)
    assert measure(trials, 100, 5).values["eer"] != measure(trials, 100, 6).values["eer"]


def test_without_resamples_there_are_values_but_no_intervals():
    found = measure(crossed(12, 5, 2.0, 0.5, np.random.default_rng(1)), 0, 0).values["eer"]
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


def test_a_person_drawn_twice_repeats_all_their_trials_on_either_side():
    trials = ScoredTrials(
        np.zeros(4), np.array([True, False, False, True]), np.array([5, 5, 7, 7]), np.array([5, 7, 9, 7]), llr=False
    )
    counts = np.array([[2, 3, 0], [1, 1, 1]])
    weights = speaker_weights(trials, counts, np.array([5, 7, 9]))
    assert weights.tolist() == [[2.0, 6.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0]]


def test_a_false_accept_rate_that_the_trials_cannot_show_is_not_given():
    target = [True] * 50 + [False] * 150
    found = measure(scored(np.linspace(1.0, 0.0, 200), target), 50, 0)
    assert found.values["frr_at_far_1e-2"].value is not None
    assert found.values["frr_at_far_1e-3"] == NO_ESTIMATE
    assert any("needs 1,000 non-target trials; there are 150" in note for note in found.notes)


def test_one_kind_of_trial_gives_a_note_and_no_values():
    found = measure(scored([0.4, 0.5], [False, False]), 50, 0)
    assert set(found.values) == set(METRICS)
    assert all(estimate == NO_ESTIMATE for estimate in found.values.values())
    assert (found.target, found.nontarget) == (0, 2)
    assert found.notes == ("there are no target trials, so there are no error rates",)


def test_results_without_errors_come_with_a_note_on_what_they_prove():
    found = measure(scored([0.9] * 30 + [0.1] * 60, [True] * 30 + [False] * 60), 50, 0)
    assert (found.values["eer"].value, found.values["eer"].high) == (0.0, 0.0)
    assert any("10.00% false rejects" in note for note in found.notes)


def test_trials_without_a_score_are_counted_as_rejects_of_their_kind():
    found = measure(scored([0.9, np.nan, 0.1, np.nan, np.nan], [True, True, False, False, False]), 0, 0)
    assert (found.rejected_target, found.rejected_nontarget) == (1, 2)
    assert found.values["frr_at_far_1e-2"] == NO_ESTIMATE
    # The curve goes from half of the targets and a third of the others straight to all of both.
    assert found.values["eer"].value == pytest.approx(3 / 7)


def test_cllr_is_given_for_ratios_only_and_is_never_below_mincllr():
    generator = np.random.default_rng(2)
    target = np.arange(400) < 100
    ratios = generator.normal(np.where(target, 3.0, -3.0), 2.0)
    ratios[::17] = np.nan
    assert measure(scored(ratios, target), 0, 0).values["cllr"] == NO_ESTIMATE
    found = measure(scored(ratios, target, llr=True), 100, 0)
    assert found.values["mincllr"].value <= found.values["cllr"].value
    assert found.values["cllr"].low < found.values["cllr"].value < found.values["cllr"].high


def test_a_wrong_infinite_ratio_gives_a_note_and_no_cllr():
    found = measure(scored([2.0, -np.inf, -1.0, -2.0], [True, True, False, False], llr=True), 20, 0)
    assert found.values["cllr"] == NO_ESTIMATE
    assert any("infinite" in note for note in found.notes)


def test_a_thousand_resamples_of_three_thousand_trials_take_seconds():
    trials = crossed(58, 1, 3.0, 0.5, np.random.default_rng(4))
    assert len(trials.scores) == 3364
    began = time.process_time()
    measure(trials, 1000, 0)
    assert time.process_time() - began < 8.0
