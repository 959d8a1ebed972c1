"""How loud a recording is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voiceauthd.audio.block import RATE
from voiceauthd.audio.level import level_dbfs, level_of


def tone(amplitude: float, seconds: float = 1.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_a_full_scale_sine_has_minus_three_dbfs_and_silence_has_none() -> None:
    assert level_dbfs(tone(1.0)) == pytest.approx(-3.01, abs=0.01)
    assert level_dbfs(np.zeros(10, np.float32)) == level_dbfs(np.zeros(0, np.float32)) == -math.inf


def test_the_loudest_half_second_distinguishes_speech_from_a_quiet_room() -> None:
    level = level_of(np.concatenate([tone(0.001, 2.0), tone(0.1, 0.5), tone(0.001, 2.0)]))
    assert level.seconds == 4.5
    assert level.loudest == pytest.approx(-23.0, abs=0.1)
    assert level.average < -30


def test_clipped_samples_are_counted() -> None:
    samples = tone(0.5)
    samples[: RATE // 10] = 1.0
    assert level_of(samples).clipping == pytest.approx(0.1)
    assert level_of(np.zeros(0, np.float32)).loudest == -math.inf
