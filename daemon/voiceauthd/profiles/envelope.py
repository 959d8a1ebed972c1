"""The envelope shared by profile documents, sealed profiles and backups: a first line, and a body sealed by AES-GCM.

    MAGIC VERSION SHA256-OF-THE-REST
    {"cipher":"AES-256-GCM", …}                    the header; only in sealed documents
    SEALED BODY, ending with the 16-byte tag

The hash detects a damaged file before any key is available; it has no key and does not protect against tampering. The
tag does: it authenticates the body, and with it MAGIC, VERSION and every byte of the header.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from voiceauthd.errors import StorageError

KEY_BYTES = 32

NONCE_BYTES = 12
"""96 bits, random for each write. NIST SP 800-38D, section 8.3: a key may seal 2**32 times with random nonces."""

Header = TypeVar("Header", bound=msgspec.Struct)


class Wrapped(NamedTuple):
    """A document whose first line could be parsed.

    version  as written in the first line
    intact   whether the hash matches the rest
    """

    magic: bytes
    version: bytes
    intact: bool
    rest: bytes


class TamperedError(Exception):
    """The tag does not match: another key, or changed data."""


def wrap(magic: bytes, version: int, rest: bytes) -> bytes:
    """Return the first line followed by the rest."""
    return b"%s %d %s\n%s" % (magic, version, _digest(rest), rest)


def unwrap(data: bytes, magic: bytes, what: str, remedy: str) -> Wrapped:
    """Parse the first line. Raises `StorageError`, reason `wrong_format` or `torn`.

    what, remedy  for the message: what this is, and what to do
    """
    first, newline, rest = data.partition(b"\n")
    words = first.split(b" ")
    if not magic.startswith(words[0]) or (words[0] != magic and newline):
        raise StorageError(f"{what} has an unknown format: {remedy}", "wrong_format")
    if len(words) != 3 or not newline:
        raise StorageError(f"{what} is truncated (it ends within its first line): {remedy}", "torn")
    return Wrapped(magic, words[1], words[2] == _digest(rest), rest)


def check_intact(wrapped: Wrapped, what: str, remedy: str) -> None:
    """Raises `StorageError`, reason `torn`, if the hash does not match."""
    if not wrapped.intact:
        raise StorageError(f"{what} is damaged or was changed (its hash does not match): {remedy}", "torn")


def header_of(wrapped: Wrapped) -> bytes:
    """Return the header without its line feed; none of it is authentic before `unseal` succeeds."""
    return wrapped.rest.partition(b"\n")[0]


def parse_header(wrapped: Wrapped, kind: type[Header], what: str) -> Header:
    """Return the parsed header. Raises `StorageError`, reason `wrong_format`."""
    try:
        return msgspec.json.decode(header_of(wrapped), type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        version = wrapped.version.decode("ascii", "replace")
        raise StorageError(f"{what} is not in the form of version {version}: {error}", "wrong_format") from error


def new_nonce() -> bytes:
    """Return a random nonce. A nonce must never be used twice with the same key."""
    return secrets.token_bytes(NONCE_BYTES)


def seal(magic: bytes, version: int, header: bytes, body: bytes, secret: bytes, nonce: bytes) -> bytes:
    """Return the complete document. `header` is JSON without a line feed, and contains the nonce."""
    line = header + b"\n"
    return wrap(
        magic, version, line + AESGCM(secret).encrypt(nonce, body, _authenticated(magic, b"%d" % version, line))
    )


def unseal(wrapped: Wrapped, secret: bytes, nonce: bytes) -> bytes:
    """Return the body. Raises `TamperedError` if anything except the hash was changed, or the key is another."""
    header, newline, body = wrapped.rest.partition(b"\n")
    try:
        return AESGCM(secret).decrypt(nonce, body, _authenticated(wrapped.magic, wrapped.version, header + newline))
    except (InvalidTag, ValueError) as error:  # a nonce or a body of an impossible length is a ValueError
        raise TamperedError from error


def _authenticated(magic: bytes, version: bytes, line: bytes) -> bytes:
    return b"%s %s\n%s" % (magic, version, line)


def _digest(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest().encode()
