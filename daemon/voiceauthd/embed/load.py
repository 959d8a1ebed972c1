"""From the configuration to an embedder that is verified, loaded and warm. Every model is loaded through here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.cache import default_folder, find, require_trusted
from voiceauthd.embed.choose import MISSING, choose_model
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.manifest import (
    CAMPPLUS,
    CONFIG,
    LOCAL_REVISION,
    MANIFEST,
    PICKLED_WEIGHTS,
    WEIGHTS,
    Manifest,
    file_digest,
    read_manifest,
    verify,
)
from voiceauthd.errors import ModelError

if TYPE_CHECKING:
    import torch

WARM_UP_SECONDS = 1.5
"""Length of the first forward, whose result is not used: the shortest window that the daemon cuts."""

NOISE_LEVEL = 0.1
"""Standard deviation of its input noise, full scale 1: -20 dBFS."""


def load_embedder(model: ModelConfig) -> Embedder:
    """Load the configured model. Never uses a network: the model must be in the cache or in a folder.

    `model.name` is `auto` (see choose.py), `campplus`, a hub id, or a folder: its path, or a name that the cache does
    not have. The SHA-256 of the weights is checked, torch's threads are set, and one clip is embedded, so that a model
    that returns nonsense is found here.

    Raises `ModelError`, one line with what to do: the model is missing (reason `MISSING`), damaged or of another
    architecture, or the configured device is missing.
    """
    folder, manifest = locate(model)
    # Threads that wait for work must sleep instead of spinning. Read by torch's OpenMP runtime when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    device = _prepare_torch(model)
    embedder = _load(folder, manifest, device)
    noise = np.random.default_rng(0).normal(0.0, NOISE_LEVEL, int(WARM_UP_SECONDS * RATE)).astype(np.float32)
    embedder.embed([noise])
    return embedder


def _load(folder: Path, manifest: Manifest, device: torch.device) -> Embedder:
    # Imported here so that CAM++ does not wait for transformers, which takes seconds to import.
    if manifest.name == CAMPPLUS:
        from voiceauthd.embed.campplus import CamPlusPlusEmbedder

        return CamPlusPlusEmbedder(folder, manifest, device)
    from voiceauthd.embed.wavlm import WavLMEmbedder

    return WavLMEmbedder(folder, manifest, device)


def _prepare_torch(model: ModelConfig) -> torch.device:
    """Set torch's process-wide options and pick the device. Raises `ModelError` if the device is missing."""
    import torch

    torch.set_num_threads(model.threads)
    # Reduced precision in convolutions would make embeddings depend on the processor.
    torch.backends.cudnn.allow_tf32 = False
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = (
        next(device for device in ("cuda", "mps", "cpu") if available[device])
        if model.device == "auto"
        else model.device
    )
    if not available.get(name, False):
        has = ", ".join(device for device, found in available.items() if found)
        raise ModelError(f"model.device is {name}, and this machine has only: {has}", "no_device")
    return torch.device(name)


def locate(model: ModelConfig) -> tuple[Path, Manifest]:
    """The folder of the model and its manifest, with every file verified. Raises `ModelError`. Loads nothing."""
    model = choose_model(model).config
    cache = model.cache or default_folder()
    given = Path(model.name).expanduser()
    written_as_path = model.name.startswith(("/", ".", "~"))
    folder = None if written_as_path else find(model.name, model.revision, cache)
    if folder is not None:
        require_trusted(cache)
    elif written_as_path or given.is_dir():
        folder = given
    if folder is None:
        which = model.name if model.revision is None else f"{model.name} at revision {model.revision}"
        raise ModelError(
            f"the model {which} is not in the model cache {cache}: run `voiceauth model fetch {model.name}` here, or "
            f"on a connected machine and copy the folder{_or_campplus(model.name)}",
            MISSING,
        )
    if not folder.is_dir():
        raise ModelError(f"the model folder {folder} does not exist{_or_campplus(model.name)}", MISSING)
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        verify(folder, manifest)
        return folder, manifest
    return folder, _local_manifest(folder)


def _local_manifest(folder: Path) -> Manifest:
    """The manifest of a folder that was not fetched: its weights have a digest, but nothing to compare it with."""
    weights = next((file for file in (WEIGHTS, PICKLED_WEIGHTS) if (folder / file).is_file()), None)
    for needed, there in ((CONFIG, (folder / CONFIG).is_file()), (f"{WEIGHTS} or {PICKLED_WEIGHTS}", weights)):
        if not there:
            raise ModelError(f"the model folder {folder} has no {needed}; a WavLMForXVector checkpoint has one")
    digest = file_digest(folder / str(weights))
    name = folder.resolve().name
    return Manifest(name, LOCAL_REVISION, digest, f"the folder {folder}", "unknown", "", {})


def _or_campplus(name: str) -> str:
    return "" if name == CAMPPLUS else f", or set `model.name: {CAMPPLUS}`"
