"""The manifest of a cached model: a small JSON file beside the weights that describes them and their digests.

Standard library only: listing models must not load one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from voiceauthd.errors import ModelError

CAMPPLUS = "campplus"
"""The embedded model, by name; every other name is a hub id or a folder."""

LOCAL_REVISION = "local"
"""The revision of a model in a folder that is not in the cache."""

Progress = Callable[[str], None]
"""Called with each line of progress."""

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PICKLED_WEIGHTS = "pytorch_model.bin"

MODEL_FILES = (CONFIG, PREPROCESSOR, WEIGHTS, PICKLED_WEIGHTS)
"""All files of a model that are ever read. One that is present but not in the manifest is refused."""

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a model comes from, and the digests of its files.

    name      the hub id or `campplus`
    revision  the hub's commit, or the checkpoint's version
    digest    SHA-256 of the weights as published, in hex, before any conversion to safetensors: the same on every
              machine, whatever wrote the safetensors file
    source    where it was fetched from, as text
    licence   of the weights
    fetched   ISO 8601, UTC
    files     SHA-256 in hex of each file beside the manifest, by name
    """

    name: str
    revision: str
    digest: str
    source: str
    licence: str
    fetched: str
    files: Mapping[str, str]


def describe(folder: Path, *, name: str, revision: str, digest: str, source: str, licence: str) -> Manifest:
    """Return the manifest of the model whose files are in `folder`."""
    files = {file: file_digest(folder / file) for file in MODEL_FILES if (folder / file).is_file()}
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(name, revision, digest, source, licence, fetched, files)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest beside the model's files. Not atomic: `folder` is a staging folder that nobody reads yet."""
    document = {"format": FORMAT, **asdict(manifest)}
    (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest. Raises `ModelError`; reason `model_corrupt` if it is not valid."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelError(f"{path}: damaged, it is not JSON; fetch the model again", "model_corrupt") from error
    return _checked(document, path)


def _checked(document: object, path: Path) -> Manifest:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"{path}: not a manifest of format {FORMAT}; fetch the model again", "model_corrupt")
    keys = ("name", "revision", "digest", "source", "licence", "fetched")
    texts = {key: document[key] for key in keys if isinstance(document.get(key), str)}
    files = document.get("files")
    if not (
        len(texts) == len(keys)
        and isinstance(files, dict)
        and WEIGHTS in files
        and all(file in MODEL_FILES and isinstance(digest, str) for file, digest in files.items())
    ):
        raise ModelError(f"{path}: incomplete; fetch the model again", "model_corrupt")
    return Manifest(**texts, files=files)


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its digest. Raises `ModelError`, `model_corrupt`, which names the first mismatch."""
    for file in MODEL_FILES:
        path = folder / file
        if file not in manifest.files:
            if path.exists():
                raise ModelError(f"{path}: not in the manifest; remove it", "model_corrupt")
        elif not path.is_file():
            raise ModelError(f"{path}: missing; fetch the model again", "model_corrupt")
        elif file_digest(path) != manifest.files[file]:
            raise ModelError(f"{path}: does not match its SHA-256; fetch the model again", "model_corrupt")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises `ModelError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
