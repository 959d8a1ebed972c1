"""Makes a cohort and a calibration from embedded trials, and measures how well they work for other people.

No one is judged by a calibration learnt from their own speech: a trial's two speakers are left out of the cohort that
it is normalised with and, in cross-validation, out of everything that its calibration is fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from voiceauthd.embed.embedding import ModelId, unit_mean
from voiceauthd.errors import ModelError
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
from voiceauthd.evaluation.evaluate import CUTS, StepProgress, embed_trials
from voiceauthd.evaluation.fitting_data import SNR, FittingData, Indices, gather, ratios, with_known_snr
from voiceauthd.evaluation.metrics import Floats, accept, log_ratio_cost, min_log_ratio_cost, rank
from voiceauthd.evaluation.scorer import Enrolments, Tests, pooled, score_all
from voiceauthd.evaluation.trials import Trial, TrialList
from voiceauthd.profiles.profile import timestamp
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.calibration import FORMAT, Calibration, Range, model_record
from voiceauthd.scoring.cohort import Cohort, make_cohort
from voiceauthd.scoring.logistic_regression import fit

DURATIONS = (1.5, 2.0, 3.0, 5.0)
"""Seconds of net speech to which tests are cut for fitting, besides the whole: a calibration must learn the effect of
little speech on a score. Below 1.5 s there are no decisions, and the errors would distort the rest."""

FIRST_DECIDED = 1
"""Index of the first of `DURATIONS` at which decisions are made: 2 s."""

FOLDS = 20
"""Groups of speakers in cross-validation."""

SEED = 1
"""Of the assignment of speakers to groups."""


@dataclass(frozen=True, slots=True)
class Support:
    """The results of cross-validation. See `Calibration`."""

    pairs: int
    alarms: tuple[float, ...]
    cllr: float
    mincllr: float


NO_SUPPORT = Support(0, (), float("nan"), float("nan"))
"""For a calibration within a cross-validation."""


def build_cohort(
    recordings: Mapping[str, Sequence[EmbeddedSpeech]], model: ModelId, sources: tuple[str, ...]
) -> Cohort:
    """Make a cohort with one embedding per speaker, the mean of the speaker's recordings.

    Speakers without a window of speech are left out. Raises `ModelError`, reason `cohort_too_small`.
    """
    vectors = []
    for name, own in recordings.items():
        pooled_vectors = [voice.embedding.vector for each in own if (voice := pooled(each)) is not None]
        if pooled_vectors:
            vectors.append((name, unit_mean(pooled_vectors)))
    return make_cohort(model, vectors, sources)


def recordings_by_speaker(
    trials: Sequence[Trial], enrolments: Enrolments, tests: Tests
) -> Mapping[str, Sequence[EmbeddedSpeech]]:
    """All recordings of each person in a trial list, each once."""
    found: dict[str, dict[int, EmbeddedSpeech]] = {}
    for trial in trials:
        own = found.setdefault(trial.speaker, {})
        own |= {id(take): take for take in enrolments[trial.enroll_id]}
        test = tests[trial.test_path]
        found.setdefault(trial.test_speaker, {})[id(test)] = test
    return {name: list(recordings.values()) for name, recordings in found.items()}


class CrossValidation:
    """Calibrations, each fitted without two of the groups that the speakers are assigned to.

    One is the group of the enrolled person and one (perhaps the same) that of the tested person: neither is used in
    the fit, in trials or in the cohort.
    """

    def __init__(self, data: FittingData, model: ModelId, cohort: Cohort) -> None:
        self.data = data
        self._model = model
        self._cohort = cohort
        folds = min(FOLDS, len(data.people))
        order = np.random.default_rng(SEED).permutation(len(data.people))
        self._fold = np.empty(len(order), np.intp)
        self._fold[order] = np.arange(len(order)) % folds
        self._indices = {name: index for index, name in enumerate(data.people)}
        self._fitted: dict[tuple[int, int], Calibration] = {}

    def without(self, speaker: str, other: str) -> Calibration:
        """The calibration that was fitted without these two people.

        Raises `ModelError`, reason `not_calibrated`, if none can be fitted to the other people's trials.
        """
        one, two = sorted(int(self._fold[self._indices[name]]) for name in (speaker, other))
        return self._without(one, two)

    def ratios(self) -> Floats:
        """The ratio of each row of the data, by the calibration fitted without its people. Shape (rows,).

        Raises `ModelError` as `without` does.
        """
        inputs = self.data.inputs()
        groups = np.sort(self._fold[np.stack((self.data.enrolled, self.data.tested), axis=1)], axis=1)
        llrs = np.empty(len(inputs))
        for one, two in np.unique(groups, axis=0).tolist():
            rows = (groups[:, 0] == one) & (groups[:, 1] == two)
            llrs[rows] = ratios(inputs[rows], self._without(one, two))
        return llrs

    def _without(self, one: int, two: int) -> Calibration:
        """The calibration fitted without these groups."""
        if (one, two) not in self._fitted:
            people: Indices = np.flatnonzero(np.isin(self._fold, (one, two)))
            try:
                fitted = fit_calibration(self.data.without(people), self._model, self._cohort, ())
            except ModelError as error:
                left = len(self._fold) - len(people)
                message = f"{error} (in cross-validation, with {left} of {len(self._fold)} speakers left)"
                raise ModelError(message, error.reason) from error
            self._fitted[one, two] = fitted
        return self._fitted[one, two]


def fit_calibration(
    data: FittingData, model: ModelId, cohort: Cohort, sources: tuple[str, ...], support: Support = NO_SUPPORT
) -> Calibration:
    """Fit a calibration to all rows of profiles that have target trials.

    Raises `ModelError`, reason `not_calibrated`, if there are no rows, where `logistic_regression.fit` does, and if for
    some length of speech a higher score would give a lower ratio.
    """
    if not len(data.target):
        raise ModelError("no trial has enough speech for a calibration", "not_calibrated")
    if data.target.any():  # else `fit` reports what is missing
        data = data.with_targets()
    snr = data.snr_db[~np.isnan(data.snr_db)]
    snr_unknown = float(np.mean(snr)) if len(snr) else 0.0
    inputs = with_known_snr(data.inputs(), snr_unknown)
    offset, weights = fit(inputs, data.target)
    trials = np.unique(data.trial, return_index=True)[1]
    people = np.union1d(data.enrolled, data.tested)
    calibration = Calibration(
        format=FORMAT,
        model=model_record(model),
        cohort=cohort.digest,
        offset=offset,
        weights=tuple(weights.tolist()),
        net_speech=_range(data.net_speech),
        exemplars=_range(data.exemplars),
        snr_db=_range(inputs[:, SNR]),
        snr_unknown=snr_unknown,
        target=int(np.sum(data.target[trials])),
        nontarget=int(np.sum(~data.target[trials])),
        speakers=tuple(data.people[index] for index in people),
        pairs=support.pairs,
        alarms=support.alarms,
        cllr=support.cllr,
        mincllr=support.mincllr,
        sources=sources,
        created=timestamp(),
    )
    if not all(calibration.slope(end) > 0.0 for end in (calibration.net_speech.low, calibration.net_speech.high)):
        raise ModelError(
            "the scores do not distinguish targets from non-targets at all lengths of speech", "not_calibrated"
        )
    return calibration


def calibrate(
    listed: TrialList,
    workers: EmbeddingWorkers,
    model: ModelId,
    cohort: Cohort | None,
    sources: tuple[str, ...],
    progress: StepProgress,
) -> tuple[Cohort, Calibration]:
    """Embed a trial list and fit a calibration to it. Without a cohort, one is made of the people in the list.

    sources: origin and licence of the speech, for people. Raises `AudioError` for a recording that cannot be read, and
    `ModelError`, reason `cohort_too_small` or `not_calibrated`.
    """
    enrolments, tests, cut = embed_trials(listed, workers, DURATIONS, progress)
    if cohort is None:
        cohort = build_cohort(recordings_by_speaker(listed.trials, enrolments, tests), model, sources)
    data = gather(listed.trials, enrolments, [*cut, tests], model, cohort)
    progress("fitting", 0, 2)
    calibration = fit_calibration(data, model, cohort, sources)
    progress("fitting", 1, 2)
    support = measure_support(data, CrossValidation(data, model, cohort).ratios())
    return cohort, msgspec.structs.replace(calibration, **asdict(support))


def measure_support(data: FittingData, llrs: Floats) -> Support:
    """The costs of whole tests and the false accepts from 2 s on, from cross-validated ratios, one per row.

    Shorter tests are included. A pair of people counts once, with the highest ratio of either against the other. Raises
    `ModelError`, reason `not_calibrated`, for ratios that are not finite.
    """
    if not np.isfinite(llrs).all():
        raise ModelError("a calibration gives ratios that are not finite", "not_calibrated")
    whole = data.duration == np.max(data.duration)
    scores, target = llrs[whole], data.target[whole]
    cllr = float(log_ratio_cost(scores, target)[0])
    mincllr = float(min_log_ratio_cost(accept(rank(scores, target)))[0])
    decided = ~data.target & (data.duration >= FIRST_DECIDED)
    pairs = np.sort(np.stack((data.enrolled, data.tested), axis=1)[decided], axis=1)
    distinct, pair = np.unique(pairs, axis=0, return_inverse=True)
    highest = np.full(len(distinct), -np.inf)
    np.maximum.at(highest, pair.reshape(-1), llrs[decided])
    alarms = tuple(np.sort(highest[highest > 0.0])[::-1].tolist())
    return Support(len(distinct), alarms, cllr, mincllr)


class CrossValidatedScorer:
    """Scores each trial with a cohort and a calibration made without its speakers."""

    name = "log-likelihood ratio, cross-validated by speaker"
    llr = True

    def __init__(self, validation: CrossValidation, model: ModelId, cohort: Cohort) -> None:
        self.backend = Backend(cohort)
        self._validation = validation
        self._model = model

    def backend_for(self, trial: Trial) -> Backend:
        """See `Scorer`."""
        speakers = (trial.speaker, trial.test_speaker)
        return Backend(self.backend.without(speakers).cohort, self._validation.without(*speakers))

    def __call__(self, trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests]) -> list[Floats]:
        """See `Scorer`."""
        return score_all(self, self._model, trials, enrolments, sets)


def cross_validated(
    trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests], model: ModelId, cohort: Cohort | None
) -> CrossValidatedScorer:
    """Make a scorer for a trial list from the list itself. sets: the tests cut to `evaluate.CUTS`, and whole.

    cohort: the daemon's; None: made of the people in the list. Raises `ModelError`, reason `cohort_too_small`, if there
    are too few of them.
    """
    used = [tests for seconds, tests in zip(CUTS, sets, strict=False) if seconds in DURATIONS]
    if cohort is None:
        cohort = build_cohort(recordings_by_speaker(trials, enrolments, sets[-1]), model, ())
    data = gather(trials, enrolments, [*used, sets[-1]], model, cohort)
    return CrossValidatedScorer(CrossValidation(data, model, cohort), model, cohort)


def _range(values: NDArray[Any]) -> Range:
    return Range(float(np.min(values)), float(np.max(values)))
