"""The data that a calibration is fitted on: the inputs of each trial, cut and whole.

The cosines with the cohort are kept, largest first, so that the inputs can be recomputed as if some people did not
exist: without their trials, and without them in the cohort.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voiceauthd.embed.embedding import ModelId
from voiceauthd.evaluation.metrics import Bools, Floats
from voiceauthd.evaluation.scorer import Enrolments, Tests, enrol, gallery_of, pooled
from voiceauthd.evaluation.trials import Trial
from voiceauthd.scoring.calibration import INPUTS, Calibration
from voiceauthd.scoring.cohort import NEAREST_SPEAKERS, Cohort
from voiceauthd.scoring.pooled_speech import PooledSpeech

NORMALISED, LEVEL, NET_SPEECH, PRODUCT, EXEMPLARS, SNR = range(len(INPUTS))

Indices = NDArray[np.intp]

NOT_IN_TRIALS = -1
"""Index of cohort speakers who are in no trial."""


@dataclass(frozen=True, slots=True, eq=False)
class CohortCosines:
    """The cosines of some voices with the cohort.

    cosines         shape (voices, cohort), each row falling
    speakers        shape (voices, cohort): the cohort speaker of each cosine, as an index into `FittingData.people`, or
                    `NOT_IN_TRIALS`
    max_embeddings  largest number of embeddings in the cohort that one person has
    """

    cosines: Floats
    speakers: Indices
    max_embeddings: int

    def without(self, people: Indices) -> CohortCosines:
        """The same with a cohort that these people are not in."""
        kept = ~np.isin(self.speakers, people)  # the same number in each row
        shape = (len(self.speakers), int(np.sum(kept[:1])))
        return CohortCosines(self.cosines[kept].reshape(shape), self.speakers[kept].reshape(shape), self.max_embeddings)

    def level(self, rows: Indices, one: Indices, other: Indices) -> Floats:
        """Like `Cohort.level` for each row's voice, without the row's two people in the cohort. Shape (rows,)."""
        reach = NEAREST_SPEAKERS + 2 * self.max_embeddings
        cosines, speakers = self.cosines[rows, :reach], self.speakers[rows, :reach]
        counted = (speakers != one[:, np.newaxis]) & (speakers != other[:, np.newaxis])
        counted &= np.cumsum(counted, axis=1) <= NEAREST_SPEAKERS
        level: Floats = np.sum(cosines * counted, axis=1) / np.sum(counted, axis=1)
        return level


@dataclass(frozen=True, slots=True, eq=False)
class FittingData:
    """A row for each trial and duration that has a window. Arrays have shape (rows,).

    cosine, net_speech, exemplars, snr_db  as in `Evidence`; the SNR is NaN if it is unknown
    enrolled, tested  the two people, as indices into `people`
    duration   index into the sets of tests
    trial      index of the trial
    profile, voice  the enrolled and the tested voice, as rows of `profile_cosines` and `voice_cosines`
    """

    cosine: Floats
    net_speech: Floats
    exemplars: Floats
    snr_db: Floats
    target: Bools
    enrolled: Indices
    tested: Indices
    duration: Indices
    trial: Indices
    profile: Indices
    voice: Indices
    profile_cosines: CohortCosines
    voice_cosines: CohortCosines
    people: tuple[str, ...]

    def inputs(self) -> Floats:
        """The inputs of a calibration, with each row's people left out of the cohort. Shape (rows, len(INPUTS))."""
        profile_level = self.profile_cosines.level(self.profile, self.enrolled, self.tested)
        voice_level = self.voice_cosines.level(self.voice, self.enrolled, self.tested)
        level = (profile_level + voice_level) / 2.0
        normalised, net_speech = self.cosine - level, np.log(self.net_speech)
        columns = (normalised, level, net_speech, normalised * net_speech, np.log(self.exemplars), self.snr_db)
        return np.stack(columns, axis=1)

    def with_targets(self) -> FittingData:
        """The rows of profiles that have target trials. Non-targets alone do not show where the targets of a profile
        lie, and many such profiles would outweigh the others."""
        return self.part(np.isin(self.profile, self.profile[self.target]))

    def part(self, chosen: Bools) -> FittingData:
        """The rows where `chosen` is true."""
        return replace(
            self,
            cosine=self.cosine[chosen],
            net_speech=self.net_speech[chosen],
            exemplars=self.exemplars[chosen],
            snr_db=self.snr_db[chosen],
            target=self.target[chosen],
            enrolled=self.enrolled[chosen],
            tested=self.tested[chosen],
            duration=self.duration[chosen],
            trial=self.trial[chosen],
            profile=self.profile[chosen],
            voice=self.voice[chosen],
        )

    def without(self, people: Indices) -> FittingData:
        """The data as if these people did not exist: without their rows, and with a cohort that they are not in."""
        kept = self.part(~np.isin(self.enrolled, people) & ~np.isin(self.tested, people))
        return replace(
            kept, profile_cosines=self.profile_cosines.without(people), voice_cosines=self.voice_cosines.without(people)
        )


def gather(
    trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests], model: ModelId, cohort: Cohort
) -> FittingData:
    """Collect the data of all trials.

    sets: the tests, cut to rising durations and whole. A test that a cut leaves whole gets one row, not two.
    """
    people = tuple(dict.fromkeys(name for trial in trials for name in (trial.speaker, trial.test_speaker)))
    indices = {name: index for index, name in enumerate(people)}
    profiles = {name: enrol(takes, model) for name, takes in enrolments.items()}
    galleries = {name: gallery_of(profile, model) for name, profile in profiles.items() if profile is not None}
    voices, voice_indices = _pool_tests(sets)
    profile_indices = {name: index for index, name in enumerate(galleries)}
    rows = [
        (
            indices[trial.speaker],
            indices[trial.test_speaker],
            trial.target,
            duration,
            index,
            profile_indices[trial.enroll_id],
            voice,
        )
        for index, trial in enumerate(trials)
        if trial.enroll_id in profile_indices
        for duration in range(len(sets))
        if (voice := voice_indices.get((duration, trial.test_path))) is not None
    ]
    enrolled, tested, target, durations, trial_indices, profile, voice_rows = np.array(rows, np.intp).reshape(-1, 7).T
    dimension = cohort.vectors.shape[1]
    centroids = np.array([each.centroids[0] for each in galleries.values()], np.float64).reshape(-1, dimension)
    vectors = np.array([each.embedding.vector for each in voices], np.float64).reshape(-1, dimension)
    snr = [np.nan if each.snr_db is None else each.snr_db for each in voices]
    return FittingData(
        cosine=np.sum(centroids[profile] * vectors[voice_rows], axis=1),
        net_speech=np.array([each.net_speech for each in voices], np.float64)[voice_rows],
        exemplars=np.array([each.exemplars[0] for each in galleries.values()], np.float64)[profile],
        snr_db=np.array(snr, np.float64)[voice_rows],
        target=target == 1,
        enrolled=enrolled,
        tested=tested,
        duration=durations,
        trial=trial_indices,
        profile=profile,
        voice=voice_rows,
        profile_cosines=_cohort_cosines(centroids, cohort, indices),
        voice_cosines=_cohort_cosines(vectors, cohort, indices),
        people=people,
    )


def ratios(inputs: Floats, calibration: Calibration) -> Floats:
    """Like `Calibration.llr`, for many rows at once. inputs: see `FittingData.inputs`. Shape (rows,)."""
    clipped = inputs.copy()
    for column, fitted in ((NET_SPEECH, calibration.net_speech), (EXEMPLARS, calibration.exemplars)):
        clipped[:, column] = np.clip(clipped[:, column], np.log(fitted.low), np.log(fitted.high))
    clipped[:, PRODUCT] = clipped[:, NORMALISED] * clipped[:, NET_SPEECH]
    snr = with_known_snr(clipped, calibration.snr_unknown)[:, SNR]
    clipped[:, SNR] = np.clip(snr, calibration.snr_db.low, calibration.snr_db.high)
    llrs: Floats = clipped @ np.array(calibration.weights) + calibration.offset
    return llrs


def with_known_snr(inputs: Floats, unknown: float) -> Floats:
    """The inputs with the SNR `unknown` where it is NaN."""
    known = inputs.copy()
    known[np.isnan(inputs[:, SNR]), SNR] = unknown
    return known


def _pool_tests(sets: Sequence[Tests]) -> tuple[list[PooledSpeech], dict[tuple[int, str], int]]:
    """The pooled tests, and the index of each by set and path."""
    whole = sets[-1]
    voices: list[PooledSpeech] = []
    indices: dict[tuple[int, str], int] = {}
    for duration, tests in enumerate(sets):
        for path, test in tests.items():
            not_cut = tests is not whole and test.net_speech >= whole[path].net_speech
            voice = None if not_cut else pooled(test)
            if voice is not None:
                indices[duration, path] = len(voices)
                voices.append(voice)
    return voices, indices


def _cohort_cosines(vectors: Floats, cohort: Cohort, indices: Mapping[str, int]) -> CohortCosines:
    """vectors: shape (voices, dimension). indices: of the people in trials, by name."""
    cosines = vectors @ cohort.vectors.T.astype(np.float64)
    order = np.argsort(-cosines, axis=1)
    speakers = np.array([indices.get(name, NOT_IN_TRIALS) for name in cohort.speakers], np.intp)
    max_embeddings = max(Counter(cohort.speakers).values())
    return CohortCosines(np.take_along_axis(cosines, order, axis=1), speakers[order], max_embeddings)
