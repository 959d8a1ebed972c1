"""The quality gate: which windows are refused before the model, and which are flagged."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.config.schema import GateConfig
from voiceauthd.speech.bandwidth import NARROW_BAND_HZ
from voiceauthd.speech.quality_gate import flags, refusal
from voiceauthd.speech.window import Quality

GATE = GateConfig(min_snr_db=3.0, max_clipping=0.01, min_level_dbfs=-60.0)
GOOD = Quality(net_speech=1.5, snr_db=25.0, clipping=0.0, level_dbfs=-26.0, bandwidth=8000.0)
QUALITIES = st.builds(
    Quality,
    net_speech=st.floats(0.0, 10.0),
    snr_db=st.none() | st.floats(),
    clipping=st.floats(),
    level_dbfs=st.floats(),
    bandwidth=st.none() | st.floats(),
)


def test_a_good_window_passes_without_a_flag() -> None:
    assert refusal(GOOD, GATE) is None
    assert flags(GOOD) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"level_dbfs": -60.1}, "too_quiet"),
        ({"level_dbfs": -60.0}, None),
        ({"clipping": 0.011}, "clipped"),
        ({"clipping": 0.01}, None),
        ({"snr_db": 2.9}, "noisy"),
        ({"snr_db": 3.0}, None),
        ({"snr_db": None}, None),
        ({"bandwidth": 3800.0}, None),
        ({"bandwidth": None}, None),
        ({"net_speech": 0.1}, None),
    ],
)
def test_a_value_beyond_a_bound_is_refused_with_its_reason_and_the_bound_itself_passes(
    change: dict[str, float | None], reason: str | None
) -> None:
    assert refusal(replace(GOOD, **change), GATE) == reason


@pytest.mark.parametrize(
    ("field", "reason"), [("level_dbfs", "too_quiet"), ("clipping", "clipped"), ("snr_db", "noisy")]
)
def test_nan_is_refused(field: str, reason: str) -> None:
    assert refusal(replace(GOOD, **{field: math.nan}), GATE) == reason


def test_the_reported_reason_is_the_one_to_fix_first() -> None:
    everything = replace(GOOD, level_dbfs=-80.0, clipping=0.5, snr_db=-5.0)
    assert refusal(everything, GATE) == "too_quiet"
    assert refusal(replace(everything, level_dbfs=-20.0), GATE) == "clipped"
    assert refusal(replace(everything, level_dbfs=-20.0, clipping=0.0), GATE) == "noisy"


@given(QUALITIES)
def test_a_window_passes_exactly_if_it_is_within_all_bounds(quality: Quality) -> None:
    within = (
        quality.level_dbfs >= GATE.min_level_dbfs
        and quality.clipping <= GATE.max_clipping
        and (quality.snr_db is None or quality.snr_db >= GATE.min_snr_db)
    )
    assert (refusal(quality, GATE) is None) == within


@given(QUALITIES, st.floats(0.0, 60.0), st.floats(0.0, 60.0))
def test_a_stricter_gate_lets_nothing_more_through(quality: Quality, one: float, other: float) -> None:
    lax, strict = replace(GATE, min_snr_db=min(one, other)), replace(GATE, min_snr_db=max(one, other))
    assert refusal(quality, strict) is not None or refusal(quality, lax) is None


@pytest.mark.parametrize(
    ("bandwidth", "flagged"),
    [(None, False), (4000.0, True), (NARROW_BAND_HZ, False), (8000.0, False), (math.nan, True)],
)
def test_narrow_band_is_flagged_and_not_refused(bandwidth: float | None, flagged: bool) -> None:
    quality = replace(GOOD, bandwidth=bandwidth)
    assert flags(quality) == (("narrow_band",) if flagged else ())
    assert refusal(quality, GATE) is None
