"""Scores trials from embedded recordings. The only place where scoring is plugged into the evaluation.

A scorer works like the daemon: profiles made of exemplars, pooled speech, the gallery's comparison. It leaves out what
the daemon could not know: a trial's own speakers in the cohort, and in a calibration fitted on the same recordings.
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
from voiceauthd.profiles.take import chunks, counted_windows
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.pooled_speech import Pool, PooledSpeech
from voiceauthd.scoring.similarity import Gallery, compare, make_gallery

ENROLLED = "enrolled"
"""The name of the only identity in a gallery: names in a trial list need not be valid profile names."""

Enrolments = Mapping[str, Sequence[EmbeddedSpeech]]
"""The takes of each enrolment, by `enroll_id`."""

Tests = Mapping[str, EmbeddedSpeech]
"""Tests by `test_path`: whole, cut off or degraded."""


class Scorer(Protocol):
    """A method of scoring.

    name     for reports
    llr      whether its scores are log-likelihood ratios in natural logarithms
    backend  cohort and calibration, for reports
    """

    name: str
    llr: bool
    backend: Backend

    def backend_for(self, trial: Trial) -> Backend:
        """The backend for this trial."""
        ...

    def __call__(self, trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests]) -> list[Floats]:
        """For each set of tests, a score for each trial, shape (trials,). NaN, where there is no score, is a reject."""
        ...


class BackendScorer:
    """Scores with one backend: the daemon's own, or none. A trial's own speakers are left out of the cohort.

    Without a calibration, scores are raw cosines: the daemon then decides by them, with or without a cohort.
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
    """Score each trial with the scorer's backend for it. Without a calibration, scores are cosines."""
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
    """Make a profile of all speech in `takes`, however little. None without speech, or if the exemplars cancel out."""
    try:
        exemplars = tuple(
            Exemplar(chunk.vector, chunk.net_speech, chunk.snr_db, "default", "")
            for take in takes
            for chunk in chunks(counted_windows(take.windows, take.embeddings))
        )
        profile = Profile(ENROLLED, ENROLLED, 1, None, model, exemplars, "", "")
        return profile if exemplars and len(gallery_of(profile, model).centroids) else None
    except ModelError as error:
        if error.reason == "no_direction":
            return None
        raise


def gallery_of(profile: Profile, model: ModelId, backend: Backend = NO_BACKEND) -> Gallery:
    """A gallery with this profile as its only identity."""
    return make_gallery([profile], model, backend)


def pooled(recording: EmbeddedSpeech) -> PooledSpeech | None:
    """Pool all speech of a recording. None without a window, or if the embeddings cancel out."""
    pool = Pool()
    try:
        for window, embedding in zip(recording.windows, recording.embeddings, strict=True):
            pool.add(window, embedding)
        return pool.voice()
    except ModelError as error:
        if error.reason == "no_direction":
            return None
        raise


def pooled_sets(sets: Sequence[Tests]) -> list[dict[str, PooledSpeech | None]]:
    """The pooled tests of each set. A test that is shorter than a cut is the same object in several sets, and is pooled
    once."""
    known: dict[int, PooledSpeech | None] = {}
    for tests in sets:
        for test in tests.values():
            if id(test) not in known:
                known[id(test)] = pooled(test)
    return [{path: known[id(test)] for path, test in tests.items()} for tests in sets]
