"""Cohort and calibration from a trial list: calibrated for people who were left out, and leaving them out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_parts import MODEL, SyntheticTrials, embedded, synthetic_trials

from voiceauthd.errors import ModelError
from voiceauthd.evaluation.evaluate import CUTS
from voiceauthd.evaluation.fit_calibration import (
    FOLDS,
    CrossValidatedScorer,
    CrossValidation,
    build_cohort,
    cross_validated,
    fit_calibration,
    measure_support,
    recordings_by_speaker,
)
from voiceauthd.evaluation.fitting_data import FittingData, gather, ratios
from voiceauthd.evaluation.metrics import accept, log_ratio_cost, min_log_ratio_cost, rank
from voiceauthd.evaluation.scorer import BackendScorer, enrol, gallery_of, pooled
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.calibration import Evidence, decode_calibration, encode_calibration, inputs_of
from voiceauthd.scoring.cohort import Cohort
from voiceauthd.scoring.similarity import gather_evidence


def cohort_of(people: SyntheticTrials) -> Cohort:
    recordings = recordings_by_speaker(people.trials, people.enrolments, people.tests)
    return build_cohort(recordings, MODEL, ("made up, CC0",))


def data_of(people: SyntheticTrials, cohort: Cohort) -> FittingData:
    return gather(people.trials, people.enrolments, [people.cut, people.tests], MODEL, cohort)


def costs(scores: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Cllr and minCllr."""
    return float(log_ratio_cost(scores, target)[0]), float(min_log_ratio_cost(accept(rank(scores, target)))[0])


@pytest.fixture(scope="module")
def people():
    return synthetic_trials()


@pytest.fixture(scope="module")
def cohort(people):
    return cohort_of(people)


@pytest.fixture(scope="module")
def data(people, cohort):
    return data_of(people, cohort)


@pytest.fixture(scope="module")
def validation(data, cohort):
    return CrossValidation(data, MODEL, cohort)


@pytest.fixture(scope="module")
def llrs(validation):
    """Cross-validated ratios, one per row."""
    return validation.ratios()


# The data


def test_the_inputs_of_a_calibration_are_those_of_the_daemon(people, cohort, data):
    inputs = data.inputs()
    for row in range(0, len(inputs), 97):
        trial = people.trials[data.trial[row]]
        tests = (people.cut, people.tests)[data.duration[row]]
        profile = enrol(people.enrolments[trial.enroll_id], MODEL)
        backend = Backend(cohort.without((trial.speaker, trial.test_speaker)))
        evidence = gather_evidence(pooled(tests[trial.test_path]), gallery_of(profile, MODEL, backend))[0][1]
        assert inputs[row] == pytest.approx(inputs_of(evidence, evidence.snr_db))


def test_every_trial_has_a_row_for_each_duration_and_a_short_test_only_one(people, cohort):
    path = "person 7, 0"
    short = replace(people, cut={**people.cut, path: people.tests[path]})
    rows = data_of(short, cohort)
    assert len(rows.target) == 2 * len(people.trials) - len(people.enrolments)
    of_short = [people.trials[index].test_path == path for index in rows.trial]
    assert set(rows.duration[of_short].tolist()) == {1}


def test_a_test_without_a_window_is_no_row_and_neither_is_an_enrolment(people, cohort):
    path, name = "person 7, 0", "person 8"
    without_windows = {path: embedded([])}
    silent = replace(
        people,
        cut=people.cut | without_windows,
        tests=people.tests | without_windows,
        enrolments=people.enrolments | {name: [embedded([])]},
    )
    rows = data_of(silent, cohort)
    assert len(rows.target) == 2 * (len(people.enrolments) - 1) * (len(people.tests) - 1)


def test_profiles_without_target_trials_count_as_support_but_are_not_fitted_on(data, cohort):
    silent = [data.people.index(f"person {number}") for number in range(10)]
    own = np.isin(data.enrolled, silent)
    without_targets = data.part(~(own & data.target))
    fitted = fit_calibration(without_targets, MODEL, cohort, ())
    assert fitted.weights == fit_calibration(data.part(~own), MODEL, cohort, ()).weights
    assert fitted.weights != fit_calibration(data, MODEL, cohort, ()).weights
    ratios_without = CrossValidation(without_targets, MODEL, cohort).ratios()
    assert (
        measure_support(without_targets, ratios_without).pairs
        == measure_support(data, np.zeros(len(data.target))).pairs
    )


def test_ratios_of_many_rows_equal_those_of_the_calibration(data, cohort):
    calibration = fit_calibration(data, MODEL, cohort, ())
    inputs = data.inputs()[:40].copy()
    inputs[3, -1] = np.nan
    inputs[4, -1] = 500.0
    inputs[5, 2] = np.log(0.01)
    inputs[6, 4] = np.log(50.0)
    expected = [
        calibration.llr(
            Evidence(row[0], row[1], float(np.exp(row[2])), float(np.exp(row[4])), None if np.isnan(row[5]) else row[5])
        )
        for row in inputs
    ]
    assert ratios(inputs, calibration) == pytest.approx(expected)


# Leaving out


def test_ratios_of_people_who_were_left_out_are_calibrated(data, llrs):
    for duration in (0, 1):
        chosen = data.duration == duration
        cost, least = costs(llrs[chosen], data.target[chosen])
        assert 0.0 < least <= cost < 0.3, "the trials are hard enough for a calibration to matter"
        assert cost - least < 0.03


def test_a_calibration_works_for_other_people(data, cohort):
    calibration = fit_calibration(data, MODEL, cohort, ())
    others = synthetic_trials(seed=5, first=100)
    other_data = data_of(others, cohort)
    cost, least = costs(ratios(other_data.inputs(), calibration), other_data.target)
    assert 0.0 < least <= cost < 0.3
    assert cost - least < 0.03


def poisoned(people: SyntheticTrials, name: str, other: str) -> SyntheticTrials:
    """The same trials, with all recordings of `name` replaced by those of `other`."""
    replaced = {path: path.replace(f"{name},", f"{other},") for path in people.tests if path.startswith(f"{name},")}
    return replace(
        people,
        tests=people.tests | {path: people.tests[of_other] for path, of_other in replaced.items()},
        cut=people.cut | {path: people.cut[of_other] for path, of_other in replaced.items()},
        enrolments=people.enrolments | {name: people.enrolments[other]},
    )


def test_a_person_s_recordings_do_not_affect_the_calibration_for_that_person(people, validation):
    name, other, third = "person 7", "person 20", "person 29"
    wrong = poisoned(people, name, other)
    cohort = cohort_of(wrong)
    poison = CrossValidation(data_of(wrong, cohort), MODEL, cohort)
    for pair in ((name, name), (name, other), (third, name)):
        one, two = validation.without(*pair), poison.without(*pair)
        assert two.weights == pytest.approx(one.weights, rel=1e-9)
        assert two.offset == pytest.approx(one.offset, rel=1e-9)
    # Where the person is not left out, the recordings do have an effect.
    assert poison.without(other, third).offset != pytest.approx(validation.without(other, third).offset, rel=1e-3)


def test_nobody_is_in_the_calibration_for_their_own_trials(people, validation):
    for trial in people.trials[::17]:
        speakers = validation.without(trial.speaker, trial.test_speaker).speakers
        assert trial.speaker not in speakers
        assert trial.test_speaker not in speakers
        assert len(speakers) >= len(people.enrolments) - 2 * -(-len(people.enrolments) // FOLDS)


def test_the_cohort_of_a_trial_contains_neither_of_its_speakers(people, validation, cohort):
    for scorer in (CrossValidatedScorer(validation, MODEL, cohort), BackendScorer(MODEL, Backend(cohort))):
        for trial in people.trials[::171]:
            speakers = scorer.backend_for(trial).cohort.speakers
            assert set(cohort.speakers) - set(speakers) == {trial.speaker, trial.test_speaker}


def test_a_cross_validated_scorer_gives_the_ratios_of_the_cross_validation(people, validation, cohort, data, llrs):
    cut, whole = CrossValidatedScorer(validation, MODEL, cohort)(
        people.trials, people.enrolments, [people.cut, people.tests]
    )
    order = np.lexsort((data.trial, data.duration))
    assert np.concatenate((cut, whole)) == pytest.approx(llrs[order])


def test_a_trial_list_is_cross_validated_with_its_own_people(people):
    sets = [people.cut] * len(CUTS)
    scorer = cross_validated(people.trials, people.enrolments, [*sets, people.tests], MODEL, None)
    assert set(scorer.backend.cohort.speakers) == set(people.enrolments)
    assert scorer.backend.calibration is None, "there are many"
    (scores,) = scorer(people.trials, people.enrolments, [people.tests])
    target = np.array([trial.target for trial in people.trials])
    cost, least = costs(scores, target)
    assert cost - least < 0.03


# Support


def test_two_people_are_one_pair_in_either_direction_and_however_often(people, data, llrs):
    support = measure_support(data, llrs)
    count = len(people.enrolments)
    assert support.pairs == count * (count - 1) // 2
    assert support.alarms == tuple(sorted(support.alarms, reverse=True))
    assert all(alarm > 0.0 for alarm in support.alarms)
    loud = np.where(data.target, llrs, 5.0)
    assert measure_support(data, loud).alarms == (5.0,) * support.pairs


def test_the_highest_ratio_of_two_people_counts(data, llrs):
    quiet = np.where(data.target, llrs, -5.0)
    pair = np.flatnonzero((data.enrolled == 3) & (data.tested == 8))
    back = np.flatnonzero((data.enrolled == 8) & (data.tested == 3))
    quiet[pair[-1]], quiet[back[-1]] = 2.0, 7.0
    assert measure_support(data, quiet).alarms == (7.0,)


def test_tests_too_short_for_a_decision_are_not_counted_as_alarms(data, llrs):
    quiet = np.where(data.target, llrs, -5.0)
    quiet[np.flatnonzero(~data.target & (data.duration == 0))] = 9.0
    assert measure_support(data, quiet).alarms == ()


def test_ratios_that_are_not_finite_are_refused(data, llrs):
    with pytest.raises(ModelError, match="not finite"):
        measure_support(data, np.where(np.arange(len(llrs)) == 11, np.nan, llrs))


def test_a_calibration_can_be_stored_and_loaded(data, cohort, llrs):
    calibration = fit_calibration(data, MODEL, cohort, ("made up, CC0",), measure_support(data, llrs))
    back = decode_calibration(encode_calibration(calibration), MODEL, cohort.digest, "here")
    assert back == calibration
    assert (calibration.target, calibration.nontarget) == (90, 2610)
    assert calibration.speakers == tuple(data.people)


# Refusals


def test_too_few_speakers_make_no_cohort():
    few = synthetic_trials(people=10)
    with pytest.raises(ModelError, match="a cohort needs at least 20 speakers; there are 10") as caught:
        cross_validated(few.trials, few.enrolments, [few.tests], MODEL, None)
    assert caught.value.reason == "cohort_too_small"


def test_the_error_for_too_few_speakers_to_leave_two_out_says_so(cohort):
    few = synthetic_trials(people=2, first=500)
    rows = gather(few.trials, few.enrolments, [few.tests], MODEL, cohort)
    with pytest.raises(ModelError, match="in cross-validation, with 1 of 2 speakers left") as caught:
        CrossValidation(rows, MODEL, cohort).ratios()
    assert caught.value.reason == "not_calibrated"


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_of_trial_is_not_enough(data, cohort, kind):
    with pytest.raises(ModelError, match="target and non-target") as caught:
        fit_calibration(data.part(data.target == kind), MODEL, cohort, ())
    assert caught.value.reason == "not_calibrated"


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_invalid_score_is_not_mistaken_for_an_unknown_snr(data, cohort, broken):
    cosine = np.where(np.arange(len(data.cosine)) == 5, broken, data.cosine)
    with pytest.raises(ModelError, match="finite"):
        fit_calibration(replace(data, cosine=cosine), MODEL, cohort, ())


def test_an_unknown_snr_counts_as_the_mean(data, cohort):
    quiet = replace(data, snr_db=np.where(data.duration == 0, np.nan, data.snr_db))
    calibration = fit_calibration(quiet, MODEL, cohort, ())
    assert calibration.snr_unknown == pytest.approx(float(np.mean(data.snr_db[data.duration == 1])))
    silent = replace(data, snr_db=np.full(len(data.cosine), np.nan))
    assert fit_calibration(silent, MODEL, cohort, ()).weights[-1] == 0.0


def test_invalid_embeddings_give_no_rows(people, cohort):
    path = "person 3, 0"
    broken = {path: embedded([np.full(MODEL.dimension, np.nan, np.float32)])}
    rows = data_of(replace(people, tests=people.tests | broken, cut=people.cut | broken), cohort)
    assert path not in {people.trials[index].test_path for index in rows.trial}
    assert np.isfinite(rows.inputs()).all()


def test_scores_that_are_worse_for_longer_speech_are_refused():
    """The daemon would refuse to load the calibration."""
    generator = np.random.default_rng(1)
    odd = synthetic_trials(people=20, spread=0.3)
    rows = data_of(odd, cohort_of(odd))
    short = rows.duration == 0
    reversed_for_long = np.where(short, rows.cosine, -rows.cosine) + generator.normal(0.0, 0.01, len(rows.cosine))
    with pytest.raises(ModelError, match="at all lengths of speech") as caught:
        fit_calibration(replace(rows, cosine=reversed_for_long), MODEL, cohort_of(odd), ())
    assert caught.value.reason == "not_calibrated"


def test_no_rows_are_refused(data, cohort):
    with pytest.raises(ModelError, match="no trial has enough speech"):
        fit_calibration(data.part(np.zeros(len(data.target), np.bool_)), MODEL, cohort, ())
