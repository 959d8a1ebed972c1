"""Sealing every profile in a folder anew, so that a crash at any moment leaves each readable.

The new key is on the disk before the first profile needs it, and an old one until the last profile does not.
"""

from __future__ import annotations

import logging

from voiceauthd.errors import StorageError
from voiceauthd.profiles.folder import list_folder, read_file, write_file
from voiceauthd.profiles.keys import Keys, new_key
from voiceauthd.profiles.names import name_of_file
from voiceauthd.profiles.sealed import MAX_BYTES, key_of, reseal

log = logging.getLogger(__name__)

_NO_PROFILE = frozenset({"not_a_file", "too_large"})
"""Reasons for which a file is none of ours, whatever happens to it."""


def begin(folder: int, keys: Keys) -> Keys:
    """The keys to go on with, already where keys are kept: a new one first, and the old ones that are needed. With a
    credential, the keys as they are. Raises `StorageError`."""
    if keys.source is not None and keys.source.credential:
        return keys
    fresh = keys.only(_needed(folder, keys)).with_current(new_key())
    fresh.write()
    return fresh


def seal_anew(folder: int, keys: Keys) -> int:
    """Seals what can be read with the current key; returns how many that were. What cannot be read stays as it is.

    Raises `StorageError` if one cannot be written: it is then as before.
    """
    count = 0
    for entry in _profiles(folder):
        try:
            anew = reseal(read_file(folder, entry, MAX_BYTES), keys)
        except StorageError as problem:
            log.warning("%s was not sealed anew: %s", entry, problem)
            continue
        write_file(folder, entry, anew)
        count += 1
    return count


def finish(folder: int, keys: Keys) -> Keys:
    """The keys that are still needed, and no other where keys are kept. Raises `StorageError`."""
    if keys.source is not None and keys.source.credential:
        return keys
    needed = keys.only(_needed(folder, keys))
    for key in needed.others:
        log.warning("the old key %s stays, to read a profile that could not be sealed anew", key.id)
    if needed != keys:
        needed.write()
    return needed


def _profiles(folder: int) -> list[str]:
    return sorted(entry for entry in list_folder(folder) if name_of_file(entry) is not None)


def _needed(folder: int, keys: Keys) -> set[str]:
    """The ids of the keys that some file asks for. All, if a file does not let itself be read."""
    needed: set[str] = set()
    for entry in _profiles(folder):
        try:
            key_id = key_of(read_file(folder, entry, MAX_BYTES))
        except StorageError as problem:
            if problem.reason not in _NO_PROFILE:
                return {key.id for key in keys.all()}
            continue
        if key_id is not None:
            needed.add(key_id)
    return needed
