"""A profile as the store keeps it: encrypted and authenticated with the machine's key.

    voiceauthd-profile 2 SHA256-OF-THE-REST
    {"cipher":"AES-256-GCM","key":ID,"nonce":…,"name":…,"model":{…}}
    THE SEALED RECORD

The record is the one of document.py. Name, model and version stand outside as well and are authenticated, so that a
file under another name, of another model or of an older format is told apart, and none can be passed off as another.
`docs/profile-format.md` is for those who write another reader.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
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
from voiceauthd.profiles.document import VERSION as OPEN_VERSION
from voiceauthd.profiles.envelope import (
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
from voiceauthd.profiles.keys import ID_DIGITS, Key, Keys
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.profile import Profile

__all__ = ["MAX_BYTES", "VERSION", "key_of", "open_profile", "reseal", "seal_profile"]

VERSION = 2

RESTORE = "restore the file from a backup, or delete the profile and enrol again"

_KEY_FIELD = re.compile(rb'"key":"([0-9a-f]{%d})"' % ID_DIGITS)

_HEADER_BYTES = 4096
"""Nobody's header is longer; enough to look for the key of a file that is torn."""


class _Header(Record, frozen=True):
    cipher: Literal["AES-256-GCM"]
    key: Annotated[str, Meta(pattern=rf"\A[0-9a-f]{{{ID_DIGITS}}}\Z")]
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    name: Text
    model: ModelRecord


def seal_profile(profile: Profile, key: Key) -> bytes:
    """The content of the profile's file: another one each time, since the nonce is.

    Raises `StorageError` for a profile that `open_profile` would refuse, so that none is ever written.
    """
    return _sealed(profile.name, model_record(profile.model), encode_record(profile), key)


def open_profile(
    data: bytes, keys: Keys, name: str | None = None, model: ModelId | None = None, at: str = ""
) -> Profile:
    """The profile in the content of a file, authentic and whole.

    name   the name that the file bears, None if any will do
    model  the model of the store, None if any will do
    at     where the file is, for messages

    Raises `StorageError` with one of the reasons `too_large`, `wrong_format`, `torn`, `wrong_version`, `wrong_key`,
    `wrong_name` and `wrong_model`.
    """
    who = "the sealed profile" if name is None else f"the profile {name!r}"
    check_size(data, who)
    header, body = _opened(data, keys, who, at or (file_name(name) if name is not None else "FILE"), name)
    profile = decode_record(body, who)
    if (profile.name, profile.model) != (header.name, model_of(header.model)):
        raise StorageError(f"{who} bears another name or model inside than outside: {RESTORE}", "wrong_format")
    if name is not None and profile.name != name:
        raise StorageError(
            f"{who} is in fact that of {profile.name!r}: rename the file back, or delete it", "wrong_name"
        )
    if model is not None:
        check_model(profile, model)
    return profile


def reseal(data: bytes, keys: Keys) -> bytes:
    """The same profile under the current key, whoever's it is and of whatever model. Raises as `open_profile` does."""
    header, body = _opened(data, keys, "the sealed profile", "FILE", None)
    return _sealed(header.name, header.model, body, keys.current)


def key_of(data: bytes) -> str | None:
    """The id of the key that a file asks for, as far as can be seen; the file may be torn."""
    found = _KEY_FIELD.search(data[:_HEADER_BYTES])
    return None if found is None else found[1].decode()


def _sealed(name: str, model: ModelRecord, body: bytes, key: Key) -> bytes:
    nonce = new_nonce()
    header = _Header("AES-256-GCM", key.id, nonce, name, model)
    return seal(MAGIC, VERSION, msgspec.json.encode(header), body, key.secret, nonce)


def _opened(data: bytes, keys: Keys, who: str, at: str, name: str | None) -> tuple[_Header, bytes]:
    """The header, authentic, and the record."""
    wrapped = unwrap(data, MAGIC, who, RESTORE)
    _check_version(wrapped, who, at)
    check_whole(wrapped, who, RESTORE)
    try:
        header = msgspec.json.decode(header_of(wrapped), type=_Header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StorageError(f"{who} is not in the form of version {VERSION}: {error}", "wrong_format") from error
    key = keys.find(header.key)
    if key is None:
        raise _lost_key(who, header, keys, name or header.name)
    try:
        return header, unseal(wrapped, key.secret, header.nonce)
    except TamperedError:
        raise StorageError(f"{who} was changed (it is not as it was sealed): {RESTORE}", "torn") from None


def _check_version(wrapped: Wrapped, who: str, at: str) -> None:
    if wrapped.version == b"%d" % VERSION:
        return
    if wrapped.version == b"%d" % OPEN_VERSION:
        raise StorageError(
            f"{who} is of version {OPEN_VERSION}, which is neither encrypted nor authentic; if it is yours, bring it "
            f"in as root: voiceauth profiles import {shlex.quote(at)} --replace",
            "wrong_version",
        )
    version = wrapped.version[:20].decode("ascii", "replace")
    raise StorageError(
        f"{who} is of version {version!r}; this program reads version {VERSION}: use the program that wrote it, or "
        "enrol again",
        "wrong_version",
    )


def _lost_key(who: str, header: _Header, keys: Keys, name: str) -> StorageError:
    where = "the keys at hand" if keys.source is None else str(keys.source)
    return StorageError(
        f"{who} is sealed with the key {header.key}, which is not in {where}: put that key back (as a further line of "
        "it, then `voiceauth reload`), import a backup, enrol again with "
        f"`voiceauth enroll {shlex.quote(name)} --replace`, or delete the profile",
        "wrong_key",
    )
