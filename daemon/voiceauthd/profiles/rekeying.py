"""Seal every profile in a folder with a new key, so that each stays readable after a crash at any moment.

The new key is on the disk before the first profile needs it, and an old one stays until no profile needs it.
"""

from __future__ import annotations

import logging

from voiceauthd.errors import StorageError
from voiceauthd.profiles.folder import list_folder, read_file, write_file
from voiceauthd.profiles.keys import Keys, new_key
from voiceauthd.profiles.names import name_of_file
from voiceauthd.profiles.sealed import MAX_BYTES, key_id_in, reseal

log = logging.getLogger(__name__)

_NOT_A_PROFILE = frozenset({"not_a_file", "too_large"})
"""Reasons for which a file cannot be a profile, so no key is kept for it."""


def add_new_key(folder: int, keys: Keys) -> Keys:
    """Make a new current key, drop those that no profile needs, write them and return them. Keys in a credential are
    returned unchanged. Raises `StorageError`."""
    if keys.source is not None and keys.source.credential:
        return keys
    fresh = keys.only(_needed(folder, keys)).with_current(new_key())
    fresh.write()
    return fresh


def reseal_profiles(folder: int, keys: Keys) -> int:
    """Seal every readable profile with the current key and return their number. Unreadable ones stay unchanged.

    Raises `StorageError` if one cannot be written; it is then unchanged.
    """
    count = 0
    for entry in _profiles(folder):
        try:
            resealed = reseal(read_file(folder, entry, MAX_BYTES), keys)
        except StorageError as problem:
            log.warning("%s was not sealed with the new key: %s", entry, problem)
            continue
        write_file(folder, entry, resealed)
        count += 1
    return count


def drop_unneeded_keys(folder: int, keys: Keys) -> Keys:
    """Remove the keys that no profile needs any more; return the others. Raises `StorageError`."""
    if keys.source is not None and keys.source.credential:
        return keys
    needed = keys.only(_needed(folder, keys))
    for key in needed.others:
        log.warning("the old key %s is kept for a profile that could not be sealed with the new one", key.id)
    if needed != keys:
        needed.write()
    return needed


def _profiles(folder: int) -> list[str]:
    return sorted(entry for entry in list_folder(folder) if name_of_file(entry) is not None)


def _needed(folder: int, keys: Keys) -> set[str]:
    """Return the ids of the keys that some file needs; all ids if a file cannot be read."""
    needed: set[str] = set()
    for entry in _profiles(folder):
        try:
            key_id = key_id_in(read_file(folder, entry, MAX_BYTES))
        except StorageError as problem:
            if problem.reason not in _NOT_A_PROFILE:
                return {key.id for key in keys.all()}
            continue
        if key_id is not None:
            needed.add(key_id)
    return needed
