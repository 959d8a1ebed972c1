"""The sealed file: only its passphrase opens it, damage is no wrong passphrase, and hostile content is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import pytest
from machine_parts import PASSPHRASE, profile, saved

from voiceauthd.backup.contents import Contents, SavedProfile, SavedScoring, decode_contents, encode_contents
from voiceauthd.backup.places import Places
from voiceauthd.backup.sealed_file import MAGIC, MAX_FILE_BYTES, VERSION, open_file, parse_file, seal_contents
from voiceauthd.errors import StorageError, UsageError
from voiceauthd.profiles import passphrase_envelope
from voiceauthd.profiles.backup import seal_backup
from voiceauthd.profiles.document import encode_profile


@pytest.fixture
def contents(here: Places) -> Contents:
    return saved(here)


@pytest.fixture
def data(contents: Contents) -> bytes:
    return seal_contents(contents, PASSPHRASE)


def reason_of(data: bytes, passphrase: str = PASSPHRASE) -> str:
    with pytest.raises(StorageError) as caught:
        open_file(parse_file(data), passphrase)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def refusal_of(contents: object) -> str:
    """Return why contents that were sealed by somebody else, with the right passphrase, are refused."""
    sealed = passphrase_envelope.seal(MAGIC, VERSION, msgspec.msgpack.encode(contents), PASSPHRASE)
    return reason_of(sealed)


def test_a_backup_opens_with_its_passphrase_alone(contents: Contents, data: bytes) -> None:
    assert open_file(parse_file(data), PASSPHRASE) == contents
    assert contents.profiles
    assert contents.scoring
    assert b"Anna" not in data
    assert contents.keys[0] not in data
    for wrong in (PASSPHRASE + " ", PASSPHRASE.upper(), ""):
        assert reason_of(data, wrong) == "wrong_passphrase"


def test_what_is_written_is_expensive_to_guess(contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(passphrase_envelope, "SCRYPT_N", 2**17)
    header = json.loads(seal_contents(contents, PASSPHRASE).split(b"\n")[1])
    assert (header["n"], header["r"], header["p"]) == (2**17, 8, 1)
    with pytest.raises(UsageError):
        seal_contents(contents, "short")


def test_a_truncated_backup_is_damaged_wherever_it_ends(data: bytes) -> None:
    lengths = {0, 1, len(data) - 1, *random.Random(1).sample(range(len(data)), 100)}
    assert {reason_of(data[:length]) for length in lengths} <= {"torn", "wrong_format"}
    assert reason_of(data[:-1]) == reason_of(data[: len(data) // 2]) == "torn"
    assert reason_of(data + b"\n") == "torn"


def test_a_flipped_bit_anywhere_is_noticed_without_the_passphrase(data: bytes) -> None:
    chance = random.Random(2)
    for place in [*range(140), *chance.sample(range(len(data)), 200)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        with pytest.raises(StorageError) as caught:
            parse_file(bytes(flipped))
        assert caught.value.reason in {"torn", "wrong_format", "wrong_version"}


def test_a_changed_backup_with_a_new_hash_does_not_open(data: bytes) -> None:
    import hashlib

    first, rest = data.split(b"\n", 1)
    changed = bytearray(rest)
    changed[-20] ^= 1
    digest = hashlib.sha256(changed).hexdigest().encode()
    assert reason_of(b" ".join([*first.split(b" ")[:2], digest]) + b"\n" + bytes(changed)) == "wrong_passphrase"


@pytest.mark.parametrize(
    "folder",
    [
        "../../etc",
        "..",
        ".",
        "",
        "/etc",
        "tiny/../..-0123456789abcdef",
        "tiny-0123456789abcdef\n",
        "tiny",
        "é-" + "0" * 16,
    ],
)
def test_a_name_that_leaves_its_folder_is_refused(contents: Contents, folder: str) -> None:
    hostile = msgspec.structs.replace(contents.scoring[0], folder=folder)
    assert refusal_of(msgspec.structs.replace(contents, scoring=[hostile])) == "wrong_format"


def test_a_person_whose_name_is_a_path_is_refused(contents: Contents) -> None:
    document = contents.profiles[0].document.replace(b'"name":"Anna"', b'"name":"../x"', 1)
    first, rest = document.split(b"\n", 1)
    import hashlib

    first = b" ".join([*first.split(b" ")[:2], hashlib.sha256(rest).hexdigest().encode()])
    hostile = SavedProfile(first + b"\n" + rest, None)
    assert b"../x" in hostile.document
    assert refusal_of(msgspec.structs.replace(contents, profiles=[hostile])) == "wrong_format"


def test_contents_that_do_not_belong_together_are_refused(contents: Contents) -> None:
    replace = msgspec.structs.replace
    twice = [SavedProfile(encode_profile(profile(name)), None) for name in ("Anna", "anna")]
    scoring = contents.scoring[0]
    assert refusal_of(replace(contents, profiles=twice)) == "wrong_format"
    assert refusal_of(replace(contents, profiles=[contents.profiles[0]] * 2)) == "wrong_format"
    assert refusal_of(replace(contents, keys=[])) == "wrong_format"
    assert refusal_of(replace(contents, keys=[b"short"])) == "wrong_format"
    assert refusal_of(replace(contents, scoring=[scoring, scoring])) == "wrong_format"
    assert refusal_of(replace(contents, scoring=[SavedScoring(scoring.folder, b"not a cohort", None)])) == "bad_cohort"
    assert refusal_of({**msgspec.to_builtins(contents, builtin_types=(bytes,)), "more": 1}) == "wrong_format"
    assert refusal_of([1, 2]) == "wrong_format"


def test_nothing_is_written_that_could_not_be_restored(contents: Contents) -> None:
    with pytest.raises(StorageError):
        encode_contents(msgspec.structs.replace(contents, keys=[]))
    assert decode_contents(encode_contents(contents)) == contents


def test_other_files_are_refused_with_what_they_are(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="profiles import"):
        parse_file(seal_backup("voiceauthd-profile 1 …", PASSPHRASE).encode())
    assert reason_of(data.replace(b"backup 1 ", b"backup 2 ", 1)) == "wrong_version"
    assert reason_of(b"\x00" * 100) == "wrong_format"
    assert reason_of(bytes(MAX_FILE_BYTES + 1)) == "too_large"
