"""The profile store: all profiles of this machine, one file each, and an immutable snapshot of them in memory.

Reads use the snapshot and never touch the disk. Every write first reads the disk, including the keys, then changes one
file and takes a new snapshot from the disk, all under one lock that excludes other processes and threads.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import NotEnrolledError, StorageError
from voiceauthd.profiles import rekeying
from voiceauthd.profiles.document import check_model
from voiceauthd.profiles.folder import (
    folder_to_read,
    list_folder,
    locked_folder,
    read_file,
    remove_file,
    write_file,
)
from voiceauthd.profiles.keys import Keys
from voiceauthd.profiles.names import check_name, file_name, name_key, name_of_file
from voiceauthd.profiles.profile import Profile, timestamp
from voiceauthd.profiles.sealed import MAX_BYTES, open_profile, seal_profile


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    """The content of the folder. The mappings are immutable, and in the order of names.

    usable   profiles by name
    refused  why a profile cannot be used, by name
    keys     names in either mapping by their `name_key`
    """

    usable: Mapping[str, Profile]
    refused: Mapping[str, StorageError]
    keys: Mapping[str, str]

    @staticmethod
    def of(usable: Mapping[str, Profile], refused: Mapping[str, StorageError]) -> _Snapshot:
        names = sorted({*usable, *refused}, key=lambda name: (name_key(name), name))
        return _Snapshot(
            MappingProxyType({name: usable[name] for name in names if name in usable}),
            MappingProxyType({name: refused[name] for name in names if name in refused}),
            MappingProxyType({name_key(name): name for name in names}),
        )

    def find(self, name: str) -> str | None:
        """Return the enrolled name, usable or refused, that counts as the same as `name`."""
        if name in self.usable or name in self.refused:
            return name
        return self.keys.get(name_key(name))


class ProfileStore:
    """The profiles in `folder`, all of one model, sealed with keys of this machine. Thread-safe.

    Names are compared by `name_key`: `get("anna")` finds "Anna", and returns the profile with its enrolled name. Every
    method that takes a name raises `UsageError`, reason `invalid_name`, for an invalid one.
    """

    def __init__(self, folder: Path, model: ModelId, keys: Keys, *, read_only: bool = False) -> None:
        """Make the folder if it does not exist, and read it. Raises `StorageError` if the folder cannot be used.

        read_only  change nothing on the disk: a missing folder is an empty one, and every change raises `StorageError`.
                   Root may then read the profiles of any user
        """
        self.folder = folder
        self.model = model
        self._keys = keys
        self._read_only = read_only
        self._snapshot = _Snapshot.of({}, {})
        self.refresh()

    @property
    def keys(self) -> Keys:
        """The keys as of the last read of the folder."""
        return self._keys

    def refresh(self) -> None:
        """Read the keys and the folder again. Raises `StorageError` and keeps the old snapshot if either cannot be
        used."""
        if self._read_only:
            self._snapshot = self._read_unlocked()
            return
        with locked_folder(self.folder) as folder:
            keys = self._keys.reload()
            self._snapshot, self._keys = self._read(folder, keys), keys

    @property
    def refused(self) -> Mapping[str, StorageError]:
        """The enrolled profiles that cannot be used, by name, and why."""
        return self._snapshot.refused

    def all(self) -> tuple[Profile, ...]:
        """Return all usable profiles in the order of their names."""
        return tuple(self._snapshot.usable.values())

    def get(self, name: str) -> Profile:
        """Return a profile. Raises `NotEnrolledError`, or the `StorageError` of a profile that cannot be used."""
        return _get(self._snapshot, check_name(name))

    def add(self, profile: Profile) -> Profile:
        """Write a profile with a new name, and return it as written.

        Raises `StorageError`: `already_enrolled` (the name, or the same profile under another name), `wrong_model`,
        `disk_full`, `write_failed`.
        """
        name = check_name(profile.name)
        with self._changing() as (folder, before):
            taken = before.find(name)
            if taken is not None:
                hint = (
                    "it cannot be used: replace it or delete it" if taken in before.refused else "replace or delete it"
                )
                raise StorageError(f"{taken!r} is already enrolled; {hint}", "already_enrolled")
            return self._write(folder, before, dataclasses.replace(profile, name=name))

    def replace(self, profile: Profile, *, generation: int | None = None) -> Profile:
        """Replace the profile of that name, usable or not, and return it as written: with the enrolled name and a
        generation above the old one.

        generation  of the usable profile that this one was made from; None if it was made from none

        Raises `NotEnrolledError`, and `StorageError` as `add` does, or `changed` if another profile than that one is
        stored by now: what was removed from it must not come back.
        """
        with self._changing() as (folder, before):
            if generation is not None:
                old = _get(before, check_name(profile.name))
                if (old.uid, old.generation) != (profile.uid, generation):
                    raise StorageError(f"the profile of {old.name!r} was changed meanwhile: try again", "changed")
            return self._replace(folder, before, profile, _find(before, check_name(profile.name)))

    def drop_exemplar(self, name: str, number: int, generation: int) -> Profile:
        """Remove one exemplar of a usable profile, and return the profile as written.

        number      of the exemplar, from 1, in the order of the profile
        generation  of the profile that the number was read from

        Raises `NotEnrolledError`, and `StorageError` as `get` and `add` do, `changed` for another generation,
        `no_such_exemplar`, and `last_exemplar` for the only one.
        """
        with self._changing() as (folder, before):
            old = _get(before, check_name(name))
            if old.generation != generation:
                raise StorageError(
                    f"the profile of {old.name!r} was changed meanwhile, and its exemplars are numbered anew: look at "
                    "it again",
                    "changed",
                )
            count = len(old.exemplars)
            if not 1 <= number <= count:
                raise StorageError(
                    f"{old.name!r} has no exemplar {number}: they are numbered from 1 to {count}", "no_such_exemplar"
                )
            if count == 1:
                raise StorageError(
                    f"this is the only exemplar of {old.name!r}: delete the profile, or replace it", "last_exemplar"
                )
            left = (*old.exemplars[: number - 1], *old.exemplars[number:])
            dropped = dataclasses.replace(old, exemplars=left, generation=generation + 1, updated=timestamp())
            return self._write(folder, before, dropped)

    def put(self, profile: Profile) -> Profile:
        """Replace the profile of that name, or add it if there is none. Raises `StorageError` as `add` does."""
        name = check_name(profile.name)
        with self._changing() as (folder, before):
            return self._replace(folder, before, profile, before.find(name) or name)

    def rename(self, old: str, new: str) -> Profile:
        """Rename a usable profile; the new name may differ only in case. After a crash it has one of the two names.

        Raises `NotEnrolledError`, and `StorageError` as `get` and `add` do.
        """
        new = check_name(new)
        with self._changing() as (folder, before):
            profile = _get(before, check_name(old))
            if new == profile.name:
                return profile
            taken = before.find(new)
            if taken not in (None, profile.name):
                raise StorageError(
                    f"{taken!r} is already enrolled; delete it or choose another name", "already_enrolled"
                )
            renamed = dataclasses.replace(profile, name=new, generation=profile.generation + 1, updated=timestamp())
            write_file(folder, file_name(new), seal_profile(renamed, self._keys.current))
            remove_file(folder, file_name(profile.name))
            return renamed

    def delete(self, name: str) -> None:
        """Remove a profile, usable or not. Raises `NotEnrolledError`, `StorageError` (`write_failed`)."""
        with self._changing() as (folder, before):
            remove_file(folder, file_name(_find(before, check_name(name))))

    def rekey(self) -> tuple[str, int]:
        """Seal every profile with a new key, or with the first key of a credential. Return the key's id and the number
        of profiles. Unreadable profiles stay unchanged, and the keys that they need are kept.

        Every profile stays readable after a crash at any moment, and after a failure: on `StorageError` (`disk_full`,
        `write_failed`, `not_durable`) some profiles have the new key and others the old one.
        """
        with self._changing(allow_missing_keys=True) as (folder, _):
            self._keys = rekeying.add_new_key(folder, self._keys)
            count = rekeying.reseal_profiles(folder, self._keys)
            self._keys = rekeying.drop_unneeded_keys(folder, self._keys)
            return self._keys.current.id, count

    @contextmanager
    def _changing(self, *, allow_missing_keys: bool = False) -> Iterator[tuple[int, _Snapshot]]:
        """Lock the folder; yields its descriptor and content. Takes a new snapshot afterwards, also after a failure.

        allow_missing_keys  the key file may be missing, because it is about to be written
        """
        if self._read_only:
            raise StorageError(f"the profile folder {self.folder} was opened for reading only", "read_only")
        with locked_folder(self.folder) as folder:
            try:
                self._keys = self._keys.reload()
            except StorageError as problem:
                if not allow_missing_keys or problem.reason != "no_key":
                    raise
            self._snapshot = self._read(folder, self._keys)
            try:
                yield folder, self._snapshot
            finally:
                self._snapshot = self._read(folder, self._keys)

    def _replace(self, folder: int, before: _Snapshot, profile: Profile, name: str) -> Profile:
        old = before.usable.get(name)
        generation = profile.generation if old is None else max(profile.generation, old.generation + 1)
        return self._write(folder, before, dataclasses.replace(profile, name=name, generation=generation))

    def _write(self, folder: int, before: _Snapshot, profile: Profile) -> Profile:
        check_model(profile, self.model)
        # Two files with one uid would look like an interrupted rename, and one of them would be removed.
        for other in before.usable.values():
            if other.uid == profile.uid and other.name != profile.name:
                raise StorageError(
                    f"the profile of {profile.name!r} is already enrolled as {other.name!r}: rename or delete that one",
                    "already_enrolled",
                )
        write_file(folder, file_name(profile.name), seal_profile(profile, self._keys.current))
        return profile

    def _read_unlocked(self) -> _Snapshot:
        if not self.folder.exists():
            return _Snapshot.of({}, {})
        with folder_to_read(self.folder) as (folder, owner):
            return self._read(folder, self._keys, owner)

    def _read(self, folder: int, keys: Keys, owner: int | None = None) -> _Snapshot:
        usable: dict[str, Profile] = {}
        refused: dict[str, StorageError] = {}
        for entry in list_folder(folder):
            name = name_of_file(entry)
            if name is None:
                continue
            try:
                data = read_file(folder, entry, MAX_BYTES, owner)
                usable[name] = open_profile(data, keys, name, self.model, at=str(self.folder / entry))
            except StorageError as error:
                refused[name] = error
        _finish_renames(None if self._read_only else folder, usable, refused)
        _refuse_duplicates(usable, refused)
        return _Snapshot.of(usable, refused)


def _find(snapshot: _Snapshot, name: str) -> str:
    found = snapshot.find(name)
    if found is None:
        raise NotEnrolledError(f"nobody is enrolled as {name!r}")
    return found


def _get(snapshot: _Snapshot, name: str) -> Profile:
    found = _find(snapshot, name)
    error = snapshot.refused.get(found)
    if error is not None:
        # A new exception each time: a shared one would collect the tracebacks of all callers.
        raise StorageError(str(error), error.reason)
    return snapshot.usable[found]


def _finish_renames(folder: int | None, usable: dict[str, Profile], refused: dict[str, StorageError]) -> None:
    """Keep the newest of several files with one uid: a rename was interrupted before it removed the older one.

    folder  where the older one is removed; None leaves it
    """
    by_uid: dict[str, list[Profile]] = defaultdict(list)
    for profile in usable.values():
        by_uid[profile.uid].append(profile)
    for same in by_uid.values():
        newest = max(profile.generation for profile in same)
        current = [profile for profile in same if profile.generation == newest]
        for profile in same:
            if profile.generation < newest:
                del usable[profile.name]
                if folder is None:
                    continue
                with suppress(StorageError):  # a folder that cannot be written now is cleaned up at a later read
                    remove_file(folder, file_name(profile.name))
            elif len(current) > 1:
                del usable[profile.name]
                refused[profile.name] = _duplicate(profile.name, [other.name for other in current])


def _refuse_duplicates(usable: dict[str, Profile], refused: dict[str, StorageError]) -> None:
    """Refuse profiles whose names differ only in case: the store never writes such files, so none is trusted."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in (*usable, *refused):
        by_key[name_key(name)].append(name)
    for names in by_key.values():
        for name in names:
            if len(names) > 1 and usable.pop(name, None) is not None:
                refused[name] = _duplicate(name, names)


def _duplicate(name: str, names: list[str]) -> StorageError:
    listed = " and ".join(repr(other) for other in sorted(names))
    return StorageError(f"the profile {name!r} exists twice ({listed}): delete one of them", "duplicate")
