"""The cohort: the level of a voice against it, leaving people out, and the file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from score_parts import BROKEN, DIMENSION, MODEL, OTHER_MODEL, axis, strangers, unit, vectors

from voiceauthd.embed.embedding import Vector
from voiceauthd.errors import ModelError, StorageError
from voiceauthd.scoring.cohort import (
    FORMAT,
    MIN_SPEAKERS,
    NEAREST_SPEAKERS,
    Cohort,
    decode_cohort,
    encode_cohort,
    make_cohort,
    read_cohort,
)

COHORT = strangers()
GOOD = encode_cohort(COHORT)


def refused(data: bytes) -> StorageError:
    with pytest.raises(StorageError) as caught:
        decode_cohort(data, MODEL, "the file")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the file")
    return caught.value


def changed(tensors: dict[str, np.ndarray] | None = None, **header: object) -> bytes:
    """Return a cohort file with changed content; None removes a header."""
    about: dict[str, object] = {
        "format": FORMAT,
        "model": json.dumps(asdict(MODEL)),
        "speakers": json.dumps(COHORT.speakers),
        "sources": json.dumps(COHORT.sources),
    }
    about |= header
    kept = {key: str(value) for key, value in about.items() if value is not None}
    return save({"vectors": COHORT.vectors} if tensors is None else tensors, metadata=kept)


# The level


@settings(deadline=None)
@given(spoken=st.lists(vectors(), min_size=1, max_size=5), count=st.integers(MIN_SPEAKERS, 40), seed=st.integers(0, 99))
def test_the_level_is_the_mean_of_the_nearest(spoken: list[Vector], count: int, seed: int) -> None:
    cohort = strangers(count, seed=seed)
    found = cohort.level(np.array(spoken))
    assert found.shape == (len(spoken),)
    for level, vector in zip(found, spoken, strict=True):
        cosines = [sum(float(a) * float(b) for a, b in zip(vector, other, strict=True)) for other in cohort.vectors]
        nearest = sorted(cosines, reverse=True)[:NEAREST_SPEAKERS]
        assert level == pytest.approx(sum(nearest) / NEAREST_SPEAKERS, abs=1e-6)


def test_distant_strangers_do_not_matter() -> None:
    near = [(f"near {number}", axis(0)) for number in range(NEAREST_SPEAKERS)]
    far = [(f"far {number}", axis(1)) for number in range(90)]
    cohort = make_cohort(MODEL, near + far, ())
    assert cohort.level(np.array([axis(0), axis(1)])) == pytest.approx([1.0, 1.0])
    assert cohort.level(np.array([axis(2)])) == pytest.approx([0.0])


def test_the_levels_of_no_voices_are_empty() -> None:
    assert COHORT.level(np.empty((0, DIMENSION), np.float32)).shape == (0,)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_vector_that_is_not_finite_has_no_finite_level(broken: float) -> None:
    damaged = axis(1)
    damaged[0] = broken
    with np.errstate(invalid="ignore"):
        level = COHORT.level(np.array([damaged, axis(1)]))
    assert not math.isfinite(level[0])
    assert math.isfinite(level[1])


# Leaving people out


@settings(deadline=None)
@given(st.sets(st.sampled_from(COHORT.speakers)), st.sets(st.text(max_size=3)))
def test_exactly_the_given_people_are_removed(out: set[str], unknown: set[str]) -> None:
    unknown -= set(COHORT.speakers)
    smaller = COHORT.without(out | unknown)
    assert smaller.speakers == tuple(name for name in COHORT.speakers if name not in out)
    assert (smaller.model, smaller.sources) == (COHORT.model, COHORT.sources)
    before = dict(zip(COHORT.speakers, COHORT.vectors, strict=True))
    assert len(smaller.vectors) == len(smaller.speakers)
    for name, vector in zip(smaller.speakers, smaller.vectors, strict=True):
        assert np.array_equal(vector, before[name])
    assert (smaller is COHORT) == (not out)
    assert len(COHORT.speakers) == 30, "the original is unchanged"


def test_nobody_is_compared_with_themselves() -> None:
    cohort = make_cohort(MODEL, [("anna", axis(0))] * 1 + [(f"s{number}", axis(1)) for number in range(40)], ())
    assert float(cohort.level(axis(0)[np.newaxis])[0]) == pytest.approx(1.0 / NEAREST_SPEAKERS)
    assert float(cohort.without(["anna"]).level(axis(0)[np.newaxis])[0]) == pytest.approx(0.0)


def test_different_cohorts_have_different_digests() -> None:
    assert COHORT.digest == strangers().digest
    assert COHORT.digest != strangers(seed=1).digest
    assert COHORT.digest != COHORT.without(COHORT.speakers[:1]).digest


def test_a_cohort_needs_a_minimum_of_people() -> None:
    assert len(strangers(MIN_SPEAKERS).speakers) == MIN_SPEAKERS
    with pytest.raises(ModelError) as caught:
        strangers(MIN_SPEAKERS - 1)
    assert caught.value.reason == "cohort_too_small"


# The file


@settings(deadline=None)
@given(
    names=st.lists(st.text(max_size=8), min_size=MIN_SPEAKERS, max_size=40),
    sources=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    seed=st.integers(0, 99),
)
def test_encoding_and_decoding_are_inverse(names: list[str], sources: tuple[str, ...], seed: int) -> None:
    rows = strangers(len(names), seed=seed).vectors
    cohort = make_cohort(MODEL, list(zip(names, rows, strict=True)), sources)
    again = decode_cohort(encode_cohort(cohort), MODEL, "the file")
    assert (again.model, again.speakers, again.sources) == (MODEL, cohort.speakers, sources)
    assert np.array_equal(again.vectors, cohort.vectors)
    assert again.vectors.dtype == np.float32
    assert again.digest == cohort.digest


def test_a_name_that_is_not_unicode_is_kept() -> None:
    voices = [(f"{number}\udce4", unit(axis(number % DIMENSION))) for number in range(MIN_SPEAKERS)]
    cohort = make_cohort(MODEL, voices, ())
    assert decode_cohort(encode_cohort(cohort), MODEL, "the file").speakers == cohort.speakers


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert refused(data).reason == "bad_cohort"


@settings(deadline=None, max_examples=300)
@given(
    place=st.integers(0, len(GOOD) - 1),
    byte=st.integers(0, 255),
    end=st.integers(0, len(GOOD)),
    truncated=st.booleans(),
)
def test_a_damaged_file_is_refused_or_a_valid_cohort(place: int, byte: int, end: int, truncated: bool) -> None:
    data = GOOD[:end] if truncated else GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]
    try:
        found = decode_cohort(data, MODEL, "the file")
    except StorageError:
        assert refused(data).reason in {"bad_cohort", "wrong_model"}
        return
    assert not truncated or end == len(GOOD)
    assert found.model == MODEL
    lengths = np.linalg.norm(found.vectors, axis=1)
    assert found.vectors.shape == (30, DIMENSION)
    assert bool((np.abs(lengths - 1.0) < 0.01).all())


def with_row(row: float | Vector) -> np.ndarray:
    rows = COHORT.vectors.copy()
    rows[3] = row
    return rows


INVALID_VECTORS = {
    "NaN": with_row(math.nan),
    "zero": with_row(0.0),
    "too long": with_row(1.01 * axis(0)),
    "a missing row": COHORT.vectors[:-1],
    "a missing column": COHORT.vectors[:, :-1],
    "one number": np.array(1.0, np.float32),
    "float64": COHORT.vectors.astype(np.float64),
}


@pytest.mark.parametrize("rows", INVALID_VECTORS.values(), ids=INVALID_VECTORS.keys())
def test_invalid_vectors_are_refused(rows: np.ndarray) -> None:
    assert refused(changed({"vectors": rows})).reason == "bad_cohort"


def test_a_file_without_vectors_is_refused() -> None:
    assert refused(changed({"others": COHORT.vectors})).reason == "bad_cohort"


DEEP = pytest.param("[" * 100_000, id="deep")


@pytest.mark.parametrize("key", ["format", "model", "speakers", "sources"])
@pytest.mark.parametrize("value", [None, "[1]", "{", DEEP])
def test_an_invalid_header_is_refused(key: str, value: str | None) -> None:
    assert refused(changed(**{key: value})).reason == "bad_cohort"


def test_a_file_without_headers_is_refused() -> None:
    assert refused(save({"vectors": COHORT.vectors})).reason == "bad_cohort"


@pytest.mark.parametrize(
    "model",
    [
        asdict(MODEL) | {"revision": 5},
        asdict(MODEL) | {"dimension": str(DIMENSION)},
        {"name": "tiny"},
    ],
)
def test_an_invalid_model_is_refused(model: object) -> None:
    assert refused(changed(model=json.dumps(model))).reason == "bad_cohort"


def test_another_format_is_refused_by_name() -> None:
    error = refused(changed(format="voiceauthd-cohort 2"))
    assert error.reason == "bad_cohort"
    assert "voiceauthd-cohort 2" in str(error)


@pytest.mark.parametrize("change", [{"digest": "cd" * 32}, {"preprocessing": "2"}])
def test_the_cohort_of_another_model_is_refused_by_name(change: dict[str, str]) -> None:
    other = replace(MODEL, **change)
    error = refused(encode_cohort(strangers(model=other)))
    assert error.reason == "wrong_model"
    assert str(other) in str(error)
    assert str(MODEL) in str(error)


def test_a_file_with_too_few_people_is_refused() -> None:
    few = Cohort(MODEL, COHORT.vectors[: MIN_SPEAKERS - 1], COHORT.speakers[: MIN_SPEAKERS - 1], ())
    error = refused(encode_cohort(few))
    assert error.reason == "bad_cohort"
    assert str(MIN_SPEAKERS) in str(error)


def test_a_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    file = tmp_path / "cohort.safetensors"
    file.write_bytes(GOOD)
    assert read_cohort(file, MODEL).digest == COHORT.digest
    with pytest.raises(StorageError, match="is a cohort of") as caught:
        read_cohort(file, OTHER_MODEL)
    assert str(file) in str(caught.value)
    for gone in (tmp_path / "none", tmp_path):
        with pytest.raises(StorageError, match="cannot be read") as caught:
            read_cohort(gone, MODEL)
        assert str(gone) in str(caught.value)
