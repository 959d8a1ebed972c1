"""Logistic regression: it finds known ratios, and refuses data that cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from voiceauthd.errors import ModelError
from voiceauthd.scoring.calibration import INPUTS
from voiceauthd.scoring.logistic_regression import PENALTIES, PRIOR, fit


def gaussian_data(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores s with log-likelihood ratio 4 s - 6: normal around 2 and 1 with variance 1/4. Other inputs are noise."""
    generator = np.random.default_rng(seed)
    target = np.arange(count) % 4 == 0
    inputs = generator.standard_normal((count, len(INPUTS)))
    inputs[:, 0] = np.where(target, 2.0, 1.0) + 0.5 * inputs[:, 0]
    return inputs, target


def test_a_known_ratio_is_found():
    inputs, target = gaussian_data(40_000)
    offset, weights = fit(inputs, target)
    assert weights[0] == pytest.approx(4.0, rel=0.03)
    assert offset == pytest.approx(-6.0, rel=0.03)
    assert np.all(np.abs(weights[1:]) < 0.05)


def test_the_number_of_trials_of_each_kind_does_not_matter():
    inputs, target = gaussian_data(40_000)
    fewer = ~target | (np.arange(len(target)) % 8 == 0)
    offset, weights = fit(inputs[fewer], target[fewer])
    assert (weights[0], offset) == (pytest.approx(4.0, rel=0.05), pytest.approx(-6.0, rel=0.05))


def test_it_finds_the_same_minimum_as_scipy():
    inputs, target = gaussian_data(600, seed=3)
    inputs[:, 2] += inputs[:, 0]
    inputs *= [1.0, 0.1, 10.0, 3.0, 1.0, 20.0]
    mean, scale = np.mean(inputs, axis=0), np.std(inputs, axis=0)
    rows = (inputs - mean) / scale
    odds = np.log(PRIOR / (1.0 - PRIOR))

    def loss(parameters: np.ndarray) -> float:
        ratio = rows @ parameters[:-1] + parameters[-1] + odds
        of_targets = PRIOR * np.mean(np.logaddexp(0.0, -ratio[target]))
        others = (1.0 - PRIOR) * np.mean(np.logaddexp(0.0, ratio[~target]))
        return float(of_targets + others + np.dot(PENALTIES, parameters[:-1] ** 2))

    found = minimize(loss, np.zeros(len(INPUTS) + 1), method="BFGS", options={"gtol": 1e-9}).x
    offset, weights = fit(inputs, target)
    ours = np.append(weights * scale, offset + np.dot(weights, mean))
    assert loss(ours) <= loss(found) + 1e-12
    assert ours == pytest.approx(found, abs=1e-4)


def test_perfectly_separated_scores_give_finite_weights():
    target = np.arange(200) % 2 == 0
    inputs = np.zeros((200, len(INPUTS)))
    inputs[:, 0] = np.where(target, 1.0, -1.0) + np.linspace(0.0, 0.1, 200)
    offset, weights = fit(inputs, target)
    assert np.isfinite([offset, *weights]).all()
    assert 0.0 < weights[0] < 100.0
    ratios = inputs @ weights + offset
    assert ratios[target].min() > 3.0
    assert ratios[~target].max() < -3.0


def test_the_order_of_the_trials_does_not_matter():
    inputs, target = gaussian_data(2000)
    order = np.random.default_rng(9).permutation(len(target))
    one, other = fit(inputs, target), fit(inputs[order], target[order])
    assert one[0] == pytest.approx(other[0], abs=1e-7)
    assert one[1] == pytest.approx(other[1], abs=1e-7)


@pytest.mark.parametrize("size", [1.0, 5.0, 1234.5])
def test_a_constant_input_has_no_weight(size):
    inputs, target = gaussian_data(999)
    # The standard deviation of many equal logarithms is a rounding error, not 0.
    inputs[:, 4] = np.log(size)
    inputs[:, 5] = size
    offset, weights = fit(inputs, target)
    assert weights[4:].tolist() == [0.0, 0.0]
    assert weights[0] == pytest.approx(4.0, rel=0.2)
    assert abs(offset) < 20.0


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_of_trial_is_refused(kind):
    inputs, _ = gaussian_data(50)
    with pytest.raises(ModelError, match="target and non-target") as caught:
        fit(inputs, np.full(50, kind))
    assert caught.value.reason == "not_calibrated"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_refused(broken):
    for column in range(len(INPUTS)):
        inputs, target = gaussian_data(50)
        inputs[7, column] = broken
        with pytest.raises(ModelError, match="finite"):
            fit(inputs, target)


def test_scores_that_do_not_separate_or_are_reversed_are_refused():
    inputs, target = gaussian_data(500)
    with pytest.raises(ModelError, match="do not distinguish targets from non-targets"):
        fit(inputs, ~target)
    inputs[:, 0] = 0.3
    with pytest.raises(ModelError, match="do not distinguish targets from non-targets"):
        fit(inputs, target)
