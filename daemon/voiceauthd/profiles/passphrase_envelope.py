"""Something sealed with a passphrase: an envelope (envelope.py) whose key comes from the passphrase through scrypt.

    MAGIC VERSION SHA256-OF-THE-REST
    {"cipher":"AES-256-GCM","kdf":"scrypt","n":…,"r":…,"p":…,"salt":…,"nonce":…}
    THE SEALED BODY

The hash distinguishes a damaged file from a wrong passphrase.
"""

from __future__ import annotations

import secrets
import unicodedata
from typing import Annotated, Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.profiles import envelope

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
"""Parameters of scrypt (RFC 7914): 128 MiB and some tenths of a second for each guess. OWASP's recommendation."""

SALT_BYTES = 16

MAX_MEMORY = 512 * 2**20
"""Bytes that scrypt may use (128 * n * r): four times what is written, but not enough to exhaust a machine."""

MAX_SCRYPT_P = 4

MIN_PASSPHRASE = 8
"""Characters. Not enough against months of guessing; four words are."""

REMEDY = "use another copy of it"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second line."""

    cipher: Literal["AES-256-GCM"]
    kdf: Literal["scrypt"]
    n: Annotated[int, Meta(ge=2, le=MAX_MEMORY // 128)]
    r: Annotated[int, Meta(ge=1, le=MAX_MEMORY // 256)]
    p: Annotated[int, Meta(ge=1, le=MAX_SCRYPT_P)]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=64)]
    nonce: Annotated[bytes, Meta(min_length=envelope.NONCE_BYTES, max_length=envelope.NONCE_BYTES)]


class Sealed(NamedTuple):
    """An intact envelope that is not yet opened."""

    wrapped: envelope.Wrapped
    header: Header


def check_passphrase(passphrase: str) -> None:
    """Raises `UsageError`, reason `weak_passphrase`, for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise UsageError(
            f"a passphrase needs at least {MIN_PASSPHRASE} characters; four unrelated words are a good one",
            "weak_passphrase",
        )


def seal(magic: bytes, version: int, body: bytes, passphrase: str) -> bytes:
    """Return the body sealed with the passphrase. Takes some tenths of a second.

    Raises `UsageError`, reason `weak_passphrase`.
    """
    check_passphrase(passphrase)
    salt, nonce = secrets.token_bytes(SALT_BYTES), envelope.new_nonce()
    header = Header("AES-256-GCM", "scrypt", SCRYPT_N, SCRYPT_R, SCRYPT_P, salt, nonce)
    return envelope.seal(magic, version, msgspec.json.encode(header), body, _derive_key(passphrase, header), nonce)


def parse(data: bytes, magic: bytes, version: int, what: str) -> Sealed:
    """Check everything that can be checked without the passphrase.

    what  for messages: "the backup"

    Raises `StorageError`: `torn`, `wrong_format`, `wrong_version`.
    """
    wrapped = envelope.unwrap(data, magic, what, REMEDY)
    if wrapped.version != b"%d" % version:
        found = wrapped.version[:20].decode("ascii", "replace")
        raise StorageError(f"{what} has version {found!r}; this program reads version {version}", "wrong_version")
    envelope.check_intact(wrapped, what, REMEDY)
    header = envelope.parse_header(wrapped, Header, what)
    if header.n & (header.n - 1) or 128 * header.n * header.r > MAX_MEMORY:
        raise StorageError(f"{what} has scrypt parameters that are not supported (n, r): {REMEDY}", "wrong_format")
    return Sealed(wrapped, header)


def unseal(sealed: Sealed, passphrase: str) -> bytes:
    """Return the body. Raises `StorageError`, reason `wrong_passphrase`."""
    try:
        return envelope.unseal(sealed.wrapped, _derive_key(passphrase, sealed.header), sealed.header.nonce)
    except envelope.TamperedError:
        raise StorageError("this backup was made with another passphrase", "wrong_passphrase") from None


def _derive_key(passphrase: str, header: Header) -> bytes:
    # Composed (NFC) first: two keyboards may produce the same letter in two forms.
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=header.salt, length=envelope.KEY_BYTES, n=header.n, r=header.r, p=header.p).derive(secret)
