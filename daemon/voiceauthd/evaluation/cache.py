"""What was heard is kept, so that a second evaluation hears only what is new.

The key is the content of the recording and all that the result depends on: model, configuration, the code itself. So
a change of any of them misses, and nothing has to be thrown away by hand. What is kept are embeddings of voices:
biometric data, 0600, without names.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from voiceauthd.audio import block, file, resample
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.embed import batch, campplus, campplus_net, embedding, fbank, wavlm
from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import AudioError, StorageError
from voiceauthd.evaluation import embed_recording, embedded_recording
from voiceauthd.evaluation.embed_recording import Job
from voiceauthd.evaluation.files import make_folder, write_whole
from voiceauthd.pipeline import recogniser
from voiceauthd.speech import bandwidth, quality, segmenter, vad, window

VERSION = 1
"""Raise it when what is heard changes in a way that no other part of the key tells."""

CODE = (
    block,
    file,
    resample,
    segmenter,
    vad,
    quality,
    bandwidth,
    window,
    batch,
    campplus,
    campplus_net,
    embedding,
    fbank,
    wavlm,
    recogniser,
    embed_recording,
    embedded_recording,
)
"""Modules whose source is a part of the key: a stale figure is worse than a slow one."""

PACKAGES = ("silero-vad", "webrtcvad-wheels", "soxr", "kaldi-native-fbank", "torch", "transformers")
"""Packages whose version is a part of the key."""


def default_cache() -> Path:
    """In the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a path that is not absolute is to be ignored.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "voiceauthd" / "evaluation"


class Cache:
    """What was heard with one model and one configuration. A file that is torn, or cannot be read, was never there."""

    def __init__(self, folder: Path, model: ModelId, speech: SpeechConfig) -> None:
        """Raises `StorageError` if the folder cannot be made."""
        make_folder(folder)
        self._folder = folder
        self._circumstances = json.dumps([VERSION, _code(), asdict(model), asdict(speech)], sort_keys=True)

    def key(self, job: Job) -> str:
        """Of what comes of a job, in hex. Raises `AudioError` if the recording cannot be read."""
        try:
            with job.path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise AudioError(f"{job.path}: cannot be read: {error.strerror or error}") from error
        change = job.change.key if job.change is not None else ""
        return hashlib.sha256(json.dumps([self._circumstances, content, job.cuts, change]).encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """What `put` was given; None if there is nothing."""
        try:
            return (self._folder / key[:2] / key).read_bytes()
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keeps it. A full disk is no reason to fail: what cannot be kept is heard again next time."""
        try:
            make_folder(self._folder / key[:2])
            write_whole(self._folder / key[:2] / key, data)
        except StorageError:
            pass


@functools.cache
def _code() -> str:
    """The source that hears, and the versions of what it stands on, in one hash."""
    found = hashlib.sha256()
    for module in CODE:
        found.update(Path(str(module.__file__)).read_bytes())
    for package in PACKAGES:
        try:
            found.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            found.update(package.encode())
    return found.hexdigest()
