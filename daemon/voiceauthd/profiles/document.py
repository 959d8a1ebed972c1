"""A profile as bytes: the content of one file of the store, and the text that is exported.

    voiceauthd-profile 1 SHA256-OF-THE-REST
    {"name":…,"model":{…},"exemplars":[{"vector":"BASE64 OF LITTLE-ENDIAN FLOAT32",…},…],…}

Two lines of UTF-8. The hash tells a torn, truncated or bit-flipped file from a whole one. It is no protection against
somebody who may write the file. `docs/profile-format.md` is for those who write another reader.
"""

from __future__ import annotations

import hashlib
import shlex
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from voiceauthd.embed.embedding import ModelId, Vector, unit_mean
from voiceauthd.errors import ModelError, StorageError, UsageError
from voiceauthd.profiles.names import check_condition, check_name
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile

MAGIC = b"voiceauthd-profile"
VERSION = 1

MAX_BYTES = 1 << 20
"""Twenty exemplars of 512 dimensions take under 60 KiB; nothing of ours comes near this."""

MAX_DIMENSION = 4096

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a vector may be. Rounding a unit vector to float32 moves it by less than 1e-6."""

Text = Annotated[str, Meta(min_length=1, max_length=255)]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strict: a field too many, too few or of another type is refused."""


class _ModelRecord(_Record, frozen=True):
    name: Text
    revision: Text
    digest: Text
    preprocessing: Text
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION)]


class _ExemplarRecord(_Record, frozen=True):
    condition: Text
    recorded: Text
    net_speech: Annotated[float, Meta(gt=0, le=86_400)]
    snr_db: Annotated[float, Meta(ge=-1_000, le=1_000)] | None
    vector: bytes


class _ProfileRecord(_Record, frozen=True):
    name: Text
    uid: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z-]{1,64}\Z")]
    generation: Annotated[int, Meta(ge=1, le=2**53)]
    owner_uid: Annotated[int, Meta(ge=0, lt=2**32 - 1)] | None
    created: Text
    updated: Text
    model: _ModelRecord
    exemplars: Annotated[list[_ExemplarRecord], Meta(min_length=1, max_length=MAX_EXEMPLARS)]


def encode_profile(profile: Profile) -> bytes:
    """The content of the profile's file.

    Raises `StorageError` for a profile that `decode_profile` would refuse, so that none is ever written.
    """
    record = _ProfileRecord(
        name=profile.name,
        uid=profile.uid,
        generation=profile.generation,
        owner_uid=profile.owner_uid,
        created=profile.created,
        updated=profile.updated,
        model=_ModelRecord(**{field: getattr(profile.model, field) for field in _ModelRecord.__struct_fields__}),
        exemplars=[
            _ExemplarRecord(
                condition=exemplar.condition,
                recorded=exemplar.recorded,
                net_speech=exemplar.net_speech,
                snr_db=exemplar.snr_db,
                vector=np.asarray(exemplar.vector, dtype="<f4").tobytes(),
            )
            for exemplar in profile.exemplars
        ],
    )
    body = msgspec.json.encode(record) + b"\n"
    data = b"%s %d %s\n%s" % (MAGIC, VERSION, _digest(body), body)
    decode_profile(data, profile.name, profile.model)
    return data


def decode_profile(data: bytes, name: str | None = None, model: ModelId | None = None) -> Profile:
    """The profile in the content of a file. Every vector in it is finite, of unit length and of the model's dimension.

    name   the name that the file bears, None if any will do
    model  the model of the store, None if any will do

    Raises `StorageError` with one of the reasons `too_large`, `torn`, `wrong_format`, `wrong_version`, `wrong_name`
    and `wrong_model`.
    """
    who = "the profile document" if name is None else f"the profile {name!r}"
    if len(data) > MAX_BYTES:
        raise StorageError(f"{who} is larger than {MAX_BYTES} bytes, which no profile is", "too_large")
    body = _checked_body(data, who)
    try:
        record = msgspec.json.decode(body, type=_ProfileRecord)
        profile = _profile(record)
    except (msgspec.MsgspecError, UsageError, ValueError) as error:
        raise StorageError(f"{who} is not in the form of version {VERSION}: {error}", "wrong_format") from error
    if name is not None and profile.name != name:
        raise StorageError(
            f"{who} is in fact that of {profile.name!r}: rename the file back, or delete it", "wrong_name"
        )
    if model is not None:
        check_model(profile, model)
    return profile


def check_model(profile: Profile, model: ModelId) -> None:
    """Refuses a profile whose embeddings cannot be compared with the model's: `StorageError`, reason `wrong_model`."""
    if profile.model != model:
        theirs, ours = str(profile.model), str(model)
        if theirs == ours:
            theirs += f", preprocessing {profile.model.preprocessing!r}"
            ours += f", preprocessing {model.preprocessing!r}"
        raise StorageError(
            f"the profile {profile.name!r} was enrolled with {theirs}, but the model is now {ours}: enrol again with "
            f"`voiceauth enroll {shlex.quote(profile.name)} --replace`, or go back to that model",
            "wrong_model",
        )


def export_document(profile: Profile) -> str:
    """The profile as text, to keep or to move: the very content of its file."""
    return encode_profile(profile).decode()


def import_document(text: str) -> Profile:
    """The profile in an exported text; blanks and line ends around it do not matter.

    Raises `StorageError` as `decode_profile` does. Whether the model is the store's is checked when it is added.
    """
    if len(text) > MAX_BYTES:
        raise StorageError(f"the profile document is larger than {MAX_BYTES} bytes, which no profile is", "too_large")
    return decode_profile((text.strip().replace("\r\n", "\n") + "\n").encode(errors="replace"))


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _checked_body(data: bytes, who: str) -> bytes:
    """What follows the first line, if the first line says that it is whole."""
    restore = "restore the file from a backup, or delete the profile and enrol again"
    first, newline, body = data.partition(b"\n")
    words = first.split(b" ")
    if not MAGIC.startswith(words[0]) or (words[0] != MAGIC and newline):
        raise StorageError(f"{who} is no voiceauthd profile: {restore}", "wrong_format")
    if len(words) != 3 or not newline:
        raise StorageError(f"{who} is torn (it ends within its first line): {restore}", "torn")
    if words[1] != b"%d" % VERSION:
        version = words[1][:20].decode("ascii", "replace")
        raise StorageError(
            f"{who} is of version {version!r}; this program reads version {VERSION}: use the program that wrote it, "
            "or enrol again",
            "wrong_version",
        )
    if words[2] != _digest(body):
        raise StorageError(f"{who} is torn or was changed (its hash does not match): {restore}", "torn")
    return body


def _profile(record: _ProfileRecord) -> Profile:
    """Raises `ValueError` or `UsageError`, saying what is wrong."""
    if check_name(record.name) != record.name:
        raise ValueError("the name is not in Unicode's composed form")
    model = ModelId(
        record.model.name,
        record.model.revision,
        record.model.digest,
        record.model.preprocessing,
        record.model.dimension,
    )
    profile = Profile(
        name=record.name,
        uid=record.uid,
        generation=record.generation,
        owner_uid=record.owner_uid,
        model=model,
        exemplars=tuple(
            Exemplar(
                vector=_vector(exemplar.vector, model.dimension),
                net_speech=exemplar.net_speech,
                snr_db=exemplar.snr_db,
                condition=check_condition(exemplar.condition),
                recorded=_time(exemplar.recorded),
            )
            for exemplar in record.exemplars
        ),
        created=_time(record.created),
        updated=_time(record.updated),
    )
    for condition in {exemplar.condition for exemplar in profile.exemplars}:
        try:  # each condition is compared by a centroid of its own
            unit_mean([exemplar.vector for exemplar in profile.exemplars if exemplar.condition == condition])
        except ModelError as error:
            raise ValueError(f"of its exemplars of {condition!r}, {error}") from None
    return profile


def _vector(data: bytes, dimension: int) -> Vector:
    if len(data) != 4 * dimension:
        raise ValueError(f"a vector has {len(data)} bytes; {dimension} dimensions have {4 * dimension}")
    vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    # A vector with a NaN has the length NaN, which fails this comparison as it must.
    if not abs(length - 1.0) <= UNIT_TOLERANCE:
        raise ValueError(f"a vector has the length {length:.4g}, not 1")
    vector.setflags(write=False)
    return vector


def _time(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError(f"{text!r} is not a time in UTC")
    return text
