"""The way of clips through a network, the same for every model: checked, grouped by length, one forward a group."""

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
    """One embedding a clip, in the order of the clips. No clip is padded: a forward gets clips of one length only.

    Raises `ModelError` if any clip or any result cannot be used (then there are no results at all), and if the forward
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
        except RuntimeError as error:  # what torch raises, out of memory included
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise ModelError(f"the model failed: {reason}", "forward_failed") from error
        if len(raw) != len(indices):
            raise ModelError(f"the model gave {len(raw)} results for {len(indices)} clips", "unusable_embedding")
        for index, vector in zip(indices, raw, strict=True):
            embeddings[index] = unit_embedding(vector, model)
    return [embeddings[index] for index in range(len(clips))]
