"""An exported profile under a passphrase: text that can be mailed, printed, and kept anywhere.

    -----BEGIN VOICEAUTHD BACKUP-----
    BASE64 OF:
        voiceauthd-backup 1 SHA256-OF-THE-REST
        {"cipher":"AES-256-GCM","kdf":"scrypt","n":…,"r":…,"p":…,"salt":…,"nonce":…}
        THE SEALED DOCUMENT
    -----END VOICEAUTHD BACKUP-----

What stands around it, and how its lines are broken, does not matter. The hash tells a torn backup from a wrong
passphrase. Knows nothing of what a profile is, so that a command can use it without loading what does.
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
from voiceauthd.profiles.envelope import (
    KEY_BYTES,
    NONCE_BYTES,
    TamperedError,
    Wrapped,
    check_whole,
    header_of,
    new_nonce,
    seal,
    unseal,
    unwrap,
)

BEGIN = "-----BEGIN VOICEAUTHD BACKUP-----"

END = "-----END VOICEAUTHD BACKUP-----"

MAGIC = b"voiceauthd-backup"

VERSION = 1

MAX_BYTES = 128 * 1024
"""Of the text. A document of 60 KiB, the longest that travels, makes 82 KiB of it."""

LINE = 64
"""Characters, which every mail program leaves alone."""

N, R, P = 2**17, 8, 1
"""Of scrypt (RFC 7914): 128 MiB and some tenths of a second for each guess. OWASP's recommendation."""

SALT_BYTES = 16

MAX_MEMORY = 512 * 2**20
"""Bytes that scrypt may take (128 * n * r): four times what is written, and nothing that a file can hurt with."""

MAX_P = 4

MIN_PASSPHRASE = 8
"""Characters. Not enough against somebody who can guess for months; four words are."""

WHO = "the backup"

REMEDY = "use another copy of it"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cipher: Literal["AES-256-GCM"]
    kdf: Literal["scrypt"]
    n: Annotated[int, Meta(ge=2, le=MAX_MEMORY // 128)]
    r: Annotated[int, Meta(ge=1, le=MAX_MEMORY // 256)]
    p: Annotated[int, Meta(ge=1, le=MAX_P)]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=64)]
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


def is_backup(text: str) -> bool:
    """Whether this means to be one."""
    return BEGIN in text


def check_passphrase(passphrase: str) -> None:
    """Raises `UsageError`, reason `weak_passphrase`, for one that is too short to protect anything."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise UsageError(
            f"a passphrase has {MIN_PASSPHRASE} characters or more; four words that do not belong together are good",
            "weak_passphrase",
        )


def seal_backup(document: str, passphrase: str) -> str:
    """The document under the passphrase, ended by a line feed. Takes some tenths of a second.

    Raises `UsageError`, reason `weak_passphrase`.
    """
    check_passphrase(passphrase)
    header = _Header("AES-256-GCM", "scrypt", N, R, P, secrets.token_bytes(SALT_BYTES), new_nonce())
    secret = _secret(passphrase, header)
    data = seal(MAGIC, VERSION, msgspec.json.encode(header), document.encode(), secret, header.nonce)
    code = base64.b64encode(data).decode()
    return "\n".join((BEGIN, *(code[at : at + LINE] for at in range(0, len(code), LINE)), END, ""))


def check_backup(text: str) -> None:
    """Finds what is wrong with a backup before anybody is asked for a passphrase. Raises `StorageError`: `too_large`,
    `torn`, `wrong_format`, `wrong_version`."""
    _parsed(text)


def open_backup(text: str, passphrase: str) -> str:
    """The document. Raises `StorageError` as `check_backup` does, and `wrong_passphrase`."""
    wrapped, header = _parsed(text)
    try:
        return unseal(wrapped, _secret(passphrase, header), header.nonce).decode()
    except TamperedError:
        raise StorageError("the passphrase is not the one of this backup", "wrong_passphrase") from None
    except UnicodeDecodeError:
        raise StorageError(f"{WHO} holds no text: {REMEDY}", "wrong_format") from None


def _parsed(text: str) -> tuple[Wrapped, _Header]:
    if len(text) > MAX_BYTES:
        raise StorageError(f"{WHO} is larger than {MAX_BYTES} bytes, which none is", "too_large")
    _, begin, rest = text.partition(BEGIN)
    code, end, _ = rest.partition(END)
    if not begin or not end:
        raise StorageError(f"{WHO} is torn (its last line is not there): {REMEDY}", "torn")
    try:
        data = base64.b64decode("".join(code.split()), validate=True)
    except (binascii.Error, ValueError):
        raise StorageError(f"{WHO} is torn or was changed (it is not base64): {REMEDY}", "torn") from None
    wrapped = unwrap(data, MAGIC, WHO, REMEDY)
    if wrapped.version != b"%d" % VERSION:
        version = wrapped.version[:20].decode("ascii", "replace")
        raise StorageError(f"{WHO} is of version {version!r}; this program reads version {VERSION}", "wrong_version")
    check_whole(wrapped, WHO, REMEDY)
    try:
        header = msgspec.json.decode(header_of(wrapped), type=_Header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StorageError(f"{WHO} is not in the form of version {VERSION}: {error}", "wrong_format") from error
    if header.n & (header.n - 1) or 128 * header.n * header.r > MAX_MEMORY:
        raise StorageError(f"{WHO} asks for more work than any that was made here (n, r): {REMEDY}", "wrong_format")
    return wrapped, header


def _secret(passphrase: str, header: _Header) -> bytes:
    """Composed (NFC) first: two keyboards may give one letter in two forms."""
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=header.salt, length=KEY_BYTES, n=header.n, r=header.r, p=header.p).derive(secret)
