"""Making a cohort and a calibration out of trials that were heard, and how well they do on other people.

Nobody is ever judged by what was learnt from himself. A trial's two speakers are left out of the cohort that it is
normalised with; and in cross-validation, out of everything that its calibration is fitted on.
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
from voiceauthd.evaluation.evaluate import CUTS, Tell, hear
from voiceauthd.evaluation.fitting_data import SNR, FittingData, Indices, gather, known_snr, ratios
from voiceauthd.evaluation.metrics import Floats, accept, log_ratio_cost, min_log_ratio_cost, rank
from voiceauthd.evaluation.scorer import Enrolments, Tests, pooled, score_all
from voiceauthd.evaluation.trials import Trial, TrialList
from voiceauthd.profiles.profile import timestamp
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.calibration import FORMAT, Calibration, Range, model_record
from voiceauthd.scoring.cohort import Cohort, make_cohort
from voiceauthd.scoring.fitting import fit

DURATIONS = (1.5, 2.0, 3.0, 5.0)
"""Seconds of net speech that tests are cut to for fitting, beside the whole: a calibration must know what little speech
does to a score. Less than a second and a half is never decided on, and its errors would weigh on the rest."""

DECIDED = 1
"""Index of the first of these that decisions are made on: 2 s."""

FOLDS = 20
"""Groups of speakers in cross-validation."""

SEED = 1
"""Of who is in which group."""


@dataclass(frozen=True, slots=True)
class Support:
    """What cross-validation demonstrates. See `Calibration`."""

    pairs: int
    alarms: tuple[float, ...]
    cllr: float
    mincllr: float


UNKNOWN = Support(0, (), float("nan"), float("nan"))
"""Of a calibration that is itself a part of a cross-validation."""


def build_cohort(voices: Mapping[str, Sequence[EmbeddedSpeech]], model: ModelId, sources: tuple[str, ...]) -> Cohort:
    """One embedding a speaker: the mean of that speaker's recordings. Who has none without a window is left out.

    Raises `ModelError`, reason `cohort_too_small`.
    """
    found = []
    for name, takes in voices.items():
        vectors = [voice.embedding.vector for take in takes if (voice := pooled(take)) is not None]
        if vectors:
            found.append((name, unit_mean(vectors)))
    return make_cohort(model, found, sources)


def voices_of(trials: Sequence[Trial], enrolments: Enrolments, tests: Tests) -> Mapping[str, Sequence[EmbeddedSpeech]]:
    """Everything that each person of a trial list says in it, by speaker. Each recording once."""
    found: dict[str, dict[int, EmbeddedSpeech]] = {}
    for trial in trials:
        own = found.setdefault(trial.speaker, {})
        own |= {id(take): take for take in enrolments[trial.enroll_id]}
        take = tests[trial.test_path]
        found.setdefault(trial.test_speaker, {})[id(take)] = take
    return {name: list(takes.values()) for name, takes in found.items()}


class CrossValidation:
    """Calibrations, each fitted as if two of the groups that the speakers are dealt into had never been heard.

    Who was enrolled is in one group, who speaks in another or the same: neither has any part in the fit, as a speaker
    or as a stranger in the cohort.
    """

    def __init__(self, material: FittingData, model: ModelId, cohort: Cohort) -> None:
        self.material = material
        self._model = model
        self._cohort = cohort
        folds = min(FOLDS, len(material.people))
        order = np.random.default_rng(SEED).permutation(len(material.people))
        self._fold = np.empty(len(order), np.intp)
        self._fold[order] = np.arange(len(order)) % folds
        self._number = {name: index for index, name in enumerate(material.people)}
        self._fitted: dict[tuple[int, int], Calibration] = {}

    def without(self, speaker: str, other: str) -> Calibration:
        """The calibration that neither of these people had a part in.

        Raises `ModelError`, reason `not_calibrated`, if nothing can be fitted to what the others say.
        """
        one, two = sorted(int(self._fold[self._number[name]]) for name in (speaker, other))
        return self._without(one, two)

    def ratios(self) -> Floats:
        """The ratio of each row of the material, by the calibration that its people had no part in. Shape (rows,).

        Raises `ModelError` as `without` does.
        """
        inputs = self.material.inputs()
        groups = np.sort(self._fold[np.stack((self.material.enrolled, self.material.tested), axis=1)], axis=1)
        found = np.empty(len(inputs))
        for one, two in np.unique(groups, axis=0).tolist():
            rows = (groups[:, 0] == one) & (groups[:, 1] == two)
            found[rows] = ratios(inputs[rows], self._without(one, two))
        return found

    def _without(self, one: int, two: int) -> Calibration:
        """The calibration without these groups."""
        if (one, two) not in self._fitted:
            people: Indices = np.flatnonzero(np.isin(self._fold, (one, two)))
            try:
                fitted = calibration_of(self.material.without(people), self._model, self._cohort, ())
            except ModelError as error:
                left = len(self._fold) - len(people)
                told = f"{error} (in cross-validation, with {left} of {len(self._fold)} speakers left)"
                raise ModelError(told, error.reason) from error
            self._fitted[one, two] = fitted
        return self._fitted[one, two]


def calibration_of(
    material: FittingData, model: ModelId, cohort: Cohort, sources: tuple[str, ...], support: Support = UNKNOWN
) -> Calibration:
    """Fitted on all rows of profiles that have target trials.

    Raises `ModelError`, reason `not_calibrated`, as `fitting.fit` does, for no rows, and if a higher score would mean
    less for some length of speech.
    """
    if not len(material.target):
        raise ModelError("no trial has enough speech to be calibrated with", "not_calibrated")
    if material.target.any():  # else `fit` tells what is missing
        material = material.of_both_kinds()
    snr = material.snr_db[~np.isnan(material.snr_db)]
    snr_unknown = float(np.mean(snr)) if len(snr) else 0.0
    inputs = known_snr(material.inputs(), snr_unknown)
    offset, weights = fit(inputs, material.target)
    trials = np.unique(material.trial, return_index=True)[1]
    people = np.union1d(material.enrolled, material.tested)
    found = Calibration(
        format=FORMAT,
        model=model_record(model),
        cohort=cohort.digest,
        offset=offset,
        weights=tuple(weights.tolist()),
        net_speech=_range(material.net_speech),
        exemplars=_range(material.exemplars),
        snr_db=_range(inputs[:, SNR]),
        snr_unknown=snr_unknown,
        target=int(np.sum(material.target[trials])),
        nontarget=int(np.sum(~material.target[trials])),
        speakers=tuple(material.people[index] for index in people),
        pairs=support.pairs,
        alarms=support.alarms,
        cllr=support.cllr,
        mincllr=support.mincllr,
        sources=sources,
        created=timestamp(),
    )
    if not all(found.slope(end) > 0.0 for end in (found.net_speech.low, found.net_speech.high)):
        raise ModelError("the scores do not tell targets from non-targets at all lengths of speech", "not_calibrated")
    return found


def calibrate(
    listed: TrialList,
    workers: EmbeddingWorkers,
    model: ModelId,
    cohort: Cohort | None,
    sources: tuple[str, ...],
    tell: Tell,
) -> tuple[Cohort, Calibration]:
    """Hears a trial list, and fits a calibration to it. Without a cohort, one is made of the people in the list.

    sources: where the speech comes from, with its licence, for people. Raises `AudioError` for a recording that cannot
    be read, and `ModelError`, reason `cohort_too_small` or `not_calibrated`.
    """
    enrolments, tests, cut = hear(listed, workers, DURATIONS, tell)
    if cohort is None:
        cohort = build_cohort(voices_of(listed.trials, enrolments, tests), model, sources)
    material = gather(listed.trials, enrolments, [*cut, tests], model, cohort)
    tell("fitting", 0, 2)
    calibration = calibration_of(material, model, cohort, sources)
    tell("fitting", 1, 2)
    support = demonstrate(material, CrossValidation(material, model, cohort).ratios())
    return cohort, msgspec.structs.replace(calibration, **asdict(support))


def demonstrate(material: FittingData, found: Floats) -> Support:
    """What cross-validated ratios, one a row, bear out: the costs of whole tests, and the false accepts from 2 s on.

    A test that is shorter counts as it is. Two people count once, with the highest ratio of either against the other.
    Raises `ModelError`, reason `not_calibrated`, for ratios that are not finite.
    """
    if not np.isfinite(found).all():
        raise ModelError("a calibration gives ratios that are not finite", "not_calibrated")
    whole = material.duration == np.max(material.duration)
    scores, target = found[whole], material.target[whole]
    cllr = float(log_ratio_cost(scores, target)[0])
    mincllr = float(min_log_ratio_cost(accept(rank(scores, target)))[0])
    decided = ~material.target & (material.duration >= DECIDED)
    pairs = np.sort(np.stack((material.enrolled, material.tested), axis=1)[decided], axis=1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    highest = np.full(len(distinct), -np.inf)
    np.maximum.at(highest, which.reshape(-1), found[decided])
    alarms = tuple(np.sort(highest[highest > 0.0])[::-1].tolist())
    return Support(len(distinct), alarms, cllr, mincllr)


class CrossValidatedScorer:
    """Scores a trial list with a cohort and calibrations that the speakers of each trial had no part in."""

    name = "log-likelihood ratio, cross-validated by speaker"
    llr = True

    def __init__(self, validation: CrossValidation, model: ModelId, cohort: Cohort) -> None:
        self.backend = Backend(cohort)
        self._validation = validation
        self._model = model

    def backend_for(self, trial: Trial) -> Backend:
        """See `Scorer`."""
        out = (trial.speaker, trial.test_speaker)
        return Backend(self.backend.without(out).cohort, self._validation.without(*out))

    def __call__(self, trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests]) -> list[Floats]:
        """See `Scorer`."""
        return score_all(self, self._model, trials, enrolments, sets)


def cross_validated(
    trials: Sequence[Trial], enrolments: Enrolments, sets: Sequence[Tests], model: ModelId, cohort: Cohort | None
) -> CrossValidatedScorer:
    """The scorer for a trial list by itself. sets: the tests cut to `evaluate.CUTS`, and whole.

    cohort: the daemon's; None: made of the people in the list. Raises `ModelError`, reason `cohort_too_small`, if they
    are too few for one.
    """
    used = [tests for seconds, tests in zip(CUTS, sets, strict=False) if seconds in DURATIONS]
    if cohort is None:
        cohort = build_cohort(voices_of(trials, enrolments, sets[-1]), model, ())
    material = gather(trials, enrolments, [*used, sets[-1]], model, cohort)
    return CrossValidatedScorer(CrossValidation(material, model, cohort), model, cohort)


def _range(values: NDArray[Any]) -> Range:
    return Range(float(np.min(values)), float(np.max(values)))
