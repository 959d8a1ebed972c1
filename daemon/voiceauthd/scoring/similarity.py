"""How alike are a voice and the enrolled ones? Cosines, against the centroid and against the best exemplars.

The centroid is the steadier measure; the best exemplars keep a profile with several conditions (a headset, a room)
from being judged by a mean that is like none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.errors import ModelError
from voiceauthd.profiles.profile import Profile
from voiceauthd.scoring.decision import Score

BEST_EXEMPLARS = 3
"""So many of the closest exemplars are averaged: one alone is luck, all of them are the centroid again."""

EXEMPLAR_WEIGHT = 0.5
"""Share of the best exemplars in the score; the rest is the centroid's."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Profiles made ready to be compared with: immutable, swapped whole when a profile changes.

    names      one an identity
    centroids  shape (identities, dimension), rows of length 1
    exemplars  shape (all exemplars, dimension), rows of length 1, those of an identity together
    bounds     shape (identities + 1,): exemplars of identity i are rows bounds[i] to bounds[i + 1]
    """

    model: ModelId
    names: tuple[str, ...]
    centroids: NDArray[np.float32]
    exemplars: NDArray[np.float32]
    bounds: tuple[int, ...]


def make_gallery(profiles: Iterable[Profile], model: ModelId) -> Gallery:
    """Raises `ModelError`, reason `wrong_model`, if a profile is of another model than `model`."""
    chosen = sorted(profiles, key=lambda profile: profile.name)
    for profile in chosen:
        if profile.model != model:
            raise ModelError(f"profile {profile.name!r} belongs to {profile.model}, not to {model}", "wrong_model")
    rows = [exemplar.vector for profile in chosen for exemplar in profile.exemplars]
    counts = [len(profile.exemplars) for profile in chosen]
    return Gallery(
        model=model,
        names=tuple(profile.name for profile in chosen),
        centroids=np.array([profile.centroid for profile in chosen], np.float32).reshape(-1, model.dimension),
        exemplars=np.array(rows, np.float32).reshape(-1, model.dimension),
        bounds=(0, *(int(bound) for bound in np.cumsum(counts, dtype=np.int64))),
    )


def compare(embedding: Embedding, gallery: Gallery) -> list[Score]:
    """A score for each identity, best first; one that is not a number comes last.

    Raises `ModelError`, reason `wrong_model`, if the embedding is of another model than the gallery.
    """
    if embedding.model != gallery.model:
        raise ModelError(f"an embedding of {embedding.model} cannot meet one of {gallery.model}", "wrong_model")
    centroids = gallery.centroids @ embedding.vector
    exemplars = gallery.exemplars @ embedding.vector
    scores = []
    for index, name in enumerate(gallery.names):
        own = np.sort(exemplars[gallery.bounds[index] : gallery.bounds[index + 1]])
        best = float(np.mean(own[-BEST_EXEMPLARS:])) if len(own) else float("nan")
        centroid = float(centroids[index])
        cosine = (1.0 - EXEMPLAR_WEIGHT) * centroid + EXEMPLAR_WEIGHT * best
        scores.append(Score(name, cosine, centroid, best))
    return sorted(scores, key=lambda score: score.cosine if score.cosine == score.cosine else -np.inf, reverse=True)
