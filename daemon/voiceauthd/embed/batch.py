"""Embed clips with any network: check them, group them by length, and run one forward pass per group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import Samples
from voiceauthd.embed.embedding import Embedding, ModelId, check_clip, unit_embedding
from voiceauthd.errors import ModelError

Forward = Callable[[list[Samples]], NDArray[np.float32]]
"""Clips of one length to the raw output of the network, shape (clips, dimension)."""


def embed_by_length(clips: Sequence[Samples], model: ModelId, forward: Forward) -> list[Embedding]:
    """Return one embedding per clip, in order. No clip is padded: a forward pass gets clips of one length only.

    Raises `ModelError` if any clip or any result is unusable (no results are returned then), and if the forward pass
    itself fails.
    """
    groups: dict[int, list[int]] = {}
    for index, clip in enumerate(clips):
        check_clip(clip)
        groups.setdefault(len(clip), []).append(index)
    embeddings: dict[int, Embedding] = {}
    for indices in groups.values():
        try:
            raw = forward([clips[index] for index in indices])
        except RuntimeError as error:  # torch raises these, also when out of memory
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise ModelError(f"the model failed: {reason}", "forward_failed") from error
        if len(raw) != len(indices):
            raise ModelError(f"the model returned {len(raw)} results for {len(indices)} clips", "unusable_embedding")
        for index, vector in zip(indices, raw, strict=True):
            embeddings[index] = unit_embedding(vector, model)
    return [embeddings[index] for index in range(len(clips))]
