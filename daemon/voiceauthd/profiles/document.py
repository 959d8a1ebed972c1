"""A profile as text: the record, which the store seals (sealed.py), and the document that travels.

    voiceauthd-profile 1 SHA256-OF-THE-REST
    {"name":…,"model":{…},"exemplars":[{"vector":"BASE64 OF LITTLE-ENDIAN FLOAT32",…},…],…}

Two lines of UTF-8; the second is the record. The hash tells a torn, truncated or bit-flipped document from a whole one.
It is no protection against somebody who may write it, and nothing here is encrypted: the store takes no such file.
`docs/profile-format.md` is for those who write another reader.
"""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from voiceauthd.embed.embedding import ModelId, Vector, unit_mean
from voiceauthd.errors import ModelError, StorageError, UsageError
from voiceauthd.profiles.envelope import check_whole, unwrap, wrap
from voiceauthd.profiles.names import check_condition, check_name
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile

MAGIC = b"voiceauthd-profile"
VERSION = 1

MAX_BYTES = 1 << 20
"""Twenty exemplars of 512 dimensions take under 60 KiB; nothing of ours comes near this."""

MAX_DIMENSION = 4096

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a vector may be. Rounding a unit vector to float32 moves it by less than 1e-6."""

RESTORE = "export it again, or enrol again"

Text = Annotated[str, Meta(min_length=1, max_length=255)]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strict: a field too many, too few or of another type is refused."""


class ModelRecord(Record, frozen=True):
    name: Text
    revision: Text
    digest: Text
    preprocessing: Text
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION)]


class _ExemplarRecord(Record, frozen=True):
    condition: Text
    recorded: Text
    net_speech: Annotated[float, Meta(gt=0, le=86_400)]
    snr_db: Annotated[float, Meta(ge=-1_000, le=1_000)] | None
    vector: bytes


class _ProfileRecord(Record, frozen=True):
    name: Text
    uid: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z-]{1,64}\Z")]
    generation: Annotated[int, Meta(ge=1, le=2**53)]
    owner_uid: Annotated[int, Meta(ge=0, lt=2**32 - 1)] | None
    created: Text
    updated: Text
    model: ModelRecord
    exemplars: Annotated[list[_ExemplarRecord], Meta(min_length=1, max_length=MAX_EXEMPLARS)]


def encode_record(profile: Profile) -> bytes:
    """The record, in one line of JSON.

    Raises `StorageError` for a profile that `decode_record` would refuse, so that none is ever written.
    """
    record = _ProfileRecord(
        name=profile.name,
        uid=profile.uid,
        generation=profile.generation,
        owner_uid=profile.owner_uid,
        created=profile.created,
        updated=profile.updated,
        model=model_record(profile.model),
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
    line = msgspec.json.encode(record) + b"\n"
    decode_record(line, f"the profile {profile.name!r}")
    return line


def decode_record(line: bytes, who: str) -> Profile:
    """The profile in a record. Every vector in it is finite, of unit length and of the model's dimension.

    who  for the message: what this is

    Raises `StorageError`, reason `wrong_format`.
    """
    try:
        return _profile(msgspec.json.decode(line, type=_ProfileRecord))
    except (msgspec.MsgspecError, UsageError, ValueError) as error:
        raise StorageError(f"{who} is not in the form that it should have: {error}", "wrong_format") from error


def encode_profile(profile: Profile) -> bytes:
    """The document. Raises `StorageError` for a profile that `decode_profile` would refuse."""
    return wrap(MAGIC, VERSION, encode_record(profile))


def decode_profile(data: bytes, name: str | None = None, model: ModelId | None = None) -> Profile:
    """The profile in a document.

    name   the name that it must have, None if any will do
    model  the model that it must be of, None if any will do

    Raises `StorageError` with one of the reasons `too_large`, `torn`, `wrong_format`, `wrong_version`, `wrong_name`
    and `wrong_model`.
    """
    who = "the profile document" if name is None else f"the document of the profile {name!r}"
    check_size(data, who)
    wrapped = unwrap(data, MAGIC, who, RESTORE)
    if wrapped.version != b"%d" % VERSION:
        version = wrapped.version[:20].decode("ascii", "replace")
        raise StorageError(
            f"{who} is of version {version!r}, and only version {VERSION} travels: make it with "
            "`voiceauth profiles export`",
            "wrong_version",
        )
    check_whole(wrapped, who, RESTORE)
    profile = decode_record(wrapped.rest, who)
    if name is not None and profile.name != name:
        raise StorageError(f"{who} is in fact that of {profile.name!r}", "wrong_name")
    if model is not None:
        check_model(profile, model)
    return profile


def check_size(data: bytes, who: str) -> None:
    """Raises `StorageError`, reason `too_large`."""
    if len(data) > MAX_BYTES:
        raise StorageError(f"{who} is larger than {MAX_BYTES} bytes, which no profile is", "too_large")


def model_record(model: ModelId) -> ModelRecord:
    """As it stands in records and headers."""
    return ModelRecord(**{field: getattr(model, field) for field in ModelRecord.__struct_fields__})


def model_of(record: ModelRecord) -> ModelId:
    """The model that a record names."""
    return ModelId(record.name, record.revision, record.digest, record.preprocessing, record.dimension)


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
    """The profile as text, to keep or to move."""
    return encode_profile(profile).decode()


def import_document(text: str) -> Profile:
    """The profile in an exported text; blanks and line ends around it do not matter.

    Raises `StorageError` as `decode_profile` does. Whether the model is the store's is checked when it is added.
    """
    if len(text) > MAX_BYTES:
        raise StorageError(f"the profile document is larger than {MAX_BYTES} bytes, which no profile is", "too_large")
    return decode_profile((text.strip().replace("\r\n", "\n") + "\n").encode(errors="replace"))


def _profile(record: _ProfileRecord) -> Profile:
    """Raises `ValueError` or `UsageError`, saying what is wrong."""
    if check_name(record.name) != record.name:
        raise ValueError("the name is not in Unicode's composed form")
    model = model_of(record.model)
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
