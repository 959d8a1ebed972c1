"""What a calibration is fitted on: for each trial, cut and whole, what there is to weigh.

The cosines with the cohort are kept, nearest first, so that the inputs can be had again as they are without some
people: without their trials, and without them among the strangers.
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
from voiceauthd.scoring.cohort import NEAREST, Cohort
from voiceauthd.scoring.pooled_speech import PooledSpeech

NORMALISED, LEVEL, NET_SPEECH, PRODUCT, EXEMPLARS, SNR = range(len(INPUTS))

Indices = NDArray[np.intp]

NOBODY = -1
"""Index of whoever is in the cohort and in no trial."""


@dataclass(frozen=True, slots=True, eq=False)
class CohortLevel:
    """How close some voices come to the cohort.

    cosines  shape (voices, cohort), each row falling
    who      shape (voices, cohort): whom each is with, as an index into `FittingData.people`, or `NOBODY`
    most     embeddings in the cohort that one person has, at most
    """

    cosines: Floats
    who: Indices
    most: int

    def without(self, people: Indices) -> CohortLevel:
        """With a cohort that these people are not in."""
        kept = ~np.isin(self.who, people)  # as many in each row
        shape = (len(self.who), int(np.sum(kept[:1])))
        return CohortLevel(self.cosines[kept].reshape(shape), self.who[kept].reshape(shape), self.most)

    def level(self, rows: Indices, one: Indices, other: Indices) -> Floats:
        """As `Cohort.level`, of these voices, each without its two people in the cohort. Shape (rows,)."""
        reach = NEAREST + 2 * self.most
        cosines, who = self.cosines[rows, :reach], self.who[rows, :reach]
        counted = (who != one[:, np.newaxis]) & (who != other[:, np.newaxis])
        counted &= np.cumsum(counted, axis=1) <= NEAREST
        level: Floats = np.sum(cosines * counted, axis=1) / np.sum(counted, axis=1)
        return level


@dataclass(frozen=True, slots=True, eq=False)
class FittingData:
    """A row for each trial and duration that has a window. All but `people` and the strangers have shape (rows,).

    cosine, net_speech, exemplars, snr_db  as in `Evidence`; the SNR is NaN where no noise was heard
    enrolled, tested  the people, as indices into `people`
    duration   index into the sets of tests
    trial      index of the trial
    profile, voice  rows of `near_profile` and `near_voice`: the enrolled voice and the tested one
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
    near_profile: CohortLevel
    near_voice: CohortLevel
    people: tuple[str, ...]

    def inputs(self) -> Floats:
        """What a calibration weighs, the people of each row left out of the cohort. Shape (rows, len(INPUTS))."""
        of_profile = self.near_profile.level(self.profile, self.enrolled, self.tested)
        level = (of_profile + self.near_voice.level(self.voice, self.enrolled, self.tested)) / 2.0
        normalised, net_speech = self.cosine - level, np.log(self.net_speech)
        found = (normalised, level, net_speech, normalised * net_speech, np.log(self.exemplars), self.snr_db)
        return np.stack(found, axis=1)

    def of_both_kinds(self) -> FittingData:
        """The rows of profiles that are tested with their own voice, too. Non-targets alone tell nothing of where the
        targets of a profile lie, and many such profiles would stand for all others."""
        return self.part(np.isin(self.profile, self.profile[self.target]))

    def part(self, chosen: Bools) -> FittingData:
        """The rows that are chosen."""
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
        """As if these people had never been heard: without the rows they are in, and with a cohort they are not in."""
        kept = self.part(~np.isin(self.enrolled, people) & ~np.isin(self.tested, people))
        return replace(kept, near_profile=self.near_profile.without(people), near_voice=self.near_voice.without(people))


def gather(
    trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests], model: ModelId, cohort: Cohort
) -> FittingData:
    """sets: the tests, cut or whole. A test that has as much speech after a cut as whole is no second row."""
    people = tuple(dict.fromkeys(name for trial in trials for name in (trial.speaker, trial.test_speaker)))
    number = {name: index for index, name in enumerate(people)}
    profiles = {name: enrol(takes, model) for name, takes in enrolments.items()}
    galleries = {name: gallery_of(profile, model) for name, profile in profiles.items() if profile is not None}
    heard, places = _voices(sets)
    order = {name: index for index, name in enumerate(galleries)}
    rows = [
        (
            number[trial.speaker],
            number[trial.test_speaker],
            trial.target,
            duration,
            index,
            order[trial.enroll_id],
            place,
        )
        for index, trial in enumerate(trials)
        if trial.enroll_id in order
        for duration in range(len(sets))
        if (place := places.get((duration, trial.test_path))) is not None
    ]
    enrolled, tested, target, durations, numbers, profile, voice = np.array(rows, np.intp).reshape(-1, 7).T
    dimension = cohort.vectors.shape[1]
    centroids = np.array([each.centroids[0] for each in galleries.values()], np.float64).reshape(-1, dimension)
    vectors = np.array([each.embedding.vector for each in heard], np.float64).reshape(-1, dimension)
    snr = [np.nan if each.snr_db is None else each.snr_db for each in heard]
    return FittingData(
        cosine=np.sum(centroids[profile] * vectors[voice], axis=1),
        net_speech=np.array([each.net_speech for each in heard], np.float64)[voice],
        exemplars=np.array([each.exemplars[0] for each in galleries.values()], np.float64)[profile],
        snr_db=np.array(snr, np.float64)[voice],
        target=target == 1,
        enrolled=enrolled,
        tested=tested,
        duration=durations,
        trial=numbers,
        profile=profile,
        voice=voice,
        near_profile=_strangers(centroids, cohort, number),
        near_voice=_strangers(vectors, cohort, number),
        people=people,
    )


def ratios(inputs: Floats, calibration: Calibration) -> Floats:
    """As `Calibration.llr`, of many at once. inputs: as of `FittingData.inputs`; shape (rows,)."""
    held = inputs.copy()
    for column, seen in ((NET_SPEECH, calibration.net_speech), (EXEMPLARS, calibration.exemplars)):
        held[:, column] = np.clip(held[:, column], np.log(seen.low), np.log(seen.high))
    held[:, PRODUCT] = held[:, NORMALISED] * held[:, NET_SPEECH]
    snr = known_snr(held, calibration.snr_unknown)[:, SNR]
    held[:, SNR] = np.clip(snr, calibration.snr_db.low, calibration.snr_db.high)
    found: Floats = held @ np.array(calibration.weights) + calibration.offset
    return found


def known_snr(inputs: Floats, unknown: float) -> Floats:
    """The inputs with this SNR where none is known."""
    known = inputs.copy()
    known[np.isnan(inputs[:, SNR]), SNR] = unknown
    return known


def _voices(sets: Sequence[Tests]) -> tuple[list[PooledSpeech], dict[tuple[int, str], int]]:
    """Each test as one voice; and where among those, by set and path."""
    whole = sets[-1]
    heard: list[PooledSpeech] = []
    places: dict[tuple[int, str], int] = {}
    for duration, tests in enumerate(sets):
        for path, take in tests.items():
            again = tests is not whole and take.net_speech >= whole[path].net_speech
            voice = None if again else pooled(take)
            if voice is not None:
                places[duration, path] = len(heard)
                heard.append(voice)
    return heard, places


def _strangers(vectors: Floats, cohort: Cohort, number: Mapping[str, int]) -> CohortLevel:
    cosines = vectors @ cohort.vectors.T.astype(np.float64)
    order = np.argsort(-cosines, axis=1)
    who = np.array([number.get(name, NOBODY) for name in cohort.speakers], np.intp)
    return CohortLevel(np.take_along_axis(cosines, order, axis=1), who[order], max(Counter(cohort.speakers).values()))
