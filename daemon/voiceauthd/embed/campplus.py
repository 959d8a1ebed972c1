"""CAM++ as an embedder: small, fast on a CPU, and available without a model hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from voiceauthd.audio.block import Samples
from voiceauthd.embed.batch import embed_by_length
from voiceauthd.embed.campplus_net import EMBEDDING, CamPlusPlus
from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.embed.fbank import PREPROCESSING, Fbank
from voiceauthd.embed.manifest import WEIGHTS, Manifest
from voiceauthd.embed.tensors import Tensors
from voiceauthd.errors import ModelError

CAMPPLUS_THRESHOLD = 0.60
"""Cosine of the pooled speech of a request with a centroid, for decisions without a calibration. On the development
speech, processed by the daemon's pipeline, it accepts 6 of 3,013 non-target trials and rejects 14 of 336 target trials
(`benchmarks/choose_threshold.py` prints the table). The rates on other microphones were not measured."""


class CamPlusPlusEmbedder:
    """CAM++ with its front end. Implements `Embedder`."""

    threshold = CAMPPLUS_THRESHOLD

    def __init__(self, folder: Path, manifest: Manifest, device: torch.device) -> None:
        """Load the model in `folder`, whose files were verified.

        Raises `ModelError`, reason `model_corrupt` or `wrong_architecture`, for damaged weights or those of another
        network.
        """
        try:
            tensors = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{folder / WEIGHTS}: cannot be loaded: {error}", "model_corrupt") from error
        self._network = CamPlusPlus(Tensors(tensors, device))
        self._fbank = Fbank()
        self._device = device
        self.model = ModelId(manifest.name, manifest.revision, manifest.digest, PREPROCESSING, EMBEDDING)

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        """See `Embedder.embed`."""
        return embed_by_length(clips, self.model, self._forward)

    def _forward(self, clips: list[Samples]) -> NDArray[np.float32]:
        features = torch.from_numpy(np.stack([self._fbank(clip) for clip in clips]))
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self._network(features.to(self._device)).cpu().numpy()
        return vectors
