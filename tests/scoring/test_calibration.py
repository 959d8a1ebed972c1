"""From a score to an LLR: inputs and limits, the demonstrated false-accept rate, and the file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import BROKEN, MODEL, OTHER_MODEL, calibration, evidence, score, strangers

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.scoring.calibration import (
    INPUTS,
    MAX_MAGNITUDE,
    Calibration,
    Evidence,
    Range,
    decode_calibration,
    encode_calibration,
    read_calibration,
)
from voiceauthd.scoring.decide import Rule, verify
from voiceauthd.scoring.decision import Outcome, Score

CALIBRATION = calibration()
COHORT = CALIBRATION.cohort
GOOD = encode_calibration(CALIBRATION)

EVIDENCE = st.builds(
    evidence,
    normalised=st.floats(-1.5, 1.5),
    level=st.floats(-1.0, 1.0),
    net_speech=st.floats(0.01, 100.0),
    exemplars=st.integers(1, 40),
    snr_db=st.none() | st.floats(-40.0, 90.0),
)


# The LLR


@given(EVIDENCE)
def test_the_llr_follows_its_definition(known: Evidence) -> None:
    speech = min(max(known.net_speech, 1.0), 20.0)
    exemplars = min(max(known.exemplars, 1), 10)
    snr = 25.0 if known.snr_db is None else min(max(known.snr_db, 0.0), 40.0)
    normalised, level = known.normalised, known.level
    expected = (
        -9.0
        + 30.0 * normalised
        - 2.0 * level
        + 0.5 * math.log(speech)
        + 1.5 * normalised * math.log(speech)
        + 0.25 * math.log(exemplars)
        + 0.01 * snr
    )
    assert CALIBRATION.llr(known) == pytest.approx(expected, abs=1e-9)


@given(
    one=st.floats(-1.5, 1.5),
    other=st.floats(-1.5, 1.5),
    net_speech=st.floats(0.01, 100.0),
    slope=st.floats(0.1, 50.0),
    more=st.floats(-5.0, 5.0),
)
def test_a_closer_voice_has_a_higher_llr(
    one: float, other: float, net_speech: float, slope: float, more: float
) -> None:
    fitted = calibration(weights=(slope, -2.0, 0.5, more, 0.25, 0.01))
    if min(fitted.slope(1.0), fitted.slope(20.0)) > 0.0:
        low, high = sorted((one, other))
        low_ratio = fitted.llr(evidence(low, net_speech=net_speech))
        assert low_ratio <= fitted.llr(evidence(high, net_speech=net_speech)) + 1e-9


def test_the_slope_is_the_derivative_by_the_normalised_score() -> None:
    rise = CALIBRATION.llr(evidence(0.5, net_speech=7.0)) - CALIBRATION.llr(evidence(0.4, net_speech=7.0))
    assert rise == pytest.approx(0.1 * CALIBRATION.slope(7.0))


@pytest.mark.parametrize(
    ("outside", "end"),
    [
        ({"net_speech": 0.2}, {"net_speech": 1.0}),
        ({"net_speech": 300.0}, {"net_speech": 20.0}),
        ({"exemplars": 50}, {"exemplars": 10}),
        ({"snr_db": -30.0}, {"snr_db": 0.0}),
        ({"snr_db": 80.0}, {"snr_db": 40.0}),
        ({"snr_db": None}, {"snr_db": 25.0}),
    ],
)
def test_inputs_are_clamped_to_the_fitted_range(outside: dict[str, float], end: dict[str, float]) -> None:
    assert CALIBRATION.llr(evidence(**outside)) == CALIBRATION.llr(evidence(**end))  # type: ignore[arg-type]


def test_the_replacement_for_an_unknown_snr_is_clamped_as_well() -> None:
    assert calibration(snr_unknown=99.0).llr(evidence(snr_db=None)) == CALIBRATION.llr(evidence(snr_db=40.0))


@pytest.mark.parametrize("part", ["normalised", "level", "net_speech", "exemplars", "snr_db"])
def test_values_that_are_not_finite_give_no_finite_llr_and_accept_nobody(part: str) -> None:
    lax = Rule("unlock", True, 0.0, -1.0, 0.0, 1.0, 0.0)
    assert verify("anna", [score("anna", 1.0)], 3.0, 1.0, lax).outcome is Outcome.ACCEPT
    for broken in BROKEN:
        llr = CALIBRATION.llr(evidence(**{part: broken}))  # type: ignore[arg-type]
        assert not math.isfinite(llr)
        assert not math.isnan(broken) or math.isnan(llr)
        assert verify("anna", [Score("anna", 1.0, 1.0, llr)], 3.0, 1.0, lax).outcome is Outcome.REJECT


# The demonstrated false-accept rate


@pytest.mark.parametrize("pairs", [1, 300, 30_000])
def test_n_pairs_without_an_error_support_about_3_over_n(pairs: int) -> None:
    supported = calibration(pairs=pairs).supported_rate(5.0)
    assert supported == pytest.approx(1.0 - 0.05 ** (1.0 / pairs))
    assert supported < 3.0 / pairs


def test_with_errors_the_rate_is_the_limit_of_clopper_and_pearson() -> None:
    # At the upper limit, this number of errors or fewer has a probability of 5 %.
    errors, pairs = 4, 500
    rate = calibration(pairs=pairs, alarms=(9.0, 8.0, 7.0, 6.0)).supported_rate(5.0)
    chance = sum(math.comb(pairs, k) * rate**k * (1.0 - rate) ** (pairs - k) for k in range(errors + 1))
    assert chance == pytest.approx(0.05)


@settings(deadline=None)
@given(
    alarms=st.lists(st.floats(0.0, 12.0), max_size=30),
    pairs=st.integers(0, 5000),
    one=st.floats(0.0, 15.0),
    other=st.floats(0.0, 15.0),
)
def test_a_stricter_bound_never_has_a_higher_rate(alarms: list[float], pairs: int, one: float, other: float) -> None:
    fitted = calibration(pairs=pairs, alarms=tuple(sorted(alarms, reverse=True)))
    low, high = sorted((one, other))
    assert 0.0 < fitted.supported_rate(high) <= fitted.supported_rate(low) <= 1.0
    errors = sum(alarm >= low for alarm in alarms)
    assert fitted.supported_rate(low) == 1.0 or fitted.supported_rate(low) > errors / pairs


def test_each_error_raises_the_rate() -> None:
    rates = [calibration(alarms=(9.0,) * errors).supported_rate(5.0) for errors in range(7)]
    assert rates == sorted(set(rates))


def test_an_alarm_at_the_bound_is_an_error() -> None:
    fitted = calibration(alarms=(5.0,))
    assert fitted.supported_rate(5.0) > fitted.supported_rate(5.0001)


@pytest.mark.parametrize(
    ("pairs", "alarms", "bound"),
    [(0, (), 5.0), (3, (9.0,) * 3, 5.0), (3, (9.0,) * 4, 5.0), (3000, (), math.nan), (3000, (), math.inf)],
)
def test_without_evidence_the_rate_is_1(pairs: int, alarms: tuple[float, ...], bound: float) -> None:
    assert calibration(pairs=pairs, alarms=alarms).supported_rate(bound) == 1.0


def test_below_a_bound_of_0_the_rate_is_1() -> None:
    assert CALIBRATION.supported_rate(-0.1) == CALIBRATION.supported_rate(-math.inf) == 1.0
    assert CALIBRATION.supported_rate(0.0) < 0.01


# The file


def refused(data: bytes, model: ModelId = MODEL, cohort: str = COHORT) -> StorageError:
    with pytest.raises(StorageError) as caught:
        decode_calibration(data, model, cohort, "the file")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the file")
    assert "voiceauth calibrate" in str(caught.value)
    return caught.value


def changed(**changes: object) -> bytes:
    """Return the file with changed values; Ellipsis removes one."""
    document = json.loads(GOOD) | changes
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def decoded(data: bytes) -> Calibration | None:
    """Return the calibration; None for a file that is refused with a proper error."""
    try:
        return decode_calibration(data, MODEL, COHORT, "the file")
    except StorageError:
        assert refused(data).reason in {"bad_calibration", "wrong_model", "wrong_cohort"}
        return None


FINITE = st.floats(allow_nan=False, allow_infinity=False)
LIKELY = st.floats(-MAX_MAGNITUDE, MAX_MAGNITUDE)


@settings(deadline=None)
@given(
    offset=LIKELY,
    weights=st.tuples(st.floats(30.0, MAX_MAGNITUDE), LIKELY, LIKELY, st.floats(-5.0, 5.0), LIKELY, LIKELY),
    alarms=st.lists(st.floats(0.0, 30.0), max_size=9).map(tuple),
    speakers=st.lists(st.text(max_size=8), max_size=5).map(tuple),
    cllr=FINITE,
)
def test_encoding_and_decoding_are_inverse(
    offset: float,
    weights: tuple[float, ...],
    alarms: tuple[float, ...],
    speakers: tuple[str, ...],
    cllr: float,
) -> None:
    fitted = calibration(offset=offset, weights=weights, alarms=alarms, speakers=speakers, cllr=cllr)
    assert decode_calibration(encode_calibration(fitted), MODEL, COHORT, "the file") == fitted


def test_the_file_is_readable_text() -> None:
    assert GOOD.endswith(b"\n")
    assert GOOD.count(b"\n") > len(INPUTS)
    assert json.loads(GOOD)["sources"] == ["made up, CC0"]


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert refused(data).reason == "bad_calibration"


@settings(deadline=None, max_examples=300)
@given(place=st.integers(0, len(GOOD) - 2), byte=st.integers(0, 255), truncated=st.booleans())
def test_a_damaged_file_is_refused_or_plausible(place: int, byte: int, truncated: bool) -> None:
    data = GOOD[:place] if truncated else GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]
    found = decoded(data)
    if found is None:
        return
    assert not truncated or place == len(GOOD) - 1
    assert math.isfinite(found.llr(evidence()))
    assert found.llr(evidence(0.9)) > found.llr(evidence(0.1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=300)
@given(key=st.sampled_from(Calibration.__struct_fields__), value=JSON)
def test_any_value_in_any_field_is_refused_or_plausible(key: str, value: object) -> None:
    found = decoded(changed(**{key: value}))
    if found is None:
        return
    assert found.llr(evidence(0.9)) > found.llr(evidence(0.1))
    assert 0.0 < found.supported_rate(5.0) <= 1.0


WEIGHTS = CALIBRATION.weights


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "voiceauthd-calibration 2"},
        {"offset": ...},
        {"offset": 2.9e17},  # would accept any score
        {"more": 1},
        {"weights": WEIGHTS[:-1]},
        {"weights": (-1.0, *WEIGHTS[1:])},
        {"weights": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)},
        {"weights": (3.0, 0.0, 0.0, -1.1, 0.0, 0.0)},  # decreases from exp(3 / 1.1) s on, which is within the range
        {"net_speech": {"low": 0.0, "high": 20.0}},
        {"net_speech": {"low": 20.0, "high": 1.0}},
        {"exemplars": {"low": 0.0, "high": 5.0}},
        {"pairs": 1, "alarms": [3.0, 2.0]},
        {"speakers": "anna"},
    ],
)
def test_implausible_values_are_refused(changes: dict[str, object]) -> None:
    assert refused(changed(**changes)).reason == "bad_calibration"


@pytest.mark.parametrize("number", ["1e999", "NaN", "null", "9" * 5000])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    assert refused(GOOD.replace(b"-9.0", number.encode())).reason == "bad_calibration"


def test_a_slope_that_is_negative_only_outside_the_range_is_accepted() -> None:
    narrow = calibration(weights=(3.0, 0.0, 0.0, -1.1, 0.0, 0.0), net_speech=Range(1.0, 10.0))
    assert decode_calibration(encode_calibration(narrow), MODEL, COHORT, "the file") == narrow


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b'"tiny"', b'"t\xffny"'),
        lambda data: data.replace(b'"tiny"', b'"t\\ud800"'),
        lambda data: data.replace(b'"tiny"', b"[" * 100_000),
        lambda data: data + data,
        lambda data: b"",
    ],
)
def test_invalid_json_is_refused(damage: Callable[[bytes], bytes]) -> None:
    assert refused(damage(GOOD)).reason == "bad_calibration"


def test_the_calibration_of_another_model_is_refused_by_name() -> None:
    error = refused(GOOD, model=OTHER_MODEL)
    assert error.reason == "wrong_model"
    assert "tiny (abababababab)" in str(error)
    assert str(OTHER_MODEL) in str(error)


def test_the_calibration_of_another_cohort_is_refused() -> None:
    assert refused(GOOD, cohort=strangers(seed=1).digest).reason == "wrong_cohort"


def test_a_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(GOOD)
    assert read_calibration(file, MODEL, COHORT) == CALIBRATION
    file.write_bytes(GOOD[:-20])
    for place, what in (
        (file, "is not a valid calibration"),
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "cannot be"),
    ):
        with pytest.raises(StorageError, match=what) as caught:
            read_calibration(place, MODEL, COHORT)
        assert str(place) in str(caught.value)
