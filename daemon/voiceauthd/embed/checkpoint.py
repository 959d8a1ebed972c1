"""Check and read checkpoint files of transformers without running code in them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from voiceauthd.embed.manifest import CONFIG, PICKLED_WEIGHTS, PREPROCESSOR, WEIGHTS
from voiceauthd.errors import ModelError

HEAD_TENSORS = ("projector.weight", "feature_extractor.weight", "tdnn.0.kernel.weight")
"""Tensors of an x-vector head, which a plain WavLM encoder does not have."""


def check_architecture(folder: Path) -> None:
    """Raises `ModelError`, reason `wrong_architecture`, unless `folder` holds a WavLM with an x-vector head.

    Looks at the names in config.json and in the safetensors file; loads no weights.
    """
    kind = read_json(folder / CONFIG).get("model_type")
    if kind != "wavlm":
        raise ModelError(f"{folder / CONFIG}: model_type is {kind!r}, not 'wavlm'", "wrong_architecture")
    try:
        with safe_open(folder / WEIGHTS, "pt") as weights:
            names = set(weights.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder / WEIGHTS}: cannot be read: {error}", "model_corrupt") from error
    check_head(names, folder)


def check_head(names: set[str], folder: Path) -> None:
    """Raises `ModelError`, reason `wrong_architecture`, if the names of the tensors lack an x-vector head."""
    missing = [name for name in HEAD_TENSORS if name not in names]
    if missing:
        raise ModelError(
            f"{folder}: a WavLM without a speaker head ({missing[0]} is missing); use one that was trained for speaker "
            "verification, such as microsoft/wavlm-base-sv",
            "wrong_architecture",
        )


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors in model.safetensors, otherwise in pytorch_model.bin, which is unpickled as weights only.

    Raises `ModelError`, reason `model_corrupt`, if they are damaged, and if there is neither.
    """
    if (folder / WEIGHTS).is_file():
        try:
            return load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{folder / WEIGHTS}: cannot be loaded: {error}", "model_corrupt") from error
    return _load_pickled(folder / PICKLED_WEIGHTS)


def convert_pickled(folder: Path) -> None:
    """Replace pytorch_model.bin by model.safetensors."""
    tensors = _load_pickled(folder / PICKLED_WEIGHTS)
    # Copied, because safetensors refuses tensors that share memory.
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    (folder / PICKLED_WEIGHTS).unlink()


def _load_pickled(path: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{path}: cannot be loaded: {reason}", "model_corrupt") from error
    if not (isinstance(tensors, dict) and tensors and all(isinstance(value, Tensor) for value in tensors.values())):
        raise ModelError(f"{path}: is not a plain dictionary of tensors", "model_corrupt")
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises `ModelError`, reason `model_corrupt`, for anything else."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", "model_corrupt") from error
    except ValueError as error:
        raise ModelError(f"{path}: damaged, it is not JSON", "model_corrupt") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: not a JSON object", "model_corrupt")
    return document


def normalises(folder: Path) -> bool:
    """Return whether the checkpoint's feature extractor normalises clips to zero mean and unit variance
    (`do_normalize`).

    The default, without a preprocessor_config.json or the key in it, is that of transformers'
    `Wav2Vec2FeatureExtractor`: true. Raises `ModelError`, reason `wrong_architecture`, for any other front end.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        return True
    document = read_json(path)
    extractor = document.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    rate, features = document.get("sampling_rate", 16_000), document.get("feature_size", 1)
    if (extractor, rate, features) != ("Wav2Vec2FeatureExtractor", 16_000, 1):
        raise ModelError(
            f"{path}: requires {extractor} at {rate} Hz with {features} channels, "
            "not Wav2Vec2FeatureExtractor at 16000 Hz with 1",
            "wrong_architecture",
        )
    normalise = document.get("do_normalize", True)
    if not isinstance(normalise, bool):
        raise ModelError(f"{path}: do_normalize is {normalise!r}, neither true nor false", "model_corrupt")
    return normalise
