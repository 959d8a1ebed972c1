"""Compare a voice with the enrolled ones.

Each condition of a profile (a headset, a room) has its own centroid, and the closest one counts: a mean over conditions
would be similar to none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceauthd.embed.embedding import ModelId, unit_mean
from voiceauthd.errors import ModelError
from voiceauthd.profiles.profile import Profile
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.calibration import Evidence
from voiceauthd.scoring.decision import Score
from voiceauthd.scoring.pooled_speech import PooledSpeech


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Profiles prepared for comparison. Immutable; replaced as a whole when a profile changes.

    names      one per identity
    centroids  shape (conditions of all identities, dimension), rows of length 1, those of an identity adjacent
    exemplars  number of exemplars of each row
    levels     shape (rows,): level of each row against the cohort, see `Cohort.level`; zeros without one
    bounds     shape (identities + 1,): identity i has rows bounds[i] to bounds[i + 1]
    """

    model: ModelId
    backend: Backend
    names: tuple[str, ...]
    centroids: NDArray[np.float32]
    exemplars: tuple[int, ...]
    levels: NDArray[np.float64]
    bounds: tuple[int, ...]


def make_gallery(profiles: Iterable[Profile], model: ModelId, backend: Backend = NO_BACKEND) -> Gallery:
    """Make a gallery. Raises `ModelError`, reason `wrong_model`, if a profile is of another model than `model`."""
    names, rows, counts, bounds = [], [], [], [0]
    for profile in sorted(profiles, key=lambda profile: profile.name):
        if profile.model != model:
            raise ModelError(f"profile {profile.name!r} belongs to {profile.model}, not to {model}", "wrong_model")
        names.append(profile.name)
        for condition in dict.fromkeys(exemplar.condition for exemplar in profile.exemplars):
            own = [exemplar.vector for exemplar in profile.exemplars if exemplar.condition == condition]
            rows.append(unit_mean(own))
            counts.append(len(own))
        bounds.append(len(rows))
    centroids = np.array(rows, np.float32).reshape(-1, model.dimension)
    levels = np.zeros(len(rows)) if backend.cohort is None else backend.cohort.level(centroids)
    return Gallery(model, backend, tuple(names), centroids, tuple(counts), levels, tuple(bounds))


def compare(voice: PooledSpeech, gallery: Gallery) -> list[Score]:
    """Return a score for each identity, best first; those that are not finite come last.

    Raises `ModelError`, reason `wrong_model`, if the voice is of another model than the gallery.
    """
    calibration = gallery.backend.calibration
    scores = [
        Score(name, cosine, evidence.normalised, None if calibration is None else calibration.llr(evidence))
        for name, (cosine, evidence) in zip(gallery.names, gather_evidence(voice, gallery), strict=True)
    ]
    return sorted(
        scores, key=lambda score: score.normalised if np.isfinite(score.normalised) else -np.inf, reverse=True
    )


def gather_evidence(voice: PooledSpeech, gallery: Gallery) -> list[tuple[float, Evidence]]:
    """Return, for each identity in the gallery's order, the cosine with its closest condition and the calibration's
    inputs.

    Raises `ModelError`, reason `wrong_model`, if the voice is of another model than the gallery.
    """
    if voice.embedding.model != gallery.model:
        raise ModelError(
            f"an embedding of {voice.embedding.model} cannot be compared with one of {gallery.model}", "wrong_model"
        )
    vector = voice.embedding.vector
    cohort = gallery.backend.cohort
    level = 0.0 if cohort is None else float(cohort.level(vector[np.newaxis])[0])
    cosines = gallery.centroids.astype(np.float64) @ vector.astype(np.float64)
    levels = (gallery.levels + level) / 2.0
    found = []
    for index in range(len(gallery.names)):
        own = slice(gallery.bounds[index], gallery.bounds[index + 1])
        if own.start == own.stop:
            found.append((np.nan, Evidence(np.nan, level, voice.net_speech, 0, voice.snr_db)))
            continue
        row = own.start + int(np.argmax(cosines[own] - levels[own]))  # argmax prefers NaN, which then rejects
        cosine, mean_level = float(cosines[row]), float(levels[row])
        evidence = Evidence(cosine - mean_level, mean_level, voice.net_speech, gallery.exemplars[row], voice.snr_db)
        found.append((cosine, evidence))
    return found
