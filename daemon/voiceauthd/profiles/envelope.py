"""What a profile's file, its sealed form and a backup have in common: a first line, and a body that AES-GCM has sealed.

    MAGIC VERSION SHA256-OF-THE-REST
    {"cipher":"AES-256-GCM", …}                    the header, of a sealed document alone
    SEALED BODY, with the tag of 16 bytes at its end

The hash tells a torn file from a whole one before any key is at hand; it has no key, and protects against nobody. What
protects is the tag: it authenticates the body, and with it MAGIC, VERSION and every byte of the header.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from voiceauthd.errors import StorageError

CIPHER = "AES-256-GCM"

KEY_BYTES = 32

NONCE_BYTES = 12
"""96 bits, drawn anew for each write. NIST SP 800-38D, section 8.3: one key may seal 2**32 times with random nonces."""


class Wrapped(NamedTuple):
    """A document whose first line can be read.

    version  as it stands there
    whole    the hash is that of the rest
    """

    magic: bytes
    version: bytes
    whole: bool
    rest: bytes


class TamperedError(Exception):
    """The tag does not fit: another key, or something was changed."""


def wrap(magic: bytes, version: int, rest: bytes) -> bytes:
    """The first line, and the rest."""
    return b"%s %d %s\n%s" % (magic, version, _digest(rest), rest)


def unwrap(data: bytes, magic: bytes, who: str, remedy: str) -> Wrapped:
    """Takes the first line off. Raises `StorageError`, reason `wrong_format` or `torn`.

    who, remedy  for the message: what this is, and what to do
    """
    first, newline, rest = data.partition(b"\n")
    words = first.split(b" ")
    if not magic.startswith(words[0]) or (words[0] != magic and newline):
        raise StorageError(f"{who} does not begin as one: {remedy}", "wrong_format")
    if len(words) != 3 or not newline:
        raise StorageError(f"{who} is torn (it ends within its first line): {remedy}", "torn")
    return Wrapped(magic, words[1], words[2] == _digest(rest), rest)


def check_whole(wrapped: Wrapped, who: str, remedy: str) -> None:
    """Raises `StorageError`, reason `torn`, if the hash is another."""
    if not wrapped.whole:
        raise StorageError(f"{who} is torn or was changed (its hash does not match): {remedy}", "torn")


def new_nonce() -> bytes:
    """Never to be used twice with one key."""
    return secrets.token_bytes(NONCE_BYTES)


def seal(magic: bytes, version: int, header: bytes, body: bytes, secret: bytes, nonce: bytes) -> bytes:
    """The whole document. `header` is JSON without a line feed, and tells the nonce."""
    line = header + b"\n"
    return wrap(
        magic, version, line + AESGCM(secret).encrypt(nonce, body, _authenticated(magic, b"%d" % version, line))
    )


def header_of(wrapped: Wrapped) -> bytes:
    """The header, without its line feed; nothing of it is authentic before `unseal` has passed."""
    return wrapped.rest.partition(b"\n")[0]


def unseal(wrapped: Wrapped, secret: bytes, nonce: bytes) -> bytes:
    """The body. Raises `TamperedError` if anything but the hash is not as it was sealed, or the key is another."""
    header, newline, body = wrapped.rest.partition(b"\n")
    try:
        return AESGCM(secret).decrypt(nonce, body, _authenticated(wrapped.magic, wrapped.version, header + newline))
    except (InvalidTag, ValueError) as error:  # a nonce or a body of an impossible length is a ValueError
        raise TamperedError from error


def _authenticated(magic: bytes, version: bytes, line: bytes) -> bytes:
    return b"%s %s\n%s" % (magic, version, line)


def _digest(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest().encode()
