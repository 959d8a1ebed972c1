"""From what was heard to a score for each trial. The one place where scoring is plugged into the evaluation.

A scorer scores as the daemon does: profiles made of exemplars, a pooled voice, the gallery's comparison. What it leaves
out is what the daemon could not know: the trial's own speakers in the cohort, and in a calibration that was fitted on
the same recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import ModelError
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.metrics import Floats
from voiceauthd.evaluation.trials import Trial
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import chunks, pieces
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.pooled_speech import Pool, PooledSpeech
from voiceauthd.scoring.similarity import Gallery, compare, make_gallery

ENROLLED = "enrolled"
"""What the only identity in a gallery is called: names of a trial list need not be names of people."""

Enrolments = Mapping[str, Sequence[EmbeddedSpeech]]
"""The takes of each, by `enroll_id`."""

Tests = Mapping[str, EmbeddedSpeech]
"""By `test_path`; whole, or cut off, or changed."""


class Scorer(Protocol):
    """A way to score.

    name     what a report calls it
    llr      whether its scores are log-likelihood ratios in natural logarithms
    backend  what stands behind it, for a report
    """

    name: str
    llr: bool
    backend: Backend

    def backend_for(self, trial: Trial) -> Backend:
        """What this trial is scored with."""
        ...

    def __call__(self, trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests]) -> list[Floats]:
        """For each set of tests, a score for each trial, shape (trials,); NaN where nothing can be said, which
        rejects."""
        ...


class BackendScorer:
    """With one backend: the daemon's own, or none. The cohort never holds the trial's own speakers.

    Without a calibration scores are raw cosines, which is what the daemon then decides by, cohort or not.
    """

    def __init__(self, model: ModelId, backend: Backend = NO_BACKEND) -> None:
        self.llr = backend.calibration is not None
        self.name = "log-likelihood ratio" if self.llr else "raw cosine, uncalibrated"
        self.backend = backend
        self._model = model

    def backend_for(self, trial: Trial) -> Backend:
        """See `Scorer`."""
        return self.backend.without((trial.speaker, trial.test_speaker))

    def __call__(self, trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests]) -> list[Floats]:
        """See `Scorer`."""
        return score_all(self, self._model, trials, enrolments, sets)


def score_all(
    scorer: Scorer, model: ModelId, trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests]
) -> list[Floats]:
    """Each trial with the backend that the scorer has for it. Without a calibration, cosines."""
    profiles = {name: enrol(takes, model) for name, takes in enrolments.items()}
    voices = pooled_sets(sets)
    scores = np.full((len(sets), len(trials)), np.nan)
    galleries: dict[str, Gallery] = {}
    for index, trial in enumerate(trials):
        profile = profiles[trial.enroll_id]
        if profile is None:
            continue
        backend, gallery = scorer.backend_for(trial), galleries.get(trial.enroll_id)
        if gallery is None or gallery.backend is not backend:
            gallery = galleries[trial.enroll_id] = gallery_of(profile, model, backend)
        for row, tests in zip(scores, voices, strict=True):
            voice = tests[trial.test_path]
            if voice is not None:
                score = compare(voice, gallery)[0]
                row[index] = score.cosine if not scorer.llr else np.nan if score.llr is None else score.llr
    return list(scores)


def enrol(takes: Sequence[EmbeddedSpeech], model: ModelId) -> Profile | None:
    """A profile of all that was heard, however little; None for nothing, and for exemplars that cancel out."""
    try:
        exemplars = tuple(
            Exemplar(chunk.vector, chunk.net_speech, chunk.snr_db, "default", "")
            for take in takes
            for chunk in chunks(pieces(take.windows, take.embeddings))
        )
        profile = Profile(ENROLLED, ENROLLED, 1, None, model, exemplars, "", "")
        return profile if exemplars and len(gallery_of(profile, model).centroids) else None
    except ModelError as error:
        if error.reason == "no_direction":
            return None
        raise


def gallery_of(profile: Profile, model: ModelId, backend: Backend = NO_BACKEND) -> Gallery:
    """With one identity."""
    return make_gallery([profile], model, backend)


def pooled(take: EmbeddedSpeech) -> PooledSpeech | None:
    """All speech of a test as one voice; None without a window, and for embeddings that cancel out."""
    pool = Pool()
    try:
        for window, embedding in zip(take.windows, take.embeddings, strict=True):
            pool.add(window, embedding)
        return pool.voice()
    except ModelError as error:
        if error.reason == "no_direction":
            return None
        raise


def pooled_sets(sets: Sequence[Tests]) -> list[dict[str, PooledSpeech | None]]:
    """Of each set, the tests as voices. What a cut left whole is one take in several sets, and pooled once."""
    known: dict[int, PooledSpeech | None] = {}
    for tests in sets:
        for take in tests.values():
            if id(take) not in known:
                known[id(take)] = pooled(take)
    return [{path: known[id(take)] for path, take in tests.items()} for tests in sets]
