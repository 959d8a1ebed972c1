"""The cohort for score normalisation: embeddings of strangers that both sides of a comparison are compared with.

Some voices, and some microphones, have high cosines with everybody. The cosine of a voice and an enrolled one is
therefore normalised by the cosines of both with their nearest strangers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from voiceauthd.embed.embedding import ModelId, Vector
from voiceauthd.errors import ModelError, StorageError

NEAREST_SPEAKERS = 10
"""Number of strangers whose cosines are averaged, as in adaptive normalisation: the nearest are those that could be
taken for the speaker. With 130 strangers, 10 to 15 measured best; 50 doubled the equal error rate."""

MIN_SPEAKERS = 20
"""Minimum number of speakers in a cohort: with fewer, the nearest would be nearly all of them."""

FORMAT = "voiceauthd-cohort 1"

UNIT_TOLERANCE = 1e-3
"""How far the squared length of a vector may be from 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """One embedding per stranger.

    vectors   shape (speakers, dimension), rows of length 1
    speakers  their names in the source, so that evaluating that source compares nobody with themselves
    sources   where the speech came from, with its licence, as text
    """

    model: ModelId
    vectors: NDArray[np.float32]
    speakers: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the vectors, in hex. A calibration is valid for one digest only."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors, "<f4").tobytes()).hexdigest()

    def level(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean cosine of each vector with its `NEAREST_SPEAKERS` strangers. Shape (n, dimension) to (n,).

        The mean of adaptive s-norm (Matějka et al. 2017, "Analysis of score normalization in multilingual speaker
        recognition") without its division by the deviation, which is mostly noise for few strangers and measured worse.
        """
        cosines = np.asarray(vectors, np.float64) @ self.vectors.T.astype(np.float64)
        nearest = np.sort(cosines, axis=1)[:, -NEAREST_SPEAKERS:]
        level: NDArray[np.float64] = np.mean(nearest, axis=1)
        return level

    def without(self, speakers: Collection[str]) -> Cohort:
        """Return the cohort without these people; the same object if none of them is in it."""
        kept = [index for index, name in enumerate(self.speakers) if name not in speakers]
        if len(kept) == len(self.speakers):
            return self
        return Cohort(self.model, self.vectors[kept], tuple(self.speakers[index] for index in kept), self.sources)


def make_cohort(model: ModelId, voices: list[tuple[str, Vector]], sources: tuple[str, ...]) -> Cohort:
    """Make a cohort. voices: name and unit-length vector of each speaker. Raises `ModelError`, `cohort_too_small`."""
    if len(voices) < MIN_SPEAKERS:
        raise ModelError(
            f"a cohort needs at least {MIN_SPEAKERS} speakers; there are {len(voices)}", "cohort_too_small"
        )
    names = tuple(name for name, _ in voices)
    return Cohort(model, np.array([vector for _, vector in voices], np.float32), names, sources)


def encode_cohort(cohort: Cohort) -> bytes:
    """Return the content of a cohort file, in safetensors format."""
    about = {
        "format": FORMAT,
        "model": json.dumps(asdict(cohort.model)),
        "speakers": json.dumps(cohort.speakers),
        "sources": json.dumps(cohort.sources),
    }
    return save({"vectors": np.ascontiguousarray(cohort.vectors, np.float32)}, metadata=about)


def decode_cohort(data: bytes, model: ModelId | None, place: str) -> Cohort:
    """Return the cohort in the content of a file.

    model  the model that it must belong to; None for any
    place  the file, for messages

    Raises `StorageError`, reason `bad_cohort` if it is damaged or not a cohort, `wrong_model` if it is another model's.
    """
    try:
        found = _parse(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"{place} is not a valid cohort ({error}): build it again", "bad_cohort") from error
    if model is not None and found.model != model:
        raise StorageError(
            f"{place} is a cohort of {found.model}, but the model is {model}: build one with `voiceauth cohort build`",
            "wrong_model",
        )
    if len(found.speakers) < MIN_SPEAKERS:
        raise StorageError(
            f"{place} has {len(found.speakers)} speakers; a cohort needs at least {MIN_SPEAKERS}", "bad_cohort"
        )
    return found


def read_cohort(path: Path, model: ModelId) -> Cohort:
    """Read a cohort file. Raises `StorageError` as `decode_cohort` does, and if the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_cohort(data, model, str(path))


def _parse(data: bytes) -> Cohort:
    """Parse a cohort file. Raises various exceptions for other content, see the caller."""
    vectors = load(data)["vectors"]
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']!r}")
    model = msgspec.convert(json.loads(header["model"]), ModelId)
    speakers, sources = (msgspec.convert(json.loads(header[key]), tuple[str, ...]) for key in ("speakers", "sources"))
    if vectors.dtype != np.float32 or vectors.shape != (len(speakers), model.dimension):
        raise ValueError(f"vectors of {vectors.dtype}, shape {vectors.shape}, for {len(speakers)} speakers")
    if not bool((np.abs(np.sum(vectors.astype(np.float64) ** 2, axis=1) - 1.0) < UNIT_TOLERANCE).all()):
        raise ValueError("a vector does not have unit length")
    return Cohort(model, vectors, speakers, sources)
