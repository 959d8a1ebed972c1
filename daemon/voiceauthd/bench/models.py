"""The models that are measured: those in the cache, and WavLM with random weights, whose speed is the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.cache import default_folder, find
from voiceauthd.embed.manifest import CAMPPLUS
from voiceauthd.errors import ConfigError

WAVLM_BASE = "wavlm-base-random"
WAVLM_TINY = "wavlm-tiny-random"

RANDOM_NOTE = "random weights: speed only"

_SIZES: Mapping[str, Mapping[str, Any]] = {
    # config.json of microsoft/wavlm-base-sv, without the values that are WavLMConfig's defaults.
    WAVLM_BASE: {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
        "use_weighted_layer_sum": True,
        "tdnn_dim": (512, 512, 512, 512, 1500),
        "tdnn_kernel": (5, 3, 3, 1, 1),
        "tdnn_dilation": (1, 2, 3, 1, 1),
        "xvector_output_dim": 512,
    },
    WAVLM_TINY: {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (32,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "tdnn_dim": (32, 32, 32, 32, 96),
        "xvector_output_dim": 24,
    },
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is measured. `name`: as in the configuration. `note`: what its results are good for."""

    label: str
    name: str
    note: str = ""

    @property
    def config(self) -> ModelConfig:
        """On the CPU, with one thread."""
        return ModelConfig(name=self.name, device="cpu", threads=1, cache=models_folder())


class Models:
    """Models by name. Those with random weights are written to `folder` on first use."""

    def __init__(self, chosen: str | None, folder: Path, progress: Callable[[str], None]) -> None:
        """chosen: the model that the daemon runs; None: CAM++ if it is in the cache, else the tiny WavLM."""
        self._chosen = chosen
        self._folder = folder
        self._progress = progress

    def chosen(self) -> Model:
        """The model that the daemon runs."""
        if self._chosen is not None:
            return self.named(self._chosen)
        campplus = self.campplus()
        return campplus if campplus is not None else self.named(WAVLM_TINY)

    def campplus(self) -> Model | None:
        """CAM++, or None if it is not in the cache."""
        return None if find(CAMPPLUS, None, models_folder()) is None else Model(CAMPPLUS, CAMPPLUS)

    def named(self, name: str) -> Model:
        """The model of that name. Whether the cache holds it is not checked here."""
        if name not in _SIZES:
            return Model(name, name)
        folder = self._folder / name
        if not folder.exists():
            self._progress(f"making {name}")
            write_random_wavlm(folder, name)
        return Model(name, str(folder), RANDOM_NOTE)


def models_folder() -> Path:
    """The configured model cache; the default one if the user's configuration is invalid."""
    try:
        configured = load_config(find_config(None, os.environ)).model.cache
    except ConfigError:
        configured = None
    return configured if configured is not None else default_folder()


def random_wavlm_config(name: str) -> Any:  # noqa: ANN401  transformers has no types
    """The `transformers.WavLMConfig` of `wavlm-base-random` or `wavlm-tiny-random`."""
    from transformers import WavLMConfig

    return WavLMConfig(**_SIZES[name])


def write_random_wavlm(folder: Path, name: str) -> None:
    """Write a `WavLMForXVector` checkpoint with random weights, as transformers does. Downloads nothing."""
    import torch
    from transformers import WavLMForXVector
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    WavLMForXVector(random_wavlm_config(name)).save_pretrained(folder)
