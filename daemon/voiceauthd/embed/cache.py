"""The model cache: one folder for each fetched model.

    <cache>/                                   0700
        campplus@cn_en_common/                 0700; the name with `--` for `/`, and the first of the revision
            manifest.json                      0600; name, source and the digests of the files
            model.safetensors                  0600
        microsoft--wavlm-base-sv@0123456789ab/
            manifest.json, config.json, preprocessor_config.json, model.safetensors
        .staging-*/                            being fetched or removed; locked by the working process
        .lock                                  held while folders appear or disappear

A model appears by a rename once it is complete and on the disk. A process that dies leaves a staging folder, which
nobody reads and the next fetch removes. A model's folder may be copied to another machine's cache as it is.

Standard library only at import: `voiceauth model list` must not load torch.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.atomic_file import make_folder
from voiceauthd.embed.manifest import (
    CAMPPLUS,
    MANIFEST,
    MODEL_FILES,
    Manifest,
    Progress,
    read_manifest,
    verify,
    write_manifest,
)
from voiceauthd.errors import ModelError
from voiceauthd.users import user_name

STAGING = ".staging-"

SYSTEM_FOLDER = Path("/var/lib/voiceauthd/models")


@dataclass(frozen=True, slots=True)
class CachedModel:
    """One model in the cache.

    size     bytes of all its files
    digest   SHA-256 of the weights as published, in hex; empty if the manifest cannot be read
    problem  why it cannot be used; None if every file was read and verifies
    fetched  ISO 8601, UTC
    """

    name: str
    revision: str
    size: int
    digest: str
    path: Path
    problem: str | None
    source: str = ""
    licence: str = ""
    fetched: str = ""

    @property
    def verified(self) -> bool:
        """Whether every file is what the manifest says."""
        return self.problem is None


def default_folder() -> Path:
    """The cache when the configuration names none: $VOICEAUTHD_MODEL_CACHE, else `models` in the state folder that
    systemd provides, else for root the service's cache if it exists, else `models` in the user's cache folder."""
    named = os.environ.get("VOICEAUTHD_MODEL_CACHE")
    if named:
        return Path(named)
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state) / "models"
    if os.geteuid() == 0 and SYSTEM_FOLDER.is_dir():
        return SYSTEM_FOLDER
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a path that is not absolute is to be ignored.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "voiceauthd" / "models"


def fetch(
    name: str, folder: Path | None = None, progress: Progress | None = None, revision: str | None = None
) -> CachedModel:
    """Download a model into the cache, unless it is there and verifies. The only function that uses a network.

    name      `campplus`, or the hub id of a `WavLMForXVector` checkpoint
    folder    the cache; None for `default_folder()`
    revision  the hub's branch, tag or commit; None for its default branch

    Raises `ModelError` with what to do if the download fails or its content is not what it should be.
    """
    # Imported here because these modules load torch.
    from voiceauthd.embed import fetch_campplus, fetch_hub

    folder = folder or default_folder()
    say = progress or (lambda _line: None)
    origin = fetch_campplus if name == CAMPPLUS else fetch_hub
    revision = origin.resolve(name, revision)
    there = folder / _folder_name(name, revision)
    if (there / MANIFEST).exists() and (model := describe_model(there)).verified:
        say(f"{name} is already in {there}")
        return model
    try:
        with _staging(folder) as staging:
            manifest = origin.download(name, revision, staging, say)
            write_manifest(manifest, staging)
            _seal(staging, folder)
            path = _install(staging, folder, manifest)
    except OSError as error:
        where = error.filename or folder
        raise ModelError(f"cannot write {name} to the model cache: {where}: {error.strerror or error}") from error
    say(f"{name} is in {path}")
    return describe_model(path)


def list_models(folder: Path | None = None) -> list[CachedModel]:
    """The models in the cache by name, newest first. Reads every file to verify it. Empty without a cache.

    Raises `ModelError` if the folder cannot be read.
    """
    models = [describe_model(path) for path in _folders(folder or default_folder())]
    return sorted(sorted(models, key=lambda model: model.fetched, reverse=True), key=lambda model: model.name)


def describe_model(path: Path) -> CachedModel:
    """The model in one folder of the cache, verified."""
    size = sum((path / file).stat().st_size for file in MODEL_FILES if (path / file).is_file())
    try:
        manifest = read_manifest(path)
    except ModelError as error:
        name, _, revision = path.name.replace("--", "/").partition("@")
        return CachedModel(name, revision, size, "", path, str(error))
    problem = None
    try:
        verify(path, manifest)
    except ModelError as error:
        problem = str(error)
    known = (manifest.source, manifest.licence, manifest.fetched)
    return CachedModel(manifest.name, manifest.revision, size, manifest.digest, path, problem, *known)


def find(name: str, revision: str | None, folder: Path | None = None) -> Path | None:
    """The folder of a model that the cache holds: the newest, or the one whose revision begins with `revision`.

    None if there is none. Verifies nothing. Raises `ModelError` if the only candidates have a damaged manifest.
    """
    found: list[tuple[str, Path]] = []
    torn: ModelError | None = None
    for path in _folders(folder or default_folder()):
        try:
            manifest = read_manifest(path)
        except ModelError as error:
            if path.name.startswith(_folder_name(name, revision or "")):
                torn = error
            continue
        if manifest.name == name and manifest.revision.startswith(revision or ""):
            found.append((manifest.fetched, path))
    if not found and torn is not None:
        raise torn
    return max(found)[1] if found else None


def remove(name: str, folder: Path | None = None, revision: str | None = None) -> list[Path]:
    """Delete a model from the cache: all revisions, or those that begin with `revision`. Returns the folders deleted.

    Raises `ModelError` if there is none, or if it cannot be deleted.
    """
    folder = folder or default_folder()
    chosen = [model.path for model in list_models(folder) if _is(model, name, revision)]
    if not chosen:
        which = name if revision is None else f"{name} at revision {revision}"
        raise ModelError(f"the model cache {folder} has no {which}; `voiceauth model list` shows what it has")
    try:
        for path in chosen:
            with _staging(folder) as staging, _locked(folder):
                path.rename(staging / path.name)
    except OSError as error:
        raise ModelError(f"cannot delete {error.filename or folder}: {error.strerror or error}") from error
    return chosen


def _is(model: CachedModel, name: str, revision: str | None) -> bool:
    return model.name == name and model.revision.startswith(revision or "")


def _folder_name(name: str, revision: str) -> str:
    return f"{name.replace('/', '--')}@{revision[:12]}"


def require_trusted(folder: Path) -> None:
    """Refuse a cache that another user can change: whoever supplies the model decides who is accepted.

    The folder must belong to this user, to root, or, for root, to the owner of the service's state; nobody else may
    write to it. Raises `ModelError`, reason `untrusted_cache`.
    """
    try:
        found = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    owners = {0, os.geteuid()}
    if os.geteuid() == 0 and folder == SYSTEM_FOLDER:
        owners.add(folder.parent.stat().st_uid)
    if found.st_uid not in owners:
        own = user_name(os.geteuid())
        raise ModelError(
            f"the model cache {folder} belongs to {user_name(found.st_uid)}, who could replace the model: use a cache "
            f"of {own} or root (`model.cache`), or `sudo chown -R {own} {folder}`",
            "untrusted_cache",
        )
    if found.st_mode & stat.S_IWOTH:
        raise ModelError(
            f"the model cache {folder} can be written by every user, who could replace the model: `chmod o-w {folder}`",
            "untrusted_cache",
        )


def snapshot(folder: Path, *others: Path) -> frozenset[tuple[str, int, int]]:
    """Path, size and time of every model file in the cache and in the folders `others`: differs after a model was
    fetched, copied or removed. Reads no file. Leaves out what cannot be looked at.
    """
    found = set()
    try:
        models = [folder / entry for entry in os.listdir(folder) if entry[0] != "."]
    except OSError:
        models = []
    for path in (model / file for model in (*models, *others) for file in (MANIFEST, *MODEL_FILES)):
        try:
            seen = path.stat()
        except OSError:
            continue
        found.add((str(path), seen.st_size, seen.st_mtime_ns))
    return frozenset(found)


def _folders(folder: Path) -> list[Path]:
    """The folders of the cache that hold a model. Raises `ModelError` for one that may not be read."""
    try:
        names = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    found = []
    for path in names:
        try:
            (path / MANIFEST).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(path, error, "model folder") from error
        found.append(path)
    return found


def _unreadable(folder: Path, error: OSError, what: str = "model cache") -> ModelError:
    """The error for a folder that this user may not read, with its owner and the command that helps."""
    own = user_name(os.geteuid())
    try:
        found = folder.stat()
    except OSError:  # a folder above is closed
        return ModelError(
            f"the {what} {folder} cannot be read by {own} ({error.strerror}): give {own} access to the folders "
            "above it, or choose another `model.cache`"
        )
    owner = user_name(found.st_uid)
    return ModelError(
        f"the {what} {folder} belongs to {owner}, and {own} cannot read it ({error.strerror}): "
        f"`sudo chown -R {own} {folder}`, or choose another `model.cache`"
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the cache's lock. The kernel releases it when the process dies."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """An empty folder inside the cache, locked while this process uses it and deleted afterwards."""
    make_folder(folder)
    with _locked(folder):
        for path in folder.glob(f"{STAGING}*"):
            _sweep(path)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
        at_work = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(at_work, fcntl.LOCK_EX)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(at_work)


def _sweep(staging: Path) -> None:
    """Delete a staging folder whose process has died."""
    try:
        handle = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(staging, ignore_errors=True)
    except BlockingIOError:
        pass  # another process is using it
    finally:
        os.close(handle)


def _give(path: Path, like: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)


def _seal(staging: Path, folder: Path) -> None:
    """Make the files 0600, owned by the owner of the cache, and flush them to the disk."""
    owner = folder.stat()
    _give(folder / ".lock", owner)
    for path in (*staging.iterdir(), staging):
        path.chmod(0o700 if path.is_dir() else 0o600, follow_symlinks=True)
        _give(path, owner)
        _sync(path)


def _install(staging: Path, folder: Path, manifest: Manifest) -> Path:
    """Rename the fetched model into place, unless the same model is there already and verifies."""
    target = folder / _folder_name(manifest.name, manifest.revision)
    with _locked(folder):
        if target.exists():
            there = describe_model(target)
            if there.verified and there.digest == manifest.digest:
                return target
            with tempfile.TemporaryDirectory(prefix=STAGING, dir=folder) as aside:
                target.rename(Path(aside) / "old")
                staging.rename(target)
        else:
            staging.rename(target)
        _sync(folder)
    return target


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
