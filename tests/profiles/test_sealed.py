"""A sealed profile: what was sealed is opened, with its key, under its name, of its model; and nothing else is."""

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
from voiceauthd.profiles.sealed import MAX_BYTES, key_of, open_profile, reseal, seal_profile

MODEL = dataclasses.replace(parts.MODEL, dimension=8)
KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(1, 33)))
KEYS = Keys(KEY)
ANNA = parts.profile("anna", MODEL, 2)
BERTA = parts.profile("berta", MODEL, 2, seed=1)
WHOLE = seal_profile(ANNA, KEY)
FIRST_LINE = WHOLE.index(b"\n") + 1


def rehashed(data: bytes) -> bytes:
    """With a first line that fits, as somebody makes it who may write the file."""
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
    return dict(json.loads(WHOLE.split(b"\n")[1]))


def sealed_by_hand(fields: dict[str, Any], body: bytes, key: Key = KEY, version: int = 2) -> bytes:
    """What only somebody who has the key can make."""
    line = json.dumps(fields).encode() + b"\n"
    nonce = base64.b64decode(fields["nonce"])
    rest = line + AESGCM(key.secret).encrypt(nonce, body, b"voiceauthd-profile %d\n" % version + line)
    return b"voiceauthd-profile %d %s\n" % (version, hashlib.sha256(rest).hexdigest().encode()) + rest


def test_what_was_sealed_is_opened() -> None:
    assert encode_profile(open_profile(WHOLE, KEYS, "anna", MODEL)) == encode_profile(ANNA)
    assert encode_profile(open_profile(WHOLE, Keys(OTHER_KEY, (KEY,)))) == encode_profile(ANNA)


def test_nothing_of_the_record_can_be_read_without_the_key() -> None:
    record = json.loads(encode_record(ANNA))
    told = [record["uid"], record["created"], record["exemplars"][0]["vector"]]
    assert not any(text.encode() in WHOLE for text in told)
    assert not any(exemplar.vector.tobytes() in WHOLE for exemplar in ANNA.exemplars)
    assert KEY.secret not in WHOLE
    assert len(WHOLE) < len(encode_profile(ANNA)) + 512


def test_no_two_files_are_sealed_alike() -> None:
    files = [seal_profile(ANNA, KEY) for _ in range(50)]
    assert len({json.loads(file.split(b"\n")[1])["nonce"] for file in files}) == 50
    assert len({file[-16:] for file in files}) == 50


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(WHOLE)):
        reason = reason_of(flipped(WHOLE, bit))
        assert reason in ({"wrong_format", "wrong_version", "torn"} if bit < 8 * FIRST_LINE else {"torn"})


def test_every_flipped_bit_is_refused_under_a_hash_that_was_made_to_fit() -> None:
    for bit in range(8 * FIRST_LINE, 8 * len(WHOLE)):
        assert reason_of(rehashed(flipped(WHOLE, bit))) in {"torn", "wrong_format", "wrong_key"}


def test_every_truncation_is_torn() -> None:
    for length in range(len(WHOLE)):
        assert reason_of(WHOLE[:length]) == "torn"
        if length >= FIRST_LINE:
            assert reason_of(rehashed(WHOLE[:length])) in {"torn", "wrong_format"}


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """The file with some of it changed, cut out, put in or moved."""
    data = WHOLE
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 64)))
        new = draw(
            st.sampled_from([b"", data[to : to + 8], WHOLE[:FIRST_LINE], b"2", b"\n", b'"']) | st.binary(max_size=32)
        )
        data = data[:at] + new + data[to:]
    return data


@settings(max_examples=1000, deadline=None)
@given(mutations(), st.booleans())
def test_no_mutation_is_ever_another_profile(data: bytes, rehash: bool) -> None:
    if rehash:
        data = rehashed(data)
    try:
        profile = open_profile(data, KEYS, "anna", MODEL)
    except StorageError:
        return
    assert data == WHOLE
    assert encode_profile(profile) == encode_profile(ANNA)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_refused_and_never_crashes(noise: bytes) -> None:
    reason_of(noise)
    reason_of(rehashed(b"voiceauthd-profile 2 x\n" + noise))


def test_a_file_under_another_name_is_refused() -> None:
    assert reason_of(WHOLE, name="berta") == "wrong_name"
    assert reason_of(WHOLE, name="Anna") == "wrong_name"


def test_a_file_that_was_made_out_to_be_somebody_elses_is_refused() -> None:
    renamed = rehashed(WHOLE.replace(b'"name":"anna"', b'"name":"bert"', 1))
    assert reason_of(renamed, name="bert") == "torn"
    other_model = rehashed(WHOLE.replace(b'"revision":"1"', b'"revision":"2"', 1))
    assert reason_of(other_model, model=dataclasses.replace(MODEL, revision="2")) == "torn"
    berta = seal_profile(BERTA, KEY)
    one, other = (data[FIRST_LINE:].partition(b"\n") for data in (WHOLE, berta))
    assert reason_of(rehashed(WHOLE[:FIRST_LINE] + one[0] + b"\n" + other[2])) == "torn"


def test_a_name_or_a_model_inside_that_is_not_the_one_outside_is_refused() -> None:
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
        lambda fields: fields.update(key=KEY.id.upper()),
        lambda fields: fields.update(nonce=base64.b64encode(bytes(16)).decode()),
        lambda fields: fields.update(name=None),
        lambda fields: fields.update(model=[]),
    ],
)
def test_a_header_of_another_shape_is_refused_even_if_it_is_authentic(
    change: Callable[[dict[str, Any]], object],
) -> None:
    fields = header()
    change(fields)
    assert reason_of(sealed_by_hand(fields, encode_record(ANNA))) == "wrong_format"


@pytest.mark.parametrize("body", [b"", b"{}", b"null\n", b"\xff", encode_record(ANNA)[:-3]])
def test_a_record_of_another_shape_is_refused_even_if_it_is_authentic(body: bytes) -> None:
    assert reason_of(sealed_by_hand(header(), body)) == "wrong_format"


def test_another_model_is_told_how_to_enrol_again() -> None:
    assert reason_of(WHOLE, model=dataclasses.replace(MODEL, revision="2")) == "wrong_model"


def test_a_lost_key_is_named_with_what_remains_possible() -> None:
    with pytest.raises(StorageError) as caught:
        open_profile(WHOLE, Keys(OTHER_KEY), "anna", MODEL)
    assert caught.value.reason == "wrong_key"
    for said in ("'anna'", KEY.id, "put that key back", "import a backup", "voiceauth enroll anna --replace", "delete"):
        assert said in str(caught.value)


def test_another_key_of_the_same_id_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    impostor = Key(bytes(32))
    object.__setattr__(impostor, "id", KEY.id)
    assert reason_of(WHOLE, Keys(impostor)) == "torn"


def test_an_older_format_is_never_accepted_and_told_how_to_come_in() -> None:
    with pytest.raises(StorageError) as caught:
        open_profile(encode_profile(ANNA), KEYS, "anna", MODEL, at="/var/lib/voiceauthd/profiles/anna.profile")
    assert caught.value.reason == "wrong_version"
    assert "voiceauth profiles import /var/lib/voiceauthd/profiles/anna.profile --replace" in str(caught.value)
    for version in (b"1", b"3", b"02", b"2 ", b""):
        changed = WHOLE.replace(b"profile 2 ", b"profile %s " % version, 1)
        assert reason_of(changed) in {"wrong_version", "torn"}
    for version in (1, 3):
        assert reason_of(sealed_by_hand(header(), encode_record(ANNA), version=version)) == "wrong_version"


def test_what_is_too_large_is_not_looked_at() -> None:
    assert reason_of(WHOLE + bytes(MAX_BYTES)) == "too_large"


def test_a_profile_that_could_not_be_opened_is_not_sealed() -> None:
    for broken in (dataclasses.replace(ANNA, exemplars=()), dataclasses.replace(ANNA, name="a/b")):
        with pytest.raises(StorageError):
            seal_profile(broken, KEY)


def test_sealing_anew_changes_the_key_and_nothing_else() -> None:
    keys = Keys(OTHER_KEY, (KEY,))
    anew = reseal(WHOLE, keys)
    assert (key_of(WHOLE), key_of(anew)) == (KEY.id, OTHER_KEY.id)
    assert encode_profile(open_profile(anew, Keys(OTHER_KEY), "anna", MODEL)) == encode_profile(ANNA)
    for spoilt in (WHOLE[:-1], encode_profile(ANNA), flipped(WHOLE, 8 * len(WHOLE) - 1)):
        with pytest.raises(StorageError):
            reseal(spoilt, keys)
    assert key_of(WHOLE[:200]) == KEY.id
    assert key_of(b"") is None


def test_the_page_about_the_format_is_enough_to_write_another_reader() -> None:
    """Nothing of ours: docs/profile-format.md, a JSON parser and AES-GCM."""
    first, line, sealed = WHOLE.split(b"\n", 2)
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
