"""Backups: only the passphrase opens them, and hostile files are refused without expensive work."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.profiles import passphrase_envelope as module
from voiceauthd.profiles.backup import BEGIN, END, check_backup, is_backup, open_backup, seal_backup

DOCUMENT = "voiceauthd-profile 1 00\n" + json.dumps({"name": "Jürgen", "n": list(range(200))}) + "\n"
PASSPHRASE = "four words that rhyme"


@pytest.fixture(scope="module")
def backup() -> Iterator[str]:
    """A backup that is cheap to open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SCRYPT_N", 2**4)
        yield seal_backup(DOCUMENT, PASSPHRASE)


def data_of(text: str) -> bytes:
    return base64.b64decode("".join(text.partition(BEGIN)[2].partition(END)[0].split()))


def armoured(data: bytes) -> str:
    return f"{BEGIN}\n{base64.b64encode(data).decode()}\n{END}\n"


def rehashed(data: bytes) -> bytes:
    first, _, rest = data.partition(b"\n")
    words = first.split(b" ")
    return b" ".join([*words[:2], hashlib.sha256(rest).hexdigest().encode()]) + b"\n" + rest


def with_header(text: str, **changes: object) -> str:
    first, line, sealed = data_of(text).split(b"\n", 2)
    line = json.dumps({**json.loads(line), **changes}).encode()
    return armoured(rehashed(first + b"\n" + line + b"\n" + sealed))


def reason_of(text: str, passphrase: str = PASSPHRASE) -> str:
    with pytest.raises(StorageError) as caught:
        open_backup(text, passphrase)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_a_backup_opens_with_its_passphrase_and_is_expensive_to_guess() -> None:
    began = time.process_time()
    text = seal_backup(DOCUMENT, PASSPHRASE)
    assert time.process_time() - began > 0.05, "a guess must cost something"
    assert open_backup(text, PASSPHRASE) == DOCUMENT
    assert json.loads(data_of(text).split(b"\n")[1])["n"] == 2**17
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) <= 76
    assert "rgen" not in text
    assert b"rgen" not in data_of(text)


def test_salt_and_nonce_differ_in_each_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCRYPT_N", 2**4)
    headers = [json.loads(data_of(seal_backup(DOCUMENT, PASSPHRASE)).split(b"\n")[1]) for _ in range(20)]
    assert len({header["salt"] for header in headers}) == len({header["nonce"] for header in headers}) == 20


@pytest.mark.parametrize("wrong", [PASSPHRASE + " ", PASSPHRASE.upper(), ""])
def test_a_wrong_passphrase_is_reported_as_such(backup: str, wrong: str) -> None:
    assert reason_of(backup, wrong) == "wrong_passphrase"


def test_unicode_forms_of_a_passphrase_are_equivalent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCRYPT_N", 2**4)
    assert open_backup(seal_backup(DOCUMENT, "M\u00fcllers Stra\u00dfe"), "Mu\u0308llers Stra\u00dfe") == DOCUMENT


@pytest.mark.parametrize("weak", ["", "seven77"])
def test_a_short_passphrase_is_refused(weak: str) -> None:
    with pytest.raises(UsageError) as caught:
        seal_backup(DOCUMENT, weak)
    assert caught.value.reason == "weak_passphrase"


def test_text_around_it_and_line_breaks_are_ignored(backup: str) -> None:
    quoted = "Dear all,\r\n\r\n" + backup.replace("\n", " \r\n") + "\r\n-- \r\nme\r\n"
    assert open_backup(quoted, PASSPHRASE) == DOCUMENT
    code = "".join(backup.split("\n")[1:-2])
    narrow = "\n".join(code[at : at + 40] for at in range(0, len(code), 40))
    assert open_backup(f"{BEGIN}\n{narrow}\n{END}", PASSPHRASE) == DOCUMENT


def test_every_truncation_is_torn(backup: str) -> None:
    assert is_backup(backup)
    end = backup.index(END) + len(END)
    for length in range(end):
        assert reason_of(backup[:length]) == "torn"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_refused(backup: str, data: st.DataObject) -> None:
    content = data_of(backup)
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    assert reason_of(armoured(bytes(changed))) in {"torn", "wrong_format", "wrong_version"}
    body = content.index(b"}\n") + 2
    if bit // 8 >= body:
        assert reason_of(armoured(rehashed(bytes(changed)))) == "wrong_passphrase"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=300).map(armoured))
def test_random_text_is_refused(content: str) -> None:
    for text in (content, BEGIN + content + END):
        with pytest.raises(StorageError):
            open_backup(text, PASSPHRASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2**40},
        {"n": 2**20, "r": 8},
        {"n": 3},
        {"n": 0},
        {"n": True},
        {"r": 2**29},
        {"p": 5},
        {"salt": ""},
        {"nonce": base64.b64encode(bytes(8)).decode()},
        {"kdf": "none"},
        {"cipher": "none"},
        {"more": 1},
    ],
)
def test_a_hostile_header_is_refused_before_any_work(backup: str, changes: dict[str, object]) -> None:
    began = time.process_time()
    assert reason_of(with_header(backup, **changes)) == "wrong_format"
    assert time.process_time() - began < 0.05
    with pytest.raises(StorageError):
        check_backup(with_header(backup, **changes))


def test_allowed_parameters_are_authenticated(backup: str) -> None:
    for changes in ({"n": 32}, {"r": 4}, {"p": 2}, {"salt": base64.b64encode(bytes(16)).decode()}):
        assert reason_of(with_header(backup, **changes)) == "wrong_passphrase"


def test_another_version_and_an_oversized_text_are_refused(backup: str) -> None:
    assert reason_of(armoured(data_of(backup).replace(b"backup 1 ", b"backup 2 ", 1))) == "wrong_version"
    assert reason_of("x" * 200_000) == "too_large"


def test_the_format_document_is_sufficient_to_read_a_backup(backup: str) -> None:
    """Uses only docs/profile-format.md, a JSON parser, scrypt and AES-GCM."""
    lines = backup.splitlines()
    assert (lines[0], lines[-1]) == ("-----BEGIN VOICEAUTHD BACKUP-----", "-----END VOICEAUTHD BACKUP-----")
    first, line, sealed = base64.b64decode("".join(lines[1:-1])).split(b"\n", 2)
    assert first == b"voiceauthd-backup 1 " + hashlib.sha256(line + b"\n" + sealed).hexdigest().encode()
    fields = json.loads(line)
    assert (fields["kdf"], fields["cipher"]) == ("scrypt", "AES-256-GCM")
    salt = base64.b64decode(fields["salt"])
    key = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=fields["n"], r=fields["r"], p=fields["p"], dklen=32)
    nonce = base64.b64decode(fields["nonce"])
    assert AESGCM(key).decrypt(nonce, sealed, b"voiceauthd-backup 1\n" + line + b"\n").decode() == DOCUMENT
