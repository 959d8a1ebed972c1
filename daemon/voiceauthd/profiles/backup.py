"""An exported profile encrypted with a passphrase: text that can be mailed, printed and stored anywhere.

    -----BEGIN VOICEAUTHD BACKUP-----
    BASE64 OF:
        voiceauthd-backup 1 SHA256-OF-THE-REST
        {"cipher":"AES-256-GCM","kdf":"scrypt","n":…,"r":…,"p":…,"salt":…,"nonce":…}
        THE SEALED DOCUMENT
    -----END VOICEAUTHD BACKUP-----

Text around it and line breaks are ignored. The hash distinguishes a damaged backup from a wrong passphrase. Does not
import what a profile is, so that a command can use it without loading the model's packages.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import unicodedata
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.profiles import envelope

BEGIN = "-----BEGIN VOICEAUTHD BACKUP-----"

END = "-----END VOICEAUTHD BACKUP-----"

MAGIC = b"voiceauthd-backup"

VERSION = 1

MAX_BYTES = 128 * 1024
"""Of the text. A document of 60 KiB, the largest that can be exported, becomes 82 KiB of it."""

LINE_LENGTH = 64
"""Characters; no mail program wraps lines of this length."""

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
"""Parameters of scrypt (RFC 7914): 128 MiB and some tenths of a second for each guess. OWASP's recommendation."""

SALT_BYTES = 16

MAX_MEMORY = 512 * 2**20
"""Bytes that scrypt may use (128 * n * r): four times what is written, but not enough to exhaust a machine."""

MAX_SCRYPT_P = 4

MIN_PASSPHRASE = 8
"""Characters. Not enough against months of guessing; four words are."""

WHAT = "the backup"

REMEDY = "use another copy of it"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cipher: Literal["AES-256-GCM"]
    kdf: Literal["scrypt"]
    n: Annotated[int, Meta(ge=2, le=MAX_MEMORY // 128)]
    r: Annotated[int, Meta(ge=1, le=MAX_MEMORY // 256)]
    p: Annotated[int, Meta(ge=1, le=MAX_SCRYPT_P)]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=64)]
    nonce: Annotated[bytes, Meta(min_length=envelope.NONCE_BYTES, max_length=envelope.NONCE_BYTES)]


def is_backup(text: str) -> bool:
    """Return whether the text contains the first line of a backup."""
    return BEGIN in text


def check_passphrase(passphrase: str) -> None:
    """Raises `UsageError`, reason `weak_passphrase`, for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise UsageError(
            f"a passphrase needs at least {MIN_PASSPHRASE} characters; four unrelated words are a good one",
            "weak_passphrase",
        )


def seal_backup(document: str, passphrase: str) -> str:
    """Return the document encrypted with the passphrase, ending with a line feed. Takes some tenths of a second.

    Raises `UsageError`, reason `weak_passphrase`.
    """
    check_passphrase(passphrase)
    salt, nonce = secrets.token_bytes(SALT_BYTES), envelope.new_nonce()
    header = _Header("AES-256-GCM", "scrypt", SCRYPT_N, SCRYPT_R, SCRYPT_P, salt, nonce)
    secret = _derive_key(passphrase, header)
    data = envelope.seal(MAGIC, VERSION, msgspec.json.encode(header), document.encode(), secret, nonce)
    code = base64.b64encode(data).decode()
    return "\n".join((BEGIN, *(code[at : at + LINE_LENGTH] for at in range(0, len(code), LINE_LENGTH)), END, ""))


def check_backup(text: str) -> None:
    """Check a backup before the user is asked for its passphrase. Raises `StorageError`: `too_large`, `torn`,
    `wrong_format`, `wrong_version`."""
    _parse(text)


def open_backup(text: str, passphrase: str) -> str:
    """Return the document. Raises `StorageError` as `check_backup` does, and `wrong_passphrase`."""
    wrapped, header = _parse(text)
    try:
        return envelope.unseal(wrapped, _derive_key(passphrase, header), header.nonce).decode()
    except envelope.TamperedError:
        raise StorageError("this backup was made with another passphrase", "wrong_passphrase") from None
    except UnicodeDecodeError:
        raise StorageError(f"{WHAT} does not contain text: {REMEDY}", "wrong_format") from None


def _parse(text: str) -> tuple[envelope.Wrapped, _Header]:
    if len(text) > MAX_BYTES:
        raise StorageError(f"{WHAT} is larger than {MAX_BYTES} bytes, the maximum", "too_large")
    _, begin, rest = text.partition(BEGIN)
    code, end, _ = rest.partition(END)
    if not begin or not end:
        raise StorageError(f"{WHAT} is truncated (its last line is missing): {REMEDY}", "torn")
    try:
        data = base64.b64decode("".join(code.split()), validate=True)
    except (binascii.Error, ValueError):
        raise StorageError(f"{WHAT} is damaged or was changed (it is not base64): {REMEDY}", "torn") from None
    wrapped = envelope.unwrap(data, MAGIC, WHAT, REMEDY)
    if wrapped.version != b"%d" % VERSION:
        version = wrapped.version[:20].decode("ascii", "replace")
        raise StorageError(f"{WHAT} has version {version!r}; this program reads version {VERSION}", "wrong_version")
    envelope.check_intact(wrapped, WHAT, REMEDY)
    header = envelope.parse_header(wrapped, _Header, WHAT)
    if header.n & (header.n - 1) or 128 * header.n * header.r > MAX_MEMORY:
        raise StorageError(f"{WHAT} has scrypt parameters that are not supported (n, r): {REMEDY}", "wrong_format")
    return wrapped, header


def _derive_key(passphrase: str, header: _Header) -> bytes:
    # Composed (NFC) first: two keyboards may produce the same letter in two forms.
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=header.salt, length=envelope.KEY_BYTES, n=header.n, r=header.r, p=header.p).derive(secret)
