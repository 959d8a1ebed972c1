"""Restoring a backup: everything is prepared beside what it replaces, and then put into place.

The keys go first, and the old ones stay beside the new, so a kill at any moment leaves the old profiles or the new
ones, and in both cases the key that opens them. The configuration goes last: the folders that it names are then
complete.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.audit.files import LOCK as AUDIT_LOCK
from voiceauthd.backup import swap
from voiceauthd.backup.collect import SCORING
from voiceauthd.backup.contents import Contents
from voiceauthd.backup.places import Places, find_keys, find_places, places_of
from voiceauthd.backup.swap import Owner, Swap
from voiceauthd.config.edit import file_to_edit
from voiceauthd.config.load import load_config
from voiceauthd.embed.cache import find
from voiceauthd.embed.choose import EnrolledModel, how_to_get
from voiceauthd.errors import AlreadyRunningError, ConfigError, ModelError, StorageError, UsageError
from voiceauthd.profiles.folder import LOCK_FILE, PROFILES, STATE, folder_to_read
from voiceauthd.profiles.keys import Keys, KeySource, encode_keys
from voiceauthd.profiles.names import file_name, name_of_file
from voiceauthd.profiles.profile import Profile
from voiceauthd.profiles.sealed import seal_profile
from voiceauthd.scoring.backend import CALIBRATION, COHORT
from voiceauthd.service.own_folders import owner_of
from voiceauthd.users import user_name

AUDIT_FOLDER = "audit"

CONFIG_MODE = 0o644
"""Of a configuration file that is new."""


@dataclass(frozen=True, slots=True)
class RestoredProfile:
    """owner: the user of this machine whose voice it is. lost_owner: the name of one who does not exist here."""

    name: str
    owner: str | None
    lost_owner: str | None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done.

    key        id of the key that the profiles are sealed with; None without keys
    source     where that key is
    scoring    the folders of models in the scoring folder
    config     the configuration file that was written; None if it was left as it was
    missing    for each model of the profiles that the cache lacks: its name, and how to get it
    kept       old folders that have other files in them, and were moved there
    """

    places: Places
    profiles: list[RestoredProfile]
    key: str | None
    source: str | None
    scoring: list[str]
    config: Path | None
    missing: dict[str, str]
    kept: list[Path]


def plan(contents: Contents, file: Path | None, *, replace: bool, keep_config: bool) -> tuple[Places, Path | None]:
    """Return where to restore to, and where to write the backup's configuration; None if it is not written.

    file         the configuration file of --config; None for the one that would be used
    replace      a configuration file that exists
    keep_config  whatever is or is not there

    Raises `ConfigError`, also if the backup's configuration is not valid on this machine.
    """
    target = file_to_edit(os.environ) if file is None else file
    if contents.config is None or keep_config or (os.path.lexists(target) and not replace):
        return find_places(file), None
    try:
        return places_of(load_config(target, text=contents.config)), target.absolute()
    except ConfigError as problem:
        raise ConfigError(
            f"{problem}\nthe configuration in the backup cannot be used here; nothing was changed: --keep-config "
            "leaves it out"
        ) from None


def restore(contents: Contents, places: Places, *, replace: bool, config: Path | None) -> Restored:
    """Put the contents into place.

    replace  also over profiles, cohorts and calibrations that are there, all of which are removed
    config   where the backup's configuration is written; None: it is not

    Raises `AlreadyRunningError` if a daemon uses the state; `UsageError`, reason `exists`; `StorageError`. Nothing is
    changed then, except that empty folders may have been made.
    """
    owner = _owner_of(places)
    with _unused_state(places, owner):
        _require_replaceable(places, owner, replace=replace)
        _remove_leftovers(places, config)
        keys = _target_keys(contents, places, replace=replace)
        profiles, reports = _owned_here(contents)
        swaps: list[Swap] = []
        try:
            _stage(swaps, contents, places, owner, keys, profiles, config)
            swap.do_swaps(swaps)
        except OSError as error:
            raise swap.storage_error(str(error.filename or places.state), error) from error
        finally:
            kept = [each.new for each in swaps if not swap.remove_temporary(each.new, _is_ours)]
            _remove_leftovers(places, config)
    return Restored(
        places=places,
        profiles=reports,
        key=None if keys is None else keys.current.id,
        source=None if keys is None else str(keys.source),
        scoring=[each.folder for each in contents.scoring],
        config=config,
        missing=_missing_models(profiles, places),
        kept=kept,
    )


def _stage(
    swaps: list[Swap],
    contents: Contents,
    places: Places,
    owner: Owner,
    keys: Keys | None,
    profiles: list[Profile],
    config: Path | None,
) -> None:
    """Write everything new under temporary names, and add it to `swaps` in the order in which it is put into place.

    Raises `OSError`.
    """
    if keys is not None and keys.source is not None and not keys.source.credential:
        swaps.append(swap.stage_file(places.key_file, encode_keys(keys), owner))
    sealed = {} if keys is None else {file_name(each.name): seal_profile(each, keys.current) for each in profiles}
    if sealed or places.profiles.exists():
        _make_folders(places.profiles.parent, owner)
        swaps.append(swap.stage_folder(places.profiles, sealed, owner))
    scoring = {name: data for each in contents.scoring for name, data in each.files().items()}
    if scoring or places.scoring.exists():
        _make_folders(places.scoring.parent, owner)
        swaps.append(swap.stage_folder(places.scoring, scoring, owner))
    if config is not None and contents.config is not None:
        if not config.parent.is_dir():
            config.parent.mkdir(parents=True)
        mode = config.stat().st_mode & 0o777 if config.exists() else CONFIG_MODE
        swaps.append(swap.stage_file(config, contents.config.encode(), _like(config.parent), mode))


def _target_keys(contents: Contents, places: Places, *, replace: bool) -> Keys | None:
    """Return the keys that this machine will have; the first one seals what is restored.

    That is the first key of a credential, which is not written. Otherwise it is the first key of the backup; the keys
    that are here are kept behind it, so that no profile ever lacks its key, and until `voiceauth profiles rekey` drops
    those that no profile needs. None if there are none.
    """
    try:
        found = find_keys(places)
    except StorageError as problem:
        if not replace or problem.reason != "bad_key":
            raise
        found = None  # it opens nothing, so nothing is lost
    if found is not None and found.source is not None and found.source.credential:
        return found
    if not contents.keys:
        return found
    ours = contents.all_keys()
    others = [key for key in (() if found is None else found.all()) if key not in ours]
    return Keys(ours[0], (*ours[1:], *others), KeySource(places.key_file))


def _owned_here(contents: Contents) -> tuple[list[Profile], list[RestoredProfile]]:
    """Return the profiles with the owners that they have on this machine: the users of the same name."""
    profiles, reports = [], []
    for profile, owner in contents.all_profiles():
        uid = _uid(owner)
        profiles.append(dataclasses.replace(profile, owner_uid=uid))
        reports.append(
            RestoredProfile(profile.name, owner if uid is not None else None, owner if uid is None else None)
        )
    return profiles, reports


def _missing_models(profiles: list[Profile], places: Places) -> dict[str, str]:
    missing = {}
    for model in {EnrolledModel(each.model.name, each.model.revision, each.model.digest) for each in profiles}:
        try:
            there = find(model.name, model.revision, places.model_cache) is not None
        except ModelError:
            there = False
        if not there:
            missing[str(model)] = how_to_get(model)
    return missing


@contextmanager
def _unused_state(places: Places, owner: Owner) -> Iterator[None]:
    """Hold the locks that a daemon needs to start: that of the keys, and that of the audit log.

    Raises `AlreadyRunningError`, and `StorageError` for a folder that is not safe.
    """
    try:
        _make_folders(places.state, owner)
    except OSError as error:
        raise swap.storage_error(str(places.state), error) from error
    with ExitStack() as held:
        _require_stopped(places, held)
        held.enter_context(folder_to_read(places.state, STATE, locked=True))
        yield


def _require_stopped(places: Places, held: ExitStack) -> None:
    """Lock the audit log, if there is one. A daemon locks it as long as it runs."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        lock = os.open(places.state / AUDIT_FOLDER / AUDIT_LOCK, flags)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{places.state} cannot be locked ({error.strerror})", "unreadable") from error
    held.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise AlreadyRunningError(
            f"a daemon is using {places.state}; nothing was changed: stop it first, with `voiceauth service stop`, or "
            "Ctrl-C where it runs"
        ) from None


def _require_replaceable(places: Places, owner: Owner, *, replace: bool) -> None:
    """Raises `UsageError`, reason `exists`, if something would be replaced; `StorageError` for unsafe folders."""
    there = []
    for folder, kind in ((places.profiles, PROFILES), (places.scoring, SCORING)):
        if not os.path.lexists(folder):
            continue
        if folder.is_symlink():
            raise StorageError(f"{folder} is a symbolic link: name the folder itself in the configuration", "unsafe")
        with folder_to_read(folder, kind) as (_, uid):
            if owner is not None and uid not in {owner[0], 0}:
                raise StorageError(
                    f"{folder} belongs to {user_name(uid)}, and {places.state} to {user_name(owner[0])}: give it to "
                    "that user first",
                    "unsafe_folder",
                )
        if folder == places.profiles:
            count = sum(name_of_file(entry) is not None for entry in os.listdir(folder))
            there += [f"{count} profile{'s' if count != 1 else ''} in {folder}"] if count else []
        elif any(folder.glob(f"*/{COHORT}")):
            there.append(f"a cohort in {folder}")
    if there and not replace:
        raise UsageError(
            f"already there: {' and '.join(there)}; nothing was changed: --replace removes all of it and restores the "
            "backup",
            "exists",
        )


def _remove_leftovers(places: Places, config: Path | None) -> None:
    """Remove what a restore that was killed has left behind."""
    folders = {places.state, places.profiles.parent, places.scoring.parent}
    for folder in sorted(folders | ({config.parent} if config is not None else set())):
        for path in swap.temporaries_in(folder):
            swap.remove_temporary(path, _is_ours)


def _is_ours(name: str) -> bool:
    """Whether a file of the profiles' or the scoring folder, by its path in it, is one that a restore replaces."""
    file = name.rpartition("/")[2]
    return file in {COHORT, CALIBRATION, LOCK_FILE} or name_of_file(file) is not None or file.startswith(".voiceauth")


def _owner_of(places: Places) -> Owner:
    """Return whose state it is, if this is root; None for any other user, who owns what they make.

    Raises `StorageError`, reason `foreign_state`, if the state belongs to another user and this is not root.
    """
    uid = owner_of(places.state)
    if os.geteuid() == 0:
        return _like(places.state) if places.state.is_dir() else _with_group(0 if uid is None else uid)
    if uid is not None and uid not in {os.geteuid(), 0}:
        name = user_name(uid)
        raise StorageError(
            f"the state folder {places.state} belongs to {name}: run this as {name}, or as root", "foreign_state"
        )
    return None


def _with_group(uid: int) -> tuple[int, int]:
    try:
        return uid, pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid, 0


def _like(folder: Path) -> Owner:
    status = folder.stat()
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 else None


def _make_folders(path: Path, owner: Owner) -> None:
    """Make a folder and the missing ones above it, closed to others. Raises `OSError`."""
    if not path.exists():
        _make_folders(path.parent, owner)
        swap.make_folder(path, owner)


def _uid(name: str | None) -> int | None:
    try:
        return None if name is None else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None
