"""The store: all profiles of this machine, one file each, and a snapshot of them that never changes under a reader.

Reads come from the snapshot and never touch the disk. Every write looks at the disk first, keys included, changes one
file, and takes a new snapshot from the disk, all under one lock that excludes other processes and threads.
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
from voiceauthd.profiles.folder import list_folder, locked_folder, read_file, remove_file, write_file
from voiceauthd.profiles.keys import Keys
from voiceauthd.profiles.names import check_name, file_name, name_key, name_of_file
from voiceauthd.profiles.profile import Profile, timestamp
from voiceauthd.profiles.sealed import MAX_BYTES, open_profile, seal_profile


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    """What the folder held. Both mappings are by name, in the order of names, and are never changed.

    keys  the name in either mapping that has this `name_key`
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
        """The enrolled name, usable or refused, that is the same as `name`."""
        if name in self.usable or name in self.refused:
            return name
        return self.keys.get(name_key(name))


class ProfileStore:
    """The profiles in `folder`, all of one model, sealed with keys of this machine. Safe to use from several threads.

    Names are compared by `name_key`: `get("anna")` finds "Anna", and the profile that comes back bears the enrolled
    name. Every method that takes a name raises `UsageError`, reason `invalid_name`, for what cannot be one.
    """

    def __init__(self, folder: Path, model: ModelId, keys: Keys) -> None:
        """Makes the folder if need be, and reads it. Raises `StorageError` if the folder as a whole cannot be used."""
        self.folder = folder
        self.model = model
        self._keys = keys
        self._snapshot = _Snapshot.of({}, {})
        self.refresh()

    @property
    def keys(self) -> Keys:
        """As they were when the folder was last read."""
        return self._keys

    def refresh(self) -> None:
        """Reads the keys and the folder again. Raises `StorageError`, and keeps the old snapshot, if one of the two
        cannot be used."""
        with locked_folder(self.folder) as folder:
            keys = self._keys.again()
            self._snapshot, self._keys = self._read(folder, keys), keys

    @property
    def refused(self) -> Mapping[str, StorageError]:
        """The profiles that are there and cannot be used, by name, and why."""
        return self._snapshot.refused

    def all(self) -> tuple[Profile, ...]:
        """All usable profiles, in the order of their names."""
        return tuple(self._snapshot.usable.values())

    def get(self, name: str) -> Profile:
        """Raises `NotEnrolledError`, or the `StorageError` of a profile that cannot be used."""
        return _get(self._snapshot, check_name(name))

    def add(self, profile: Profile) -> Profile:
        """Writes a profile whose name is free, and returns it as written.

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

    def replace(self, profile: Profile) -> Profile:
        """Writes a profile in the place of the one of that name, usable or not, and returns it as written: under the
        enrolled name, with a generation above the old one.

        Raises `NotEnrolledError`, and `StorageError` as `add` does.
        """
        with self._changing() as (folder, before):
            return self._replace(folder, before, profile, _find(before, check_name(profile.name)))

    def put(self, profile: Profile) -> Profile:
        """Replaces the profile of that name, or adds it if there is none. Raises `StorageError` as `add` does."""
        name = check_name(profile.name)
        with self._changing() as (folder, before):
            return self._replace(folder, before, profile, before.find(name) or name)

    def rename(self, old: str, new: str) -> Profile:
        """Gives a usable profile another name, or the same in other case. A crash leaves it under one of the two.

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
        """Removes a profile, usable or not. Raises `NotEnrolledError`, `StorageError` (`write_failed`)."""
        with self._changing() as (folder, before):
            remove_file(folder, file_name(_find(before, check_name(name))))

    def rekey(self) -> tuple[str, int]:
        """Seals every profile with a new key; where the keys are a credential, with the first one in it. Returns the
        key's id, and how many profiles that were. What cannot be read stays as it is, and so do the keys for it.

        A crash at any moment leaves every profile readable. So does a failure: `StorageError` (`disk_full`,
        `write_failed`, `not_durable`) says that some profiles may be sealed anew and others as before.
        """
        with self._changing(gone=True) as (folder, _):
            self._keys = rekeying.begin(folder, self._keys)
            count = rekeying.seal_anew(folder, self._keys)
            self._keys = rekeying.finish(folder, self._keys)
            return self._keys.current.id, count

    @contextmanager
    def _changing(self, *, gone: bool = False) -> Iterator[tuple[int, _Snapshot]]:
        """The locked folder and what it holds. Afterwards, even after a failure, the snapshot is what it then holds.

        gone  a key file that has gone is no obstacle: it is about to be written
        """
        with locked_folder(self.folder) as folder:
            try:
                self._keys = self._keys.again()
            except StorageError as problem:
                if not gone or problem.reason != "no_key":
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
        # Two files of one uid are what a rename leaves when it is cut short, so one of them would be removed.
        for other in before.usable.values():
            if other.uid == profile.uid and other.name != profile.name:
                raise StorageError(
                    f"the profile of {profile.name!r} is already enrolled as {other.name!r}: rename or delete that one",
                    "already_enrolled",
                )
        write_file(folder, file_name(profile.name), seal_profile(profile, self._keys.current))
        return profile

    def _read(self, folder: int, keys: Keys) -> _Snapshot:
        usable: dict[str, Profile] = {}
        refused: dict[str, StorageError] = {}
        for entry in list_folder(folder):
            name = name_of_file(entry)
            if name is None:
                continue
            try:
                data = read_file(folder, entry, MAX_BYTES)
                usable[name] = open_profile(data, keys, name, self.model, at=str(self.folder / entry))
            except StorageError as error:
                refused[name] = error
        _finish_renames(folder, usable, refused)
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
        # A new one each time: an exception collects the tracebacks of whoever raises it.
        raise StorageError(str(error), error.reason)
    return snapshot.usable[found]


def _finish_renames(folder: int, usable: dict[str, Profile], refused: dict[str, StorageError]) -> None:
    """Of several files of one uid, keeps the newest: a rename was cut short before it removed the older one."""
    by_uid: dict[str, list[Profile]] = defaultdict(list)
    for profile in usable.values():
        by_uid[profile.uid].append(profile)
    for same in by_uid.values():
        newest = max(profile.generation for profile in same)
        current = [profile for profile in same if profile.generation == newest]
        for profile in same:
            if profile.generation < newest:
                del usable[profile.name]
                with suppress(StorageError):  # a folder that cannot be written now is tidied another time
                    remove_file(folder, file_name(profile.name))
            elif len(current) > 1:
                del usable[profile.name]
                refused[profile.name] = _duplicate(profile.name, [other.name for other in current])


def _refuse_duplicates(usable: dict[str, Profile], refused: dict[str, StorageError]) -> None:
    """Of two files whose names are the same but for case, neither is trusted. The store never writes such."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in (*usable, *refused):
        by_key[name_key(name)].append(name)
    for names in by_key.values():
        for name in names:
            if len(names) > 1 and usable.pop(name, None) is not None:
                refused[name] = _duplicate(name, names)


def _duplicate(name: str, names: list[str]) -> StorageError:
    listed = " and ".join(repr(other) for other in sorted(names))
    return StorageError(f"the profile {name!r} is there twice ({listed}): delete one of them", "duplicate")
