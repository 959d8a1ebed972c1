"""WavLM with an x-vector head as an embedder: any checkpoint of transformers' `WavLMForXVector`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import WavLMConfig, WavLMForXVector
from transformers.utils import logging

from voiceauthd.audio.block import Samples
from voiceauthd.embed.batch import embed_by_length
from voiceauthd.embed.checkpoint import check_head, load_weights, normalises, read_json
from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.embed.manifest import CONFIG, Manifest
from voiceauthd.errors import ModelError

WAVLM_THRESHOLD = 0.86
"""Cosine, from the example in the model card of microsoft/wavlm-base-sv, which says that the best threshold depends on
the data. Not measured in this project, so decisions with it are uncalibrated."""

VARIANCE_FLOOR = 1e-7
"""Added by transformers to the variance of a clip before dividing by its square root."""

UNUSED = ("classifier.", "objective.", "wavlm.masked_spec_embed")
"""Parts of the network that are not used for embeddings; a checkpoint may lack them."""


class WavLMEmbedder:
    """A WavLM x-vector model with its front end. Implements `Embedder`.

    The vector is the model's `.embeddings`; its `.logits` are one layer further on and nearly unrelated. Clips are not
    padded: base models normalise over time in their first layer, so padding would change the embedding.
    """

    threshold = WAVLM_THRESHOLD

    def __init__(self, folder: Path, manifest: Manifest, device: torch.device) -> None:
        """Load the model in `folder`. Reads no other folder and uses no network.

        Raises `ModelError`, reason `model_corrupt` or `wrong_architecture`, for a checkpoint that is damaged or is not
        a WavLM with an x-vector head.
        """
        self._normalise = normalises(folder)
        self._network = _load_network(folder).to(device)
        self._device = device
        preprocessing = "zero-mean-unit-variance/1" if self._normalise else "plain/1"
        dimension = self._network.get_submodule("feature_extractor").get_parameter("bias").shape[0]
        self.model = ModelId(manifest.name, manifest.revision, manifest.digest, preprocessing, dimension)

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        """See `Embedder.embed`."""
        return embed_by_length(clips, self.model, self._forward)

    def _forward(self, clips: list[Samples]) -> NDArray[np.float32]:
        values = np.stack([_zero_mean_unit_variance(clip) for clip in clips] if self._normalise else clips)
        with torch.inference_mode():
            output = self._network(torch.from_numpy(values).to(self._device))
        vectors: NDArray[np.float32] = output.embeddings.float().cpu().numpy()
        return vectors


def _zero_mean_unit_variance(clip: Samples) -> Samples:
    """Normalise as transformers' `Wav2Vec2FeatureExtractor` does with `do_normalize`."""
    scaled: Samples = (clip - clip.mean()) / np.sqrt(clip.var() + VARIANCE_FLOOR)
    return scaled


def _load_network(folder: Path) -> nn.Module:
    document = read_json(folder / CONFIG)
    kind = document.get("model_type")
    if kind != "wavlm":
        raise ModelError(f"{folder / CONFIG}: model_type is {kind!r}, not 'wavlm'", "wrong_architecture")
    weights = load_weights(folder)
    check_head(set(weights), folder)
    # Otherwise transformers writes to the terminal.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        # Without a folder or name transformers searches neither the disk nor a hub.
        loaded: Any = WavLMForXVector.from_pretrained(
            None,
            config=WavLMConfig.from_dict(document),
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # An invalid configuration can raise any exception anywhere inside transformers.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{folder}: transformers cannot load this checkpoint: {reason}", "model_corrupt") from error
    network: nn.Module = loaded[0]
    report: dict[str, Any] = loaded[1]
    missing = [name for name in sorted(report["missing_keys"]) if not name.startswith(UNUSED)]
    if missing or report["mismatched_keys"]:
        first = missing[0] if missing else str(sorted(report["mismatched_keys"])[0])
        raise ModelError(f"{folder}: the weights do not match the configuration: {first}", "wrong_architecture")
    network.eval()
    return network
