"""The level meter that an enrolment shows."""

from __future__ import annotations

import numpy as np
import pytest

from voiceauthd.audio.block import RATE, Block
from voiceauthd.pipeline.meter import METER_SECONDS, Meter, Reading


def tone(seconds: float, level: float) -> np.ndarray:
    return np.full(round(seconds * RATE), level, np.float32)


def test_the_level_is_that_of_the_newest_audio() -> None:
    meter = Meter()
    for _ in range(50):
        meter.add(tone(0.02, 0.5), 0, 0.0)
    assert meter.reading.level_dbfs == pytest.approx(-6.02, abs=0.01)
    for _ in range(round(METER_SECONDS / 0.02) + 1):
        meter.add(tone(0.02, 0.1), 3, 1.5)
    assert meter.reading.level_dbfs == pytest.approx(-20.0, abs=0.01)
    assert (meter.reading.utterance, meter.reading.speech) == (3, 1.5)


@pytest.mark.parametrize("samples", [tone(0.02, 0.0), tone(0.02, np.nan), tone(0.02, np.inf), tone(0.0, 0.0)])
def test_what_has_no_level_gives_none(samples: np.ndarray) -> None:
    meter = Meter()
    assert meter.reading == Reading(None, 0, 0.0)
    meter.add(samples, 0, 0.0)
    assert meter.reading.level_dbfs is None


def test_a_block_longer_than_the_meter_counts_alone() -> None:
    meter = Meter()
    meter.add(tone(1.0, 1.0), 0, 0.0)
    meter.add(Block(tone(0.2, 0.1), 0, 0.0).samples, 0, 0.0)
    meter.add(tone(0.3, 0.1), 0, 0.0)
    assert meter.reading.level_dbfs == pytest.approx(-20.0, abs=0.01)
