"""Profile documents: what was encoded is decoded, and everything else is refused."""

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


def document(record: object) -> bytes:
    """A document with a correct hash and any content."""
    body = json.dumps(record).encode() + b"\n"
    return b"voiceauthd-profile 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    record = json.loads(encode_profile(profile()).split(b"\n")[1])
    change(record)
    return document(record)


def reason_of(data: bytes, name: str | None = "anna", model: ModelId | None = MODEL) -> str:
    with pytest.raises(StorageError) as caught:
        decode_profile(data, name, model)
    assert caught.value.exit_code == ExitCode.STORAGE
    assert "\n" not in str(caught.value)
    return caught.value.reason


@settings(deadline=None)
@given(st.data())
def test_encoding_and_decoding_are_inverse(data: st.DataObject) -> None:
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


DOCUMENT = encode_profile(profile())


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(DOCUMENT)):
        damaged = bytearray(DOCUMENT)
        damaged[bit // 8] ^= 1 << bit % 8
        assert reason_of(bytes(damaged)) in {"torn", "wrong_format", "wrong_version"}


def test_every_truncation_is_torn() -> None:
    for length in range(len(DOCUMENT)):
        assert reason_of(DOCUMENT[:length]) == "torn"


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_appended_bytes_are_refused(tail: bytes) -> None:
    assert reason_of(DOCUMENT + tail) == "torn"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    reason_of(data)


def test_other_versions_and_other_files_have_their_own_reasons() -> None:
    assert reason_of(DOCUMENT.replace(b"profile 1 ", b"profile 2 ", 1)) == "wrong_version"
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
        lambda r: r.update(generation=0),
        lambda r: r.update(generation=True),
        lambda r: r.update(owner_uid=-1),
        lambda r: r.update(created="yesterday"),
        lambda r: r.update(updated="2026-01-01T00:00:00+01:00"),
        lambda r: r.update(name="../x"),
        lambda r: r.update(exemplars=[]),
        lambda r: r.update(exemplars=r["exemplars"] * 7),
        lambda r: r["model"].update(dimension=7),
        lambda r: r["exemplars"][0].update(net_speech=0),
        lambda r: r["exemplars"][0].update(net_speech=float("nan")),
        lambda r: r["exemplars"][0].update(condition="a\nb"),
        lambda r: r["exemplars"][0].update(vector="not base64"),
        lambda r: r["exemplars"][0].update(vector=_vector([1, 0, 0, 0, 0, 0, 0])),
        lambda r: r["exemplars"][0].update(vector=_vector([0] * 8)),
        lambda r: r["exemplars"][0].update(vector=_vector([1.01] + [0] * 7)),
        lambda r: r["exemplars"][0].update(vector=_vector([float("nan")] + [0] * 7)),
    ],
)
def test_invalid_content_with_a_correct_hash_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    assert reason_of(changed(change)) == "wrong_format"


@pytest.mark.parametrize("record", [None, [], {"name": "anna"}])
def test_json_of_another_type_is_refused(record: object) -> None:
    assert reason_of(document(record)) == "wrong_format"


def test_an_unchanged_record_is_accepted_the_same_way() -> None:
    assert decode_profile(changed(lambda record: None), "anna", MODEL).name == "anna"


def test_a_document_with_another_name_is_refused() -> None:
    assert reason_of(DOCUMENT, name="berta") == "wrong_name"
    assert reason_of(DOCUMENT, name="Anna") == "wrong_name"


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(MODEL, name="wavlm"),
        dataclasses.replace(MODEL, revision="2"),
        dataclasses.replace(MODEL, digest="0" * 64),
        dataclasses.replace(MODEL, preprocessing="2"),
    ],
)
def test_another_model_is_refused_with_the_command_to_enrol_again(other: ModelId) -> None:
    with pytest.raises(StorageError) as caught:
        decode_profile(DOCUMENT, "anna", other)
    assert caught.value.reason == "wrong_model"
    assert "voiceauth enroll anna --replace" in str(caught.value)
    before, after = str(caught.value).split(", but the current model is ")
    assert before.split("enrolled with ")[1] != after.split(": enrol")[0]


def test_a_profile_that_would_be_refused_is_not_encoded() -> None:
    original = profile()
    first = original.exemplars[0]
    long = dataclasses.replace(first, vector=first.vector * np.float32(2))
    # Each condition needs a centroid; vectors that cancel out have none.
    cancelling = [dataclasses.replace(first, condition="room", vector=sign * first.vector) for sign in (1, -1)]
    for broken in (
        dataclasses.replace(original, exemplars=(long,)),
        dataclasses.replace(original, exemplars=()),
        dataclasses.replace(original, name="a/b"),
        dataclasses.replace(original, exemplars=(*original.exemplars, *cancelling)),
    ):
        with pytest.raises(StorageError) as caught:
            encode_profile(broken)
        assert caught.value.reason == "wrong_format"


def test_decoded_vectors_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode_profile(DOCUMENT).exemplars[0].vector[0] = 0


def test_whitespace_around_an_exported_text_is_ignored() -> None:
    original = profile()
    text = export_document(original)
    assert same(import_document("\n  " + text.replace("\n", "\r\n") + "\n\n"), original)
    with pytest.raises(StorageError):
        import_document(text[:-20])
    with pytest.raises(StorageError):
        import_document("\ud800" + text)


@pytest.mark.parametrize("long", [False, True])
def test_a_full_profile_of_512_dimensions_fits_into_one_message(long: bool) -> None:
    """The limit of a message is 64 KiB. `long`: every text has its maximum length."""
    name, condition = ("é" * 40, '"' * 32) if long else ("anna", "default")
    model = ModelId("m" * 96 if long else "microsoft/wavlm-base-sv", "0" * 40, "0" * 64, "wavlm-1", 512)
    original = parts.profile(name, model, MAX_EXEMPLARS)
    exemplars = (
        dataclasses.replace(exemplar, net_speech=12.345, snr_db=-12.3, condition=condition)
        for exemplar in original.exemplars
    )
    text = export_document(dataclasses.replace(original, owner_uid=2**32 - 2, exemplars=tuple(exemplars)))
    assert len(text.encode()) < 60 * 1024
    assert len(json.dumps({"parameters": {"document": text}}).encode()) < 64 * 1024
    assert len(import_document(text).exemplars) == MAX_EXEMPLARS
