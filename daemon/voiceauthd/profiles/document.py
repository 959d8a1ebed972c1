"""A profile as text: the record, which the store seals (sealed.py), and the document, which is exported.

    voiceauthd-profile 1 SHA256-OF-THE-REST
    {"name":…,"model":{…},"exemplars":[{"vector":"BASE64 OF LITTLE-ENDIAN FLOAT32",…},…],…}

Two lines of UTF-8; the second is the record. The hash detects a damaged or truncated document, but does not protect
against deliberate changes, and nothing is encrypted: the store does not accept such a file.
`docs/profile-format.md` describes the format for other readers.
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
from voiceauthd.profiles.envelope import check_intact, unwrap, wrap
from voiceauthd.profiles.names import check_condition, check_name
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile

MAGIC = b"voiceauthd-profile"
VERSION = 1

MAX_BYTES = 1 << 20
"""Twenty exemplars of 512 dimensions take under 60 KiB."""

MAX_DIMENSION = 4096

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a vector may be. Rounding a unit vector to float32 changes it by less than 1e-6."""

RESTORE = "export it again, or enrol again"

Text = Annotated[str, Meta(min_length=1, max_length=255)]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A strict structure: an extra or missing field, or one of another type, is refused."""


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
    """Return the record as one line of JSON.

    Raises `StorageError` for a profile that `decode_record` would refuse, so that none is written.
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


def decode_record(line: bytes, what: str) -> Profile:
    """Return the profile in a record. Every vector is finite, of unit length and of the model's dimension.

    what  for the message: what this is

    Raises `StorageError`, reason `wrong_format`.
    """
    try:
        return _profile(msgspec.json.decode(line, type=_ProfileRecord))
    except (msgspec.MsgspecError, UsageError, ValueError) as error:
        raise StorageError(f"{what} is not in the expected form: {error}", "wrong_format") from error


def encode_profile(profile: Profile) -> bytes:
    """Return the document. Raises `StorageError` for a profile that `decode_profile` would refuse."""
    return wrap(MAGIC, VERSION, encode_record(profile))


def decode_profile(data: bytes, name: str | None = None, model: ModelId | None = None) -> Profile:
    """Return the profile in a document.

    name   the name that it must have; None for any
    model  the model that it must belong to; None for any

    Raises `StorageError` with one of the reasons `too_large`, `torn`, `wrong_format`, `wrong_version`, `wrong_name`
    and `wrong_model`.
    """
    what = "the profile document" if name is None else f"the document of the profile {name!r}"
    check_size(data, what)
    wrapped = unwrap(data, MAGIC, what, RESTORE)
    if wrapped.version != b"%d" % VERSION:
        version = wrapped.version[:20].decode("ascii", "replace")
        raise StorageError(
            f"{what} has version {version!r}, and only version {VERSION} can be imported: make it with "
            "`voiceauth profiles export`",
            "wrong_version",
        )
    check_intact(wrapped, what, RESTORE)
    profile = decode_record(wrapped.rest, what)
    if name is not None and profile.name != name:
        raise StorageError(f"{what} is actually that of {profile.name!r}", "wrong_name")
    if model is not None:
        check_model(profile, model)
    return profile


def check_size(data: bytes, what: str) -> None:
    """Raises `StorageError`, reason `too_large`."""
    if len(data) > MAX_BYTES:
        raise StorageError(f"{what} is larger than {MAX_BYTES} bytes, the maximum", "too_large")


def model_record(model: ModelId) -> ModelRecord:
    """Return the model in the form of records and headers."""
    return ModelRecord(**{field: getattr(model, field) for field in ModelRecord.__struct_fields__})


def model_of(record: ModelRecord) -> ModelId:
    """Return the model that a record names."""
    return ModelId(record.name, record.revision, record.digest, record.preprocessing, record.dimension)


def check_model(profile: Profile, model: ModelId) -> None:
    """Raises `StorageError`, reason `wrong_model`, if the profile's embeddings are not comparable with the model's."""
    if profile.model != model:
        theirs, ours = str(profile.model), str(model)
        if theirs == ours:
            theirs += f", preprocessing {profile.model.preprocessing!r}"
            ours += f", preprocessing {model.preprocessing!r}"
        raise StorageError(
            f"the profile {profile.name!r} was enrolled with {theirs}, but the current model is {ours}: enrol again "
            f"with `voiceauth enroll {shlex.quote(profile.name)} --replace`, or switch back to that model",
            "wrong_model",
        )


def export_document(profile: Profile) -> str:
    """Return the profile as a text document."""
    return encode_profile(profile).decode()


def import_document(text: str) -> Profile:
    """Return the profile in an exported text; whitespace around it is ignored.

    Raises `StorageError` as `decode_profile` does. The store checks the model when the profile is added.
    """
    if len(text) > MAX_BYTES:
        raise StorageError(f"the profile document is larger than {MAX_BYTES} bytes, the maximum", "too_large")
    return decode_profile((text.strip().replace("\r\n", "\n") + "\n").encode(errors="replace"))


def _profile(record: _ProfileRecord) -> Profile:
    """Convert a record. Raises `ValueError` or `UsageError`, which say what is wrong."""
    if check_name(record.name) != record.name:
        raise ValueError("the name is not in Unicode's composed form (NFC)")
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
        try:  # each condition is compared through its own centroid
            unit_mean([exemplar.vector for exemplar in profile.exemplars if exemplar.condition == condition])
        except ModelError as error:
            raise ValueError(f"its exemplars of {condition!r} have no mean: {error}") from None
    return profile


def _vector(data: bytes, dimension: int) -> Vector:
    if len(data) != 4 * dimension:
        raise ValueError(f"a vector has {len(data)} bytes; {dimension} dimensions have {4 * dimension}")
    vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    # A vector with a NaN has the length NaN, which fails this comparison.
    if not abs(length - 1.0) <= UNIT_TOLERANCE:
        raise ValueError(f"a vector has the length {length:.4g}, not 1")
    vector.setflags(write=False)
    return vector


def _time(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError(f"{text!r} is not a time in UTC")
    return text
