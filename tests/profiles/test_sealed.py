"""Sealed profiles: only an unchanged file opens, with its key, its name and its model."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import profile_parts as parts
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.profiles.document import encode_profile, encode_record
from voiceauthd.profiles.keys import Key, Keys
from voiceauthd.profiles.sealed import MAX_BYTES, key_id_in, open_profile, reseal, seal_profile

MODEL = dataclasses.replace(parts.MODEL, dimension=8)
KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(1, 33)))
KEYS = Keys(KEY)
ANNA = parts.profile("anna", MODEL, 2)
BERTA = parts.profile("berta", MODEL, 2, seed=1)
SEALED = seal_profile(ANNA, KEY)
FIRST_LINE = SEALED.index(b"\n") + 1


def rehashed(data: bytes) -> bytes:
    """Recompute the hash in the first line, as an attacker who can write the file would."""
    first, _, rest = data.partition(b"\n")
    words = first.split(b" ")
    return b" ".join([*words[:2], hashlib.sha256(rest).hexdigest().encode()]) + b"\n" + rest


def reason_of(data: bytes, keys: Keys = KEYS, name: str | None = "anna", model: ModelId | None = MODEL) -> str:
    with pytest.raises(StorageError) as caught:
        open_profile(data, keys, name, model)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def header() -> dict[str, Any]:
    return dict(json.loads(SEALED.split(b"\n")[1]))


def sealed_by_hand(fields: dict[str, Any], body: bytes, key: Key = KEY, version: int = 2) -> bytes:
    """Make a file that only the owner of the key can make."""
    line = json.dumps(fields).encode() + b"\n"
    nonce = base64.b64decode(fields["nonce"])
    rest = line + AESGCM(key.secret).encrypt(nonce, body, b"voiceauthd-profile %d\n" % version + line)
    return b"voiceauthd-profile %d %s\n" % (version, hashlib.sha256(rest).hexdigest().encode()) + rest


def test_a_sealed_profile_opens_with_its_key() -> None:
    assert encode_profile(open_profile(SEALED, KEYS, "anna", MODEL)) == encode_profile(ANNA)
    assert encode_profile(open_profile(SEALED, Keys(OTHER_KEY, (KEY,)))) == encode_profile(ANNA)


def test_nothing_of_the_record_can_be_read_without_the_key() -> None:
    record = json.loads(encode_record(ANNA))
    secret = [record["uid"], record["created"], record["exemplars"][0]["vector"]]
    assert not any(text.encode() in SEALED for text in secret)
    assert not any(exemplar.vector.tobytes() in SEALED for exemplar in ANNA.exemplars)
    assert KEY.secret not in SEALED
    assert len(SEALED) < len(encode_profile(ANNA)) + 512


def test_nonce_and_tag_differ_in_each_file() -> None:
    files = [seal_profile(ANNA, KEY) for _ in range(50)]
    assert len({json.loads(file.split(b"\n")[1])["nonce"] for file in files}) == 50
    assert len({file[-16:] for file in files}) == 50


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(SEALED)):
        reason = reason_of(flipped(SEALED, bit))
        assert reason in ({"wrong_format", "wrong_version", "torn"} if bit < 8 * FIRST_LINE else {"torn"})


def test_every_flipped_bit_is_refused_with_a_recomputed_hash() -> None:
    for bit in range(8 * FIRST_LINE, 8 * len(SEALED)):
        assert reason_of(rehashed(flipped(SEALED, bit))) in {"torn", "wrong_format", "wrong_key"}


def test_every_truncation_is_torn() -> None:
    for length in range(len(SEALED)):
        assert reason_of(SEALED[:length]) == "torn"
        if length >= FIRST_LINE:
            assert reason_of(rehashed(SEALED[:length])) in {"torn", "wrong_format"}


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """The file with parts changed, removed, inserted or moved."""
    data = SEALED
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 64)))
        new = draw(
            st.sampled_from([b"", data[to : to + 8], SEALED[:FIRST_LINE], b"2", b"\n", b'"']) | st.binary(max_size=32)
        )
        data = data[:at] + new + data[to:]
    return data


@settings(max_examples=1000, deadline=None)
@given(mutations(), st.booleans())
def test_no_mutation_is_accepted(data: bytes, rehash: bool) -> None:
    if rehash:
        data = rehashed(data)
    try:
        profile = open_profile(data, KEYS, "anna", MODEL)
    except StorageError:
        return
    assert data == SEALED
    assert encode_profile(profile) == encode_profile(ANNA)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(noise: bytes) -> None:
    reason_of(noise)
    reason_of(rehashed(b"voiceauthd-profile 2 x\n" + noise))


def test_a_file_with_another_name_or_model_is_refused() -> None:
    assert reason_of(SEALED, name="berta") == "wrong_name"
    assert reason_of(SEALED, name="Anna") == "wrong_name"
    assert reason_of(SEALED, model=dataclasses.replace(MODEL, revision="2")) == "wrong_model"


def test_a_file_with_a_forged_header_is_refused() -> None:
    renamed = rehashed(SEALED.replace(b'"name":"anna"', b'"name":"bert"', 1))
    assert reason_of(renamed, name="bert") == "torn"
    other_model = rehashed(SEALED.replace(b'"revision":"1"', b'"revision":"2"', 1))
    assert reason_of(other_model, model=dataclasses.replace(MODEL, revision="2")) == "torn"
    berta = seal_profile(BERTA, KEY)
    one, other = (data[FIRST_LINE:].partition(b"\n") for data in (SEALED, berta))
    assert reason_of(rehashed(SEALED[:FIRST_LINE] + one[0] + b"\n" + other[2])) == "torn"


def test_a_record_that_contradicts_its_header_is_refused() -> None:
    for change in ({"name": "berta"}, {"model": {**header()["model"], "digest": "0" * 64}}):
        fields = {**header(), **change}
        assert reason_of(sealed_by_hand(fields, encode_record(ANNA)), name=None, model=None) == "wrong_format"
    assert open_profile(sealed_by_hand(header(), encode_record(ANNA)), KEYS, "anna", MODEL).name == "anna"


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(extra=1),
        lambda fields: fields.pop("cipher"),
        lambda fields: fields.update(cipher="none"),
        lambda fields: fields.update(key="../../x"),
        lambda fields: fields.update(nonce=base64.b64encode(bytes(16)).decode()),
        lambda fields: fields.update(name=None),
    ],
)
def test_an_authentic_but_invalid_header_is_refused(
    change: Callable[[dict[str, Any]], object],
) -> None:
    fields = header()
    change(fields)
    assert reason_of(sealed_by_hand(fields, encode_record(ANNA))) == "wrong_format"


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", encode_record(ANNA)[:-3]])
def test_an_authentic_but_invalid_record_is_refused(body: bytes) -> None:
    assert reason_of(sealed_by_hand(header(), body)) == "wrong_format"


def test_a_missing_key_is_named_with_the_possible_remedies() -> None:
    with pytest.raises(StorageError) as caught:
        open_profile(SEALED, Keys(OTHER_KEY), "anna", MODEL)
    assert caught.value.reason == "wrong_key"
    for text in ("'anna'", KEY.id, "add that key", "import a backup", "voiceauth enroll anna --replace", "delete"):
        assert text in str(caught.value)


def test_another_key_with_the_same_id_opens_nothing() -> None:
    impostor = Key(bytes(32))
    object.__setattr__(impostor, "id", KEY.id)
    assert reason_of(SEALED, Keys(impostor)) == "torn"


def test_the_old_format_is_refused_with_the_command_to_import_it() -> None:
    with pytest.raises(StorageError) as caught:
        open_profile(encode_profile(ANNA), KEYS, "anna", MODEL, at="/var/lib/voiceauthd/profiles/anna.profile")
    assert caught.value.reason == "wrong_version"
    assert "voiceauth profiles import /var/lib/voiceauthd/profiles/anna.profile --replace" in str(caught.value)
    for version in (b"1", b"3", b"02", b"2 ", b""):
        changed = SEALED.replace(b"profile 2 ", b"profile %s " % version, 1)
        assert reason_of(changed) in {"wrong_version", "torn"}
    for version in (1, 3):
        assert reason_of(sealed_by_hand(header(), encode_record(ANNA), version=version)) == "wrong_version"


def test_a_file_that_is_too_large_is_refused() -> None:
    assert reason_of(SEALED + bytes(MAX_BYTES)) == "too_large"


def test_a_profile_that_would_be_refused_is_not_sealed() -> None:
    for broken in (dataclasses.replace(ANNA, exemplars=()), dataclasses.replace(ANNA, name="a/b")):
        with pytest.raises(StorageError):
            seal_profile(broken, KEY)


def test_resealing_changes_only_the_key() -> None:
    keys = Keys(OTHER_KEY, (KEY,))
    resealed = reseal(SEALED, keys)
    assert (key_id_in(SEALED), key_id_in(resealed)) == (KEY.id, OTHER_KEY.id)
    assert encode_profile(open_profile(resealed, Keys(OTHER_KEY), "anna", MODEL)) == encode_profile(ANNA)
    for damaged in (SEALED[:-1], encode_profile(ANNA), flipped(SEALED, 8 * len(SEALED) - 1)):
        with pytest.raises(StorageError):
            reseal(damaged, keys)
    assert key_id_in(SEALED[:200]) == KEY.id
    assert key_id_in(b"") is None


def test_the_format_document_is_sufficient_to_read_a_profile() -> None:
    """Uses only docs/profile-format.md, a JSON parser and AES-GCM."""
    first, line, sealed = SEALED.split(b"\n", 2)
    word, version, digest = first.split(b" ")
    assert (word, version) == (b"voiceauthd-profile", b"2")
    assert hashlib.sha256(line + b"\n" + sealed).hexdigest().encode() == digest
    fields = json.loads(line)
    assert fields["cipher"] == "AES-256-GCM"
    assert hashlib.sha256(b"voiceauthd key id\n" + KEY.secret).hexdigest()[:16] == fields["key"]
    nonce = base64.b64decode(fields["nonce"])
    record = json.loads(AESGCM(KEY.secret).decrypt(nonce, sealed, b"voiceauthd-profile 2\n" + line + b"\n"))
    assert (record["name"], record["model"]) == (fields["name"], fields["model"]) == ("anna", dataclasses.asdict(MODEL))
    for exemplar, ours in zip(record["exemplars"], ANNA.exemplars, strict=True):
        vector = struct.unpack("<8f", base64.b64decode(exemplar["vector"]))
        assert list(vector) == [float(value) for value in ours.vector]
