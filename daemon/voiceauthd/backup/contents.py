"""What is in a backup: profiles, keys, scoring files and the configuration, before they are sealed.

Profiles are documents of `voiceauth profiles export --plain`, because a restore changes their owner and their key.
Sizes and names are limited here, so nothing in a backup can name a file outside the folders of the state.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from voiceauthd.config.yamlfile import MAX_BYTES as MAX_CONFIG
from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.profiles.document import MAX_BYTES as MAX_PROFILE
from voiceauthd.profiles.document import Record, decode_profile
from voiceauthd.profiles.envelope import KEY_BYTES
from voiceauthd.profiles.keys import Key
from voiceauthd.profiles.names import name_key
from voiceauthd.profiles.profile import Profile
from voiceauthd.scoring.backend import CALIBRATION, COHORT
from voiceauthd.scoring.calibration import decode_calibration
from voiceauthd.scoring.cohort import decode_cohort

MAX_BYTES = 128 * 2**20
"""Of a backup, and of what is in it. A hundred profiles are 6 MiB, and the cohort of 5000 strangers is 10 MiB."""

MAX_PROFILES = 10_000

MAX_SCORING_FILE = 64 * 2**20

MODEL_FOLDER = r"[A-Za-z0-9._-]{1,60}-[0-9a-f]{16}"
"""As `scoring.backend.folder_name` makes them. It contains no slash, and is neither . nor .."""

WHAT = "the content of the backup"


class SavedProfile(Record, frozen=True):
    """owner: the name of the user whose voice it is. User ids differ between machines."""

    document: Annotated[bytes, Meta(max_length=MAX_PROFILE)]
    owner: Annotated[str, Meta(min_length=1, max_length=255)] | None


class SavedScoring(Record, frozen=True):
    """What was made on the machine for one model. folder: its name in the scoring folder."""

    folder: Annotated[str, Meta(pattern=rf"\A{MODEL_FOLDER}\Z")]
    cohort: Annotated[bytes, Meta(max_length=MAX_SCORING_FILE)]
    calibration: Annotated[bytes, Meta(max_length=MAX_SCORING_FILE)] | None

    def files(self) -> dict[str, bytes]:
        """Return the files by their names in the scoring folder."""
        found = {f"{self.folder}/{COHORT}": self.cohort}
        return found if self.calibration is None else {**found, f"{self.folder}/{CALIBRATION}": self.calibration}


class Contents(Record, frozen=True):
    """Everything in a backup.

    made     ISO 8601, UTC
    host     the machine that it was made on
    keys     the current key first
    config   the text of the configuration file; None for the built-in defaults
    """

    made: Annotated[str, Meta(max_length=64)]
    host: Annotated[str, Meta(max_length=255)]
    keys: Annotated[list[Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]], Meta(max_length=1000)]
    profiles: Annotated[list[SavedProfile], Meta(max_length=MAX_PROFILES)]
    scoring: Annotated[list[SavedScoring], Meta(max_length=1000)]
    config: Annotated[str, Meta(max_length=MAX_CONFIG)] | None

    def all_keys(self) -> list[Key]:
        """Return the keys, the current one first."""
        return [Key(secret) for secret in self.keys]

    def all_profiles(self) -> list[tuple[Profile, str | None]]:
        """Return each profile with its owner's name. Raises `StorageError` for an invalid document."""
        return [(decode_profile(saved.document), saved.owner) for saved in self.profiles]


def encode_contents(contents: Contents) -> bytes:
    """Return the contents as bytes. Raises `StorageError` for contents that `decode_contents` would refuse."""
    data = msgspec.msgpack.encode(contents)
    decode_contents(data)
    return data


def decode_contents(data: bytes) -> Contents:
    """Return the contents. Raises `StorageError`: `too_large`, and `wrong_format` or that of the part for parts that
    are invalid, or that do not belong together."""
    if len(data) > MAX_BYTES:
        raise StorageError(f"{WHAT} has {len(data)} bytes; the maximum is {MAX_BYTES}", "too_large")
    try:
        contents = msgspec.msgpack.decode(data, type=Contents)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StorageError(f"{WHAT} is not in the expected form: {error}", "wrong_format") from error
    profiles = contents.all_profiles()
    _require_unique("profiles of one name", [name_key(profile.name) for profile, _ in profiles])
    _require_unique("files of one profile", [profile.uid for profile, _ in profiles])
    _require_unique("folders of one model", [each.folder for each in contents.scoring])
    if contents.profiles and not contents.keys:
        raise StorageError(f"{WHAT} has profiles and no key", "wrong_format")
    for each in contents.scoring:
        check_scoring(each)
    return contents


def check_scoring(saved: SavedScoring) -> ModelId:
    """Return the model that the files belong to. Raises `StorageError` for files that the daemon would not load."""
    cohort = decode_cohort(saved.cohort, None, f"{saved.folder}/{COHORT}")
    if saved.calibration is not None:
        decode_calibration(saved.calibration, cohort.model, cohort.digest, f"{saved.folder}/{CALIBRATION}")
    return cohort.model


def _require_unique(what: str, values: list[str]) -> None:
    if len(set(values)) != len(values):
        raise StorageError(f"{WHAT} has several {what}", "wrong_format")
