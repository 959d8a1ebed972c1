"""A cache of embedded recordings, so that a second evaluation embeds only new ones.

The key is the content of the recording and everything that the result depends on: model, configuration, the code
itself. A change of any of them is a cache miss, so nothing has to be deleted by hand. The files hold embeddings of
voices, which are biometric data: mode 0600, without names.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from voiceauthd.audio import block, decoder, file, media_file, mixdown, resample
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
"""To be raised when results change for a reason that no other part of the key covers."""

MODULES = (
    block,
    decoder,
    file,
    media_file,
    mixdown,
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
"""Modules whose source is part of the key: a stale result is worse than a slow one."""

PACKAGES = ("silero-vad", "webrtcvad-wheels", "soxr", "kaldi-native-fbank", "torch", "transformers", "av")
"""Packages whose version is part of the key."""


def default_cache() -> Path:
    """The cache in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "voiceauthd" / "evaluation"


class Cache:
    """Embedded recordings for one model and one configuration. An unreadable file counts as missing."""

    def __init__(self, folder: Path, model: ModelId, speech: SpeechConfig) -> None:
        """Raises `StorageError` if the folder cannot be created."""
        make_folder(folder)
        self._folder = folder
        self._context = json.dumps([VERSION, _code_digest(), asdict(model), asdict(speech)], sort_keys=True)

    def key(self, job: Job) -> str:
        """The key of a job's result, in hex. Raises `AudioError` if the recording cannot be read."""
        try:
            with job.path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise AudioError(f"{job.path}: cannot be read: {error.strerror or error}") from error
        degradation = job.degradation.key if job.degradation is not None else ""
        return hashlib.sha256(json.dumps([self._context, content, job.cuts, degradation]).encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """The data stored under `key`; None if there is none."""
        try:
            return (self._folder / key[:2] / key).read_bytes()
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Store `data`. Errors are ignored: what cannot be stored is computed again next time."""
        try:
            make_folder(self._folder / key[:2])
            write_whole(self._folder / key[:2] / key, data)
        except StorageError:
            pass


@functools.cache
def _code_digest() -> str:
    """One hash of the sources in `MODULES` and the versions of `PACKAGES`."""
    digest = hashlib.sha256()
    for module in MODULES:
        digest.update(Path(str(module.__file__)).read_bytes())
    for package in PACKAGES:
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            digest.update(package.encode())
    return digest.hexdigest()
