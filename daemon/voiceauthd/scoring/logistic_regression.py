"""Logistic regression for calibration: weights that turn a score and its side information into an LLR.

Minimises the mean logarithmic loss, in which target and non-target trials are weighted to `PRIOR` regardless of their
numbers (Brümmer & du Preez 2006), plus a penalty on all weights except the score's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voiceauthd.errors import ModelError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PRIOR = 0.3
"""Weight of the target trials. Below one half, because false accepts must be rare; not far below, or the few closest
non-targets would decide alone."""

PENALTIES = (1e-5, 3e-3, 1e-2, 1e-2, 1e-2, 1e-2)
"""Penalties on the squared weights of the standardised inputs, in the order of `calibration.INPUTS`. The score's is
nearly zero; the weights of the side information are shrunk, because about a hundred people say little about it. Chosen
by cross-validation over speakers; a third of them, or three times as much, changes no result by more than one trial."""

MAX_STEPS = 100
TOLERANCE = 1e-8

CONSTANT_INPUT_SPREAD = 1e-9
"""Relative standard deviation below which an input counts as constant: the rest is rounding."""


def fit(inputs: Floats, target: Bools) -> tuple[float, Floats]:
    """Return the offset and the weights, shape (inputs,), of a log-likelihood ratio in natural logarithms.

    inputs  shape (trials, inputs), finite
    target  shape (trials,), with both kinds of trial

    Raises `ModelError`, reason `not_calibrated`, for trials of one kind only, for inputs that are not finite, and if
    the score does not distinguish targets from non-targets.
    """
    if not (target.any() and not target.all()):
        raise ModelError("a calibration needs target and non-target trials", "not_calibrated")
    if not np.isfinite(inputs).all():
        raise ModelError("a calibration needs finite scores", "not_calibrated")
    mean, scale = np.mean(inputs, axis=0), np.std(inputs, axis=0)
    scale = np.where(scale > CONSTANT_INPUT_SPREAD * np.maximum(np.abs(mean), 1.0), scale, np.inf)  # gives weight 0
    rows = np.hstack(((inputs - mean) / scale, np.ones((len(inputs), 1))))
    weights = _minimise(rows, target)
    slopes: Floats = weights[:-1] / scale
    if not (np.isfinite(weights).all() and slopes[0] > 0.0):
        raise ModelError("the scores do not distinguish targets from non-targets: no calibration", "not_calibrated")
    return float(weights[-1] - np.dot(slopes, mean)), slopes


def _minimise(rows: Floats, target: Bools) -> Floats:
    """Minimise the convex loss by Newton's method with step halving."""
    share = np.where(target, PRIOR / np.sum(target), (1.0 - PRIOR) / np.sum(~target))
    odds = np.log(PRIOR / (1.0 - PRIOR))
    sign = np.where(target, -1.0, 1.0)
    penalty = np.diag([*PENALTIES[: rows.shape[1] - 1], 0.0])

    def loss(weights: Floats) -> float:
        return float(np.dot(share, np.logaddexp(0.0, sign * (rows @ weights + odds))) + weights @ penalty @ weights)

    weights = np.zeros(rows.shape[1])
    for _ in range(MAX_STEPS):
        posterior = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights + odds, -500.0, 500.0)))
        gradient = rows.T @ (share * (posterior - target)) + 2.0 * penalty @ weights
        curvature = (rows * (share * posterior * (1.0 - posterior))[:, np.newaxis]).T @ rows + 2.0 * penalty
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(weights)), gradient)
        length, current = 1.0, loss(weights)
        while loss(weights - length * step) > current and length > 1e-6:
            length /= 2.0
        weights = weights - length * step
        if float(np.max(np.abs(length * step))) < TOLERANCE:
            break
    return weights
