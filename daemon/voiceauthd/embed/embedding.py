"""An embedding, the model that it belongs to, and the interface of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.errors import ModelError

MIN_SAMPLES = RATE
"""Length of the shortest clip that is embedded: 1 s. WavLM's x-vector head raises below 4,880 samples and returns NaN
without an error up to 5,199; neither model's embeddings of less than a second are useful."""

SILENCE_DBFS = -70.0
"""A clip whose root mean square is at or below this is silence. The models return a plausible embedding for silence, so
it must not reach them."""

Vector = NDArray[np.float32]
"""Shape (dimension,), length 1."""


@dataclass(frozen=True, slots=True)
class ModelId:
    """The identity of a model: embeddings can be compared only if all of it is equal.

    name           the hub id, the folder name or `campplus`
    revision       the hub's commit or the checkpoint's version; "local" for a folder without one
    digest         SHA-256 of the weights, in hex
    preprocessing  version of the front end before the network
    dimension      length of a vector
    """

    name: str
    revision: str
    digest: str
    preprocessing: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:12]} ({self.digest[:12]})"


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A unit-length vector and its model. Embeddings of different models are never compared."""

    vector: Vector
    model: ModelId


class Embedder(Protocol):
    """A speaker embedding model, loaded and warm. Not thread-safe.

    threshold   cosine at which two voices count as the same if there is no calibration
    """

    model: ModelId
    threshold: float

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        """Return one embedding per clip, in order. Clips of equal length share a forward pass; none is padded.

        Raises `ModelError` for a clip that is too short, silent or not finite, and for a result that is not finite.
        """
        ...


def check_clip(samples: Samples) -> None:
    """Raises `ModelError`, reason `unusable_clip`, for a clip that must not reach a model."""
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ModelError(f"a clip must be mono float32, not {samples.dtype} of shape {samples.shape}", "unusable_clip")
    if len(samples) < MIN_SAMPLES:
        raise ModelError(
            f"a clip of {len(samples) / RATE:.2f} s is too short: the minimum is {MIN_SAMPLES / RATE:.0f} s",
            "unusable_clip",
        )
    power = float(np.dot(samples, samples)) / len(samples)
    if not np.isfinite(power):
        raise ModelError("a clip contains NaN or infinite samples", "unusable_clip")
    if power <= 10.0 ** (SILENCE_DBFS / 10.0):
        raise ModelError("a clip is silent", "unusable_clip")


def unit_embedding(raw: NDArray[np.float32], model: ModelId) -> Embedding:
    """Check the raw output of a network and scale it to length 1.

    raw: shape (model.dimension,). Raises `ModelError`, reason `unusable_embedding`, if the shape is wrong, a value is
    not finite, or the length is too small to have a direction.
    """
    if raw.shape != (model.dimension,):
        raise ModelError(f"the model returned shape {raw.shape}, not ({model.dimension},)", "unusable_embedding")
    vector = raw.astype(np.float64)
    norm = float(np.sqrt(np.dot(vector, vector)))
    if not (np.isfinite(norm) and norm > 1e-6):
        raise ModelError("the model returned no usable embedding (not finite, or of length 0)", "unusable_embedding")
    return Embedding((vector / norm).astype(np.float32), model)


def unit_mean(vectors: list[Vector], weights: list[float] | None = None) -> Vector:
    """Return the weighted mean of unit-length vectors, scaled to length 1. Shape (dimension,).

    Raises `ModelError`, reason `no_direction`, for an empty list and for vectors that cancel out.
    """
    if not vectors:
        raise ModelError("there are no vectors to average", "no_direction")
    mean = np.average(np.asarray(vectors, dtype=np.float64), axis=0, weights=weights)
    norm = float(np.sqrt(np.dot(mean, mean)))
    if not (np.isfinite(norm) and norm > 1e-3):
        raise ModelError("the vectors cancel each other out", "no_direction")
    unit: Vector = (mean / norm).astype(np.float32)
    return unit
