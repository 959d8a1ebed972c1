"""Models and speech shared by the tests.

`campplus_cache()` is the real CAM++ in the model cache; `tiny_wavlm()` writes a small WavLM x-vector checkpoint with
random weights.
"""

from __future__ import annotations

import csv
import functools
import os
from pathlib import Path

import pytest

from voiceauthd.embed.cache import describe_model, fetch, find
from voiceauthd.embed.manifest import CAMPPLUS
from voiceauthd.errors import ModelError

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech"


@functools.cache
def _campplus() -> Path | str:
    """Return the cache with CAM++, or why there is none."""
    folder = os.environ.get("VOICEAUTHD_MODEL_CACHE")
    cache = Path(folder) if folder else None
    path = find(CAMPPLUS, None, cache)
    if path is not None and describe_model(path).verified:
        return path.parent
    try:
        return fetch(CAMPPLUS, cache).path.parent
    except ModelError as error:
        return f"no CAM++ model: {error}"


def campplus_cache() -> Path:
    """Return the model cache with CAM++: $VOICEAUTHD_MODEL_CACHE, otherwise the default. Fetches it if it is missing.

    Skips the test, with the reason, if the model is not available.
    """
    cache = _campplus()
    if isinstance(cache, str):
        pytest.skip(cache)
    return cache


def development_speech() -> Path:
    """Return the folder of the development speech. Skips the test if there is none."""
    folder = SPEECH / "dev"
    if not (folder / "trials.csv").is_file():
        pytest.skip("no development speech: ../shared/speech does not exist")
    return folder


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    """Return a table of the development speech: `manifest.csv`, `enroll.csv` or `trials.csv`."""
    with (folder / table).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tiny_wavlm(folder: Path, seed: int = 0, *, normalise: bool | None = True, **changes: object) -> Path:
    """Write a small `WavLMForXVector` with random weights as transformers does: config, weights, preprocessor.

    normalise  `do_normalize` of the preprocessor; None writes no preprocessor_config.json
    changes    to the configuration
    """
    import torch
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    torch.manual_seed(seed)
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (32, 32, 32, 32, 32, 32, 32),
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "tdnn_dim": (32, 32, 32, 32, 96),
        "xvector_output_dim": 24,
        # With random weights of the usual size all embeddings are similar; with larger ones they differ.
        "initializer_range": 0.3,
    }
    model = WavLMForXVector(WavLMConfig(**settings | changes)).eval()
    model.save_pretrained(folder)
    if normalise is not None:
        Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=normalise).save_pretrained(folder)
    return folder
