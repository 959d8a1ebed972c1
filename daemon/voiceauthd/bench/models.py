"""The models that are measured: what is in the cache, and WavLM with random weights, whose speed is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceauthd.config.schema import ModelConfig
from voiceauthd.demo.stage import models_folder
from voiceauthd.embed.cache import find
from voiceauthd.embed.manifest import CAMPPLUS

WAVLM_BASE = "wavlm-base-random"
WAVLM_TINY = "wavlm-tiny-random"

RANDOM_NOTE = "random weights: speed only"

_SIZES: Mapping[str, Mapping[str, Any]] = {
    # config.json of microsoft/wavlm-base-sv; what is not here is WavLMConfig's own default there too.
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
    """A model that is measured. `name` as the configuration takes it; `note` says what its figures are good for."""

    label: str
    name: str
    note: str = ""

    @property
    def config(self) -> ModelConfig:
        """On the processor, with one thread."""
        return ModelConfig(name=self.name, device="cpu", threads=1, cache=models_folder())


class Models:
    """Models by name; those with random weights are written to `folder` when they are first asked for."""

    def __init__(self, chosen: str | None, folder: Path, say: Callable[[str], None]) -> None:
        """chosen: what the daemon runs; None: CAM++ if it is in the cache, else the tiny one."""
        self._chosen = chosen
        self._folder = folder
        self._say = say

    def chosen(self) -> Model:
        """What the daemon runs."""
        if self._chosen is not None:
            return self.named(self._chosen)
        campplus = self.campplus()
        return campplus if campplus is not None else self.named(WAVLM_TINY)

    def campplus(self) -> Model | None:
        """CAM++; None if it is not in the cache."""
        return None if find(CAMPPLUS, None, models_folder()) is None else Model(CAMPPLUS, CAMPPLUS)

    def named(self, name: str) -> Model:
        """The model of that name, which is not looked for yet."""
        if name not in _SIZES:
            return Model(name, name)
        folder = self._folder / name
        if not folder.exists():
            self._say(f"making {name}")
            write_random_wavlm(folder, name)
        return Model(name, str(folder), RANDOM_NOTE)


def random_wavlm_config(name: str) -> Any:  # noqa: ANN401  transformers has no types
    """The configuration of `wavlm-base-random` or `wavlm-tiny-random`, a `transformers.WavLMConfig`."""
    from transformers import WavLMConfig

    return WavLMConfig(**_SIZES[name])


def write_random_wavlm(folder: Path, name: str) -> None:
    """Writes a `WavLMForXVector` checkpoint with random weights as transformers does. Nothing is downloaded."""
    import torch
    from transformers import WavLMForXVector
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    WavLMForXVector(random_wavlm_config(name)).save_pretrained(folder)
