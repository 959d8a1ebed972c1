"""A profile as stored on disk: encrypted and authenticated with the machine's key.

    voiceauthd-profile 2 SHA256-OF-THE-REST
    {"cipher":"AES-256-GCM","key":ID,"nonce":…,"name":…,"model":{…}}
    THE SEALED RECORD

The record is defined in document.py. The header repeats name and model, and is authenticated with the version, so that
a file with another name, model or format is detected and none can be passed off as another.
`docs/profile-format.md` describes the format for other readers.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.profiles import envelope
from voiceauthd.profiles.document import (
    MAGIC,
    MAX_BYTES,
    ModelRecord,
    Record,
    Text,
    check_model,
    check_size,
    decode_record,
    encode_record,
    model_of,
    model_record,
)
from voiceauthd.profiles.document import VERSION as UNENCRYPTED_VERSION
from voiceauthd.profiles.keys import ID_DIGITS, Key, Keys
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.profile import Profile

__all__ = ["MAX_BYTES", "VERSION", "key_id_in", "model_in", "open_profile", "reseal", "seal_profile"]

VERSION = 2

RESTORE = "restore the file from a backup, or delete the profile and enrol again"

_KEY_FIELD = re.compile(rb'"key":"([0-9a-f]{%d})"' % ID_DIGITS)

_HEADER_BYTES = 4096
"""Longer than any header: where to search for the key id of a damaged file."""


class _Header(Record, frozen=True):
    cipher: Literal["AES-256-GCM"]
    key: Annotated[str, Meta(pattern=rf"\A[0-9a-f]{{{ID_DIGITS}}}\Z")]
    nonce: Annotated[bytes, Meta(min_length=envelope.NONCE_BYTES, max_length=envelope.NONCE_BYTES)]
    name: Text
    model: ModelRecord


def seal_profile(profile: Profile, key: Key) -> bytes:
    """Return the content of the profile's file. It differs each time, because the nonce does.

    Raises `StorageError` for a profile that `open_profile` would refuse, so that none is written.
    """
    return _seal(profile.name, model_record(profile.model), encode_record(profile), key)


def open_profile(
    data: bytes, keys: Keys, name: str | None = None, model: ModelId | None = None, at: str = ""
) -> Profile:
    """Decrypt, authenticate and parse the content of a file.

    name   the name that it must have; None for any
    model  the model that it must belong to; None for any
    at     path of the file, for messages

    Raises `StorageError` with one of the reasons `too_large`, `wrong_format`, `torn`, `wrong_version`, `wrong_key`,
    `wrong_name` and `wrong_model`.
    """
    what = "the sealed profile" if name is None else f"the profile {name!r}"
    check_size(data, what)
    header, body = _unseal(data, keys, what, at or (file_name(name) if name is not None else "FILE"), name)
    profile = decode_record(body, what)
    if (profile.name, profile.model) != (header.name, model_of(header.model)):
        raise StorageError(f"{what} has different names or models in header and record: {RESTORE}", "wrong_format")
    if name is not None and profile.name != name:
        raise StorageError(
            f"{what} is actually that of {profile.name!r}: rename the file back, or delete it", "wrong_name"
        )
    if model is not None:
        check_model(profile, model)
    return profile


def reseal(data: bytes, keys: Keys) -> bytes:
    """Return the same profile sealed with the current key, for any name and model. Raises as `open_profile` does."""
    header, body = _unseal(data, keys, "the sealed profile", "FILE", None)
    return _seal(header.name, header.model, body, keys.current)


def key_id_in(data: bytes) -> str | None:
    """Return the id of the key that a file needs, even if the file is damaged; None if it cannot be found."""
    found = _KEY_FIELD.search(data[:_HEADER_BYTES])
    return None if found is None else found[1].decode()


def model_in(data: bytes) -> ModelRecord | None:
    """Return the model named in the header, not authenticated; None for a damaged file."""
    what = "the sealed profile"
    try:
        wrapped = envelope.unwrap(data, MAGIC, what, RESTORE)
        envelope.check_intact(wrapped, what, RESTORE)
        return envelope.parse_header(wrapped, _Header, what).model
    except StorageError:
        return None


def _seal(name: str, model: ModelRecord, body: bytes, key: Key) -> bytes:
    nonce = envelope.new_nonce()
    header = _Header("AES-256-GCM", key.id, nonce, name, model)
    return envelope.seal(MAGIC, VERSION, msgspec.json.encode(header), body, key.secret, nonce)


def _unseal(data: bytes, keys: Keys, what: str, at: str, name: str | None) -> tuple[_Header, bytes]:
    """Return the authenticated header and the record."""
    wrapped = envelope.unwrap(data, MAGIC, what, RESTORE)
    _check_version(wrapped, what, at)
    envelope.check_intact(wrapped, what, RESTORE)
    header = envelope.parse_header(wrapped, _Header, what)
    key = keys.find(header.key)
    if key is None:
        raise _missing_key(what, header, keys, name or header.name)
    try:
        return header, envelope.unseal(wrapped, key.secret, header.nonce)
    except envelope.TamperedError:
        raise StorageError(f"{what} was changed after it was sealed: {RESTORE}", "torn") from None


def _check_version(wrapped: envelope.Wrapped, what: str, at: str) -> None:
    if wrapped.version == b"%d" % VERSION:
        return
    if wrapped.version == b"%d" % UNENCRYPTED_VERSION:
        raise StorageError(
            f"{what} has version {UNENCRYPTED_VERSION}, which is neither encrypted nor authenticated; if it is yours, "
            f"import it as root: voiceauth profiles import {shlex.quote(at)} --replace",
            "wrong_version",
        )
    version = wrapped.version[:20].decode("ascii", "replace")
    raise StorageError(
        f"{what} has version {version!r}; this program reads version {VERSION}: use the program that wrote it, or "
        "enrol again",
        "wrong_version",
    )


def _missing_key(what: str, header: _Header, keys: Keys, name: str) -> StorageError:
    where = "the available keys" if keys.source is None else str(keys.source)
    return StorageError(
        f"{what} is sealed with the key {header.key}, which is not in {where}: add that key as another line there, "
        "then `voiceauth reload`; or import a backup, enrol again with "
        f"`voiceauth enroll {shlex.quote(name)} --replace`, or delete the profile",
        "wrong_key",
    )
