"""The file format: what was written is read, and nothing else is."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import profile_parts as parts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import ExitCode, StorageError
from voiceauthd.profiles.document import MAX_BYTES, decode_profile, encode_profile, export_document, import_document
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Profile

MODEL = dataclasses.replace(parts.MODEL, dimension=8)


def profile(name: str = "anna", count: int = 3) -> Profile:
    return parts.profile(name, MODEL, count)


def same(one: Profile, other: Profile) -> bool:
    def plain(each: Profile) -> tuple[Any, ...]:
        fields = [getattr(each, field.name) for field in dataclasses.fields(each) if field.name != "exemplars"]
        exemplars = [
            (e.vector.tobytes(), e.vector.dtype, e.net_speech, e.snr_db, e.condition, e.recorded)
            for e in each.exemplars
        ]
        return *fields, exemplars

    return plain(one) == plain(other)


def sealed(record: object) -> bytes:
    """A document with a hash that is right, whatever is in it."""
    body = json.dumps(record).encode() + b"\n"
    return b"voiceauthd-profile 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    record = json.loads(encode_profile(profile()).split(b"\n")[1])
    change(record)
    return sealed(record)


def reason_of(data: bytes, name: str | None = "anna", model: ModelId | None = MODEL) -> str:
    with pytest.raises(StorageError) as caught:
        decode_profile(data, name, model)
    assert caught.value.exit_code == ExitCode.STORAGE
    assert "\n" not in str(caught.value)
    return caught.value.reason


@settings(deadline=None)
@given(st.data())
def test_what_was_written_is_read(data: st.DataObject) -> None:
    exemplars = tuple(
        dataclasses.replace(
            exemplar, net_speech=data.draw(st.floats(0.001, 3600)), snr_db=data.draw(st.none() | st.floats(-20, 90))
        )
        for exemplar in profile(count=data.draw(st.integers(1, MAX_EXEMPLARS))).exemplars
    )
    owner = data.draw(st.none() | st.integers(0, 2**32 - 2))
    before = dataclasses.replace(profile('Jürgen "J" 100%'), owner_uid=owner, exemplars=exemplars)
    assert same(decode_profile(encode_profile(before), before.name, MODEL), before)
    assert same(import_document(export_document(before)), before)


WHOLE = encode_profile(profile())


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    torn = bytearray(WHOLE)
    torn[bit // 8] ^= 1 << bit % 8
    assert reason_of(bytes(torn)) in {"torn", "wrong_format", "wrong_version"}


def test_every_flipped_bit_of_the_first_line_is_refused() -> None:
    for bit in range(8 * (WHOLE.index(b"\n") + 1)):
        torn = bytearray(WHOLE)
        torn[bit // 8] ^= 1 << bit % 8
        assert reason_of(bytes(torn)) in {"torn", "wrong_format", "wrong_version"}


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_any_truncation_is_torn(length: int) -> None:
    assert reason_of(WHOLE[:length]) == "torn"


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_anything_appended_is_torn(tail: bytes) -> None:
    assert reason_of(WHOLE + tail) == "torn"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused_and_never_crashes(data: bytes) -> None:
    reason_of(data)


def test_other_versions_and_other_files_are_told_apart() -> None:
    assert reason_of(WHOLE.replace(b"profile 1 ", b"profile 2 ", 1)) == "wrong_version"
    assert reason_of(b"{}\n") == "wrong_format"
    assert reason_of(b"\x80\x04K\x01.") == "wrong_format"
    assert reason_of(b"") == "torn"
    assert reason_of(b"voiceauthd-profile 1 00" + b"\0" * MAX_BYTES) == "too_large"


def _vector(values: list[float]) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(extra=1),
        lambda r: r.pop("uid"),
        lambda r: r.update(uid="../x"),
        lambda r: r.update(uid="x\n"),
        lambda r: r.update(generation="1"),
        lambda r: r.update(generation=0),
        lambda r: r.update(generation=True),
        lambda r: r.update(owner_uid=-1),
        lambda r: r.update(owner_uid=1.5),
        lambda r: r.update(created="yesterday"),
        lambda r: r.update(updated="2026-01-01T00:00:00"),
        lambda r: r.update(updated="2026-01-01T00:00:00+01:00"),
        lambda r: r.update(name="../x"),
        lambda r: r.update(exemplars=[]),
        lambda r: r.update(exemplars=r["exemplars"] * 7),
        lambda r: r.update(exemplars={}),
        lambda r: r["model"].update(dimension=7),
        lambda r: r["model"].update(dimension=-8),
        lambda r: r["model"].pop("digest"),
        lambda r: r["exemplars"][0].update(net_speech=0),
        lambda r: r["exemplars"][0].update(net_speech=-1),
        lambda r: r["exemplars"][0].update(net_speech=float("nan")),
        lambda r: r["exemplars"][0].update(net_speech=float("inf")),
        lambda r: r["exemplars"][0].update(snr_db="20"),
        lambda r: r["exemplars"][0].update(condition="a\nb"),
        lambda r: r["exemplars"][0].update(condition=""),
        lambda r: r["exemplars"][0].update(recorded=0),
        lambda r: r["exemplars"][0].update(vector="not base64"),
        lambda r: r["exemplars"][0].update(vector=_vector([1, 0, 0, 0, 0, 0, 0])),
        lambda r: r["exemplars"][0].update(vector=_vector([0] * 8)),
        lambda r: r["exemplars"][0].update(vector=_vector([1.01] + [0] * 7)),
        lambda r: r["exemplars"][0].update(vector=_vector([float("nan")] + [0] * 7)),
        lambda r: r["exemplars"][0].update(vector=_vector([float("inf")] + [0] * 7)),
    ],
)
def test_a_wrong_content_is_refused_even_under_a_right_hash(change: Callable[[dict[str, Any]], object]) -> None:
    assert reason_of(changed(change)) == "wrong_format"


@pytest.mark.parametrize("record", [None, [], "x", 1, {"name": "anna"}])
def test_json_of_another_shape_is_refused(record: object) -> None:
    assert reason_of(sealed(record)) == "wrong_format"


def test_an_untouched_record_passes_the_same_way() -> None:
    assert decode_profile(changed(lambda record: None), "anna", MODEL).name == "anna"


def test_a_file_under_another_name_is_refused() -> None:
    assert reason_of(WHOLE, name="berta") == "wrong_name"
    assert reason_of(WHOLE, name="Anna") == "wrong_name"


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(MODEL, name="wavlm"),
        dataclasses.replace(MODEL, revision="2"),
        dataclasses.replace(MODEL, digest="0" * 64),
        dataclasses.replace(MODEL, preprocessing="2"),
    ],
)
def test_another_model_is_refused_and_told_how_to_enrol_again(other: ModelId) -> None:
    with pytest.raises(StorageError) as caught:
        decode_profile(WHOLE, "anna", other)
    assert caught.value.reason == "wrong_model"
    assert "voiceauth enroll anna --replace" in str(caught.value)
    before, after = str(caught.value).split(", but the model is now ")
    assert before.split("enrolled with ")[1] != after.split(": enrol")[0]


def test_a_profile_that_could_not_be_read_is_not_written() -> None:
    whole = profile()
    first = whole.exemplars[0]
    long = dataclasses.replace(first, vector=first.vector * np.float32(2))
    # Each condition is compared by a centroid of its own; one that has none would spoil every comparison.
    cancelling = [dataclasses.replace(first, condition="room", vector=sign * first.vector) for sign in (1, -1)]
    for broken in (
        dataclasses.replace(whole, exemplars=(long,)),
        dataclasses.replace(whole, exemplars=()),
        dataclasses.replace(whole, name="a/b"),
        dataclasses.replace(whole, exemplars=(*whole.exemplars, *cancelling)),
    ):
        with pytest.raises(StorageError) as caught:
            encode_profile(broken)
        assert caught.value.reason == "wrong_format"


def test_vectors_that_were_read_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode_profile(WHOLE).exemplars[0].vector[0] = 0


def test_an_exported_text_survives_being_pasted() -> None:
    whole = profile()
    text = export_document(whole)
    assert same(import_document("\n  " + text.replace("\n", "\r\n") + "\n\n"), whole)
    with pytest.raises(StorageError):
        import_document(text[:-20])
    with pytest.raises(StorageError):
        import_document("\ud800" + text)


@pytest.mark.parametrize("long", [False, True])
def test_a_full_profile_of_512_dimensions_travels_in_one_message(long: bool) -> None:
    """The wire takes 64 KiB a message. `long`: every text as long as it may be."""
    name, condition = ("é" * 40, '"' * 32) if long else ("anna", "default")
    model = ModelId("m" * 96 if long else "microsoft/wavlm-base-sv", "0" * 40, "0" * 64, "wavlm-1", 512)
    whole = parts.profile(name, model, MAX_EXEMPLARS)
    exemplars = (
        dataclasses.replace(exemplar, net_speech=12.345, snr_db=-12.3, condition=condition)
        for exemplar in whole.exemplars
    )
    text = export_document(dataclasses.replace(whole, owner_uid=2**32 - 2, exemplars=tuple(exemplars)))
    assert len(text.encode()) < 60 * 1024
    assert len(json.dumps({"parameters": {"document": text}}).encode()) < 64 * 1024
    assert len(import_document(text).exemplars) == MAX_EXEMPLARS
