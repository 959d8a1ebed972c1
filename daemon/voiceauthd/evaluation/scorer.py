"""From what was heard to a score for each trial. The one place where scoring is plugged into the evaluation.

A scorer sees all trials at once, with the speakers of each: one that is calibrated on the same recordings can leave a
trial's own speakers out of what it scores that trial with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.evaluation.metrics import Floats
from voiceauthd.evaluation.takes import Take
from voiceauthd.evaluation.trials import Trial
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import chunks, pieces
from voiceauthd.scoring.sequential import Pool
from voiceauthd.scoring.similarity import Gallery, compare, make_gallery


class Scorer(Protocol):
    """A way to score.

    name  what a report calls it
    llr   whether its scores are log-likelihood ratios in natural logarithms
    """

    name: str
    llr: bool

    def __call__(
        self, trials: Sequence[Trial], enrolments: Mapping[str, Sequence[Take]], tests: Mapping[str, Take]
    ) -> Floats:
        """A score for each trial, shape (trials,); NaN where nothing can be said, which rejects.

        enrolments  the takes of each enrolment, by `enroll_id`
        tests       by `test_path`; whole, or cut off, or changed
        """
        ...


class RawCosine:
    """As the daemon scores without a calibration: pooled test speech against centroid and best exemplars."""

    name = "raw cosine, uncalibrated"
    llr = False

    def __init__(self, model: ModelId) -> None:
        self._model = model

    def __call__(
        self, trials: Sequence[Trial], enrolments: Mapping[str, Sequence[Take]], tests: Mapping[str, Take]
    ) -> Floats:
        """See `Scorer`. Cosines."""
        galleries = {name: self._enrol(name, takes) for name, takes in enrolments.items()}
        voices = {path: pooled(take) for path, take in tests.items()}
        scores = np.full(len(trials), np.nan)
        for index, trial in enumerate(trials):
            voice, gallery = voices[trial.test_path], galleries[trial.enroll_id]
            if voice is not None and gallery.names:
                scores[index] = compare(voice, gallery)[0].cosine
        return scores

    def _enrol(self, name: str, takes: Sequence[Take]) -> Gallery:
        exemplars = tuple(
            Exemplar(chunk.vector, chunk.net_speech, chunk.snr_db, "default", "")
            for take in takes
            for chunk in chunks(pieces(take.windows, take.embeddings))
        )
        profile = Profile(name, name, 1, None, self._model, exemplars, "", "")
        return make_gallery([profile] if exemplars else [], self._model)


def pooled(take: Take) -> Embedding | None:
    """All speech of a test as one voice; None without a window."""
    pool = Pool()
    for window, embedding in zip(take.windows, take.embeddings, strict=True):
        pool.add(window, embedding)
    return pool.voice()
