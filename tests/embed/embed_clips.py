"""Clips for the tests of `embed/`, and clips that must not reach a model."""

from __future__ import annotations

import numpy as np


def noise(seconds: float, seed: int) -> np.ndarray:
    """Return noise with a different spectrum and rhythm for each seed, so that embeddings differ. Shape (n,)."""
    random = np.random.default_rng(seed)
    length = round(16_000 * seconds)
    time = np.arange(length) / 16_000
    tones = sum(np.sin(2 * np.pi * random.uniform(100, 3000) * time + random.uniform(0, 6)) for _ in range(4))
    rhythm = 1 + 0.8 * np.sin(2 * np.pi * random.uniform(1, 6) * time)
    return (0.05 * rhythm * (tones + random.normal(0, 0.5, length))).astype(np.float32)


def bad_clips() -> dict[str, np.ndarray]:
    """Return unusable clips, by what is wrong with them."""
    middle = np.arange(16_000) == 8000
    return {
        "too short": noise(0.999, 1),
        "empty": np.zeros(0, np.float32),
        "silent": np.zeros(16_000, np.float32),
        "nearly silent": noise(1, 1) * np.float32(1e-4),
        "NaN": np.where(middle, np.nan, noise(1, 1)).astype(np.float32),
        "infinite": np.where(middle, np.inf, noise(1, 1)).astype(np.float32),
        "stereo": np.stack([noise(1, 1), noise(1, 2)], axis=1),
        "double precision": noise(1, 1).astype(np.float64),
    }
