"""Reading the state of a machine for a backup, also while its daemon runs."""

from __future__ import annotations

import pwd
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.backup.contents import (
    MAX_PROFILES,
    MAX_SCORING_FILE,
    MODEL_FOLDER,
    Contents,
    SavedProfile,
    SavedScoring,
    check_scoring,
)
from voiceauthd.backup.places import Places, find_keys
from voiceauthd.config.yamlfile import read_text
from voiceauthd.errors import StorageError
from voiceauthd.profiles.document import encode_profile
from voiceauthd.profiles.folder import FolderKind, folder_to_read, list_folder, read_file
from voiceauthd.profiles.keys import Keys
from voiceauthd.profiles.names import name_key, name_of_file
from voiceauthd.profiles.profile import Profile, timestamp
from voiceauthd.profiles.sealed import MAX_BYTES, open_profile
from voiceauthd.scoring.backend import CALIBRATION, COHORT

SCORING = FolderKind("scoring folder", "scoring", None, ".voiceauth-", root_may_own=True)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a backup consists of.

    unreadable  why a profile is not in it, by name
    nameless    owners' uids that no user of this machine has, by the profile's name
    """

    contents: Contents
    unreadable: dict[str, StorageError]
    nameless: dict[str, int]


def collect(places: Places) -> Collected:
    """Read everything. Root may read the state of any user.

    Raises `StorageError`: reason `nothing` if no daemon has ever run here, and for a state that cannot be trusted or
    read; `ConfigError` for a configuration file that cannot be read.
    """
    config = None if places.config is None else read_text(places.config)
    keys, usable, unreadable = _profiles(places)
    scoring = _scoring(places.scoring)
    if keys is None and not scoring:
        raise StorageError(
            f"there is nothing to back up in {places.state}: no daemon has used it. For the state of another daemon, "
            "run this as its user, or name its configuration with --config",
            "nothing",
        )
    names = {profile.name: _user(profile.owner_uid) for profile in usable}
    contents = Contents(
        made=timestamp(),
        host=socket.gethostname()[:255],
        keys=[] if keys is None else [key.secret for key in keys.all()],
        profiles=[SavedProfile(encode_profile(profile), names[profile.name]) for profile in usable],
        scoring=scoring,
        config=config,
    )
    nameless = {each.name: each.owner_uid for each in usable if each.owner_uid is not None and not names[each.name]}
    return Collected(contents, unreadable, nameless)


def _profiles(places: Places) -> tuple[Keys | None, list[Profile], dict[str, StorageError]]:
    """Return the keys, the profiles in the order of their names, and why others cannot be read."""
    if not places.profiles.exists():
        return find_keys(places), [], {}
    with folder_to_read(places.profiles, locked=True) as (folder, owner):
        keys = find_keys(places)  # under the lock: the keys change together with the profiles
        entries = {entry: name for entry in sorted(list_folder(folder)) if (name := name_of_file(entry)) is not None}
        if keys is None:
            if not entries:
                return None, [], {}
            raise StorageError(
                f"the key of the profiles in {places.profiles} is missing: there is no {places.key_file}", "no_key"
            )
        if len(entries) > MAX_PROFILES:
            raise StorageError(f"{places.profiles} has more than {MAX_PROFILES} profiles", "too_large")
        readable: list[Profile] = []
        unreadable: dict[str, StorageError] = {}
        for entry, name in entries.items():
            try:
                data = read_file(folder, entry, MAX_BYTES, owner)
                readable.append(open_profile(data, keys, name, at=str(places.profiles / entry)))
            except StorageError as problem:
                unreadable[name] = problem
    return keys, _without_duplicates(readable, unreadable), unreadable


def _without_duplicates(profiles: list[Profile], unreadable: dict[str, StorageError]) -> list[Profile]:
    """Return one profile of each uid and name: the newest, as the store does. Two of one name are both unreadable."""
    newest: dict[str, Profile] = {}
    for profile in profiles:
        other = newest.get(profile.uid)
        if other is None or profile.generation > other.generation:
            newest[profile.uid] = profile
    counts: dict[str, int] = {}
    for name in (*unreadable, *(profile.name for profile in newest.values())):
        counts[name_key(name)] = counts.get(name_key(name), 0) + 1
    for profile in newest.values():
        if counts[name_key(profile.name)] > 1:
            unreadable[profile.name] = StorageError(f"the profile {profile.name!r} exists twice", "duplicate")
    return [profile for profile in newest.values() if profile.name not in unreadable]


def _scoring(folder: Path) -> list[SavedScoring]:
    """Return what was made here for each model. Raises `StorageError` for files that the daemon would not load."""
    if not folder.exists():
        return []
    with folder_to_read(folder, SCORING) as (descriptor, _):
        entries = sorted(list_folder(descriptor))
    found = []
    for entry in entries:
        if not re.fullmatch(MODEL_FOLDER, entry) or not (folder / entry).is_dir():
            continue
        with folder_to_read(folder / entry, SCORING) as (descriptor, owner):
            there = set(list_folder(descriptor))
            if not there & {COHORT, CALIBRATION}:
                continue
            cohort = read_file(descriptor, COHORT, MAX_SCORING_FILE, owner)
            calibration = read_file(descriptor, CALIBRATION, MAX_SCORING_FILE, owner) if CALIBRATION in there else None
        found.append(SavedScoring(entry, cohort, calibration))
        check_scoring(found[-1])
    return found


def _user(uid: int | None) -> str | None:
    try:
        return None if uid is None else pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
