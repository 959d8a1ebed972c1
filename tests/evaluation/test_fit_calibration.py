"""Cohort and calibration from a trial list: calibrated on people who were left out, and left out they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_parts import MODEL, World, take, world

from voiceauthd.errors import ModelError
from voiceauthd.evaluation.evaluate import CUTS
from voiceauthd.evaluation.fit_calibration import (
    FOLDS,
    CrossValidatedScorer,
    CrossValidation,
    build_cohort,
    calibration_of,
    cross_validated,
    demonstrate,
    voices_of,
)
from voiceauthd.evaluation.fitting_data import FittingData, gather, ratios
from voiceauthd.evaluation.metrics import accept, log_ratio_cost, min_log_ratio_cost, rank
from voiceauthd.evaluation.scorer import BackendScorer, enrol, gallery_of, pooled
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.calibration import Evidence, decode_calibration, encode_calibration, inputs_of
from voiceauthd.scoring.cohort import Cohort
from voiceauthd.scoring.similarity import weigh


def cohort_of(each: World) -> Cohort:
    return build_cohort(voices_of(each.trials, each.enrolments, each.tests), MODEL, ("made up, CC0",))


def material_of(each: World, cohort: Cohort) -> FittingData:
    return gather(each.trials, each.enrolments, [each.cut, each.tests], MODEL, cohort)


def costs(scores: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Cllr and minCllr."""
    return float(log_ratio_cost(scores, target)[0]), float(min_log_ratio_cost(accept(rank(scores, target)))[0])


@pytest.fixture(scope="module")
def people():
    return world()


@pytest.fixture(scope="module")
def cohort(people):
    return cohort_of(people)


@pytest.fixture(scope="module")
def material(people, cohort):
    return material_of(people, cohort)


@pytest.fixture(scope="module")
def validation(material, cohort):
    return CrossValidation(material, MODEL, cohort)


@pytest.fixture(scope="module")
def found(validation):
    """Cross-validated ratios, a row each."""
    return validation.ratios()


# What is fitted on


def test_what_a_calibration_weighs_is_what_the_daemon_would_weigh(people, cohort, material):
    inputs = material.inputs()
    for row in range(0, len(inputs), 97):
        trial = people.trials[material.trial[row]]
        tests = (people.cut, people.tests)[material.duration[row]]
        profile = enrol(people.enrolments[trial.enroll_id], MODEL)
        backend = Backend(cohort.without((trial.speaker, trial.test_speaker)))
        evidence = weigh(pooled(tests[trial.test_path]), gallery_of(profile, MODEL, backend))[0][1]
        assert inputs[row] == pytest.approx(inputs_of(evidence, evidence.snr_db))


def test_every_trial_has_a_row_for_each_duration_and_a_short_test_no_second_one(people, cohort):
    path = "person 7, 0"
    short = replace(people, cut={**people.cut, path: people.tests[path]})
    rows = material_of(short, cohort)
    assert len(rows.target) == 2 * len(people.trials) - len(people.enrolments)
    of_short = [people.trials[index].test_path == path for index in rows.trial]
    assert set(rows.duration[of_short].tolist()) == {1}


def test_a_test_without_a_window_is_no_row_and_neither_is_an_enrolment(people, cohort):
    path, name = "person 7, 0", "person 8"
    nothing = {path: take([])}
    silent = replace(
        people,
        cut=people.cut | nothing,
        tests=people.tests | nothing,
        enrolments=people.enrolments | {name: [take([])]},
    )
    rows = material_of(silent, cohort)
    assert len(rows.target) == 2 * (len(people.enrolments) - 1) * (len(people.tests) - 1)


def test_profiles_that_are_never_tested_with_their_own_voice_bear_out_a_policy_but_are_not_fitted_on(material, cohort):
    silent = [material.people.index(f"person {number}") for number in range(10)]
    own = np.isin(material.enrolled, silent)
    without_targets = material.part(~(own & material.target))
    fitted = calibration_of(without_targets, MODEL, cohort, ())
    assert fitted.weights == calibration_of(material.part(~own), MODEL, cohort, ()).weights
    assert fitted.weights != calibration_of(material, MODEL, cohort, ()).weights
    told = CrossValidation(without_targets, MODEL, cohort).ratios()
    assert demonstrate(without_targets, told).pairs == demonstrate(material, np.zeros(len(material.target))).pairs


def test_many_ratios_at_once_are_those_of_the_calibration_one_by_one(material, cohort):
    calibration = calibration_of(material, MODEL, cohort, ())
    inputs = material.inputs()[:40].copy()
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


def test_ratios_of_people_who_were_left_out_are_calibrated(material, found):
    for duration in (0, 1):
        chosen = material.duration == duration
        cost, least = costs(found[chosen], material.target[chosen])
        assert 0.0 < least <= cost < 0.3, "the world is not so easy that there is nothing to calibrate"
        assert cost - least < 0.03


def test_a_calibration_fits_people_whom_it_has_never_heard(material, cohort):
    calibration = calibration_of(material, MODEL, cohort, ())
    others = world(seed=5, first=100)
    there = material_of(others, cohort)
    cost, least = costs(ratios(there.inputs(), calibration), there.target)
    assert 0.0 < least <= cost < 0.3
    assert cost - least < 0.03


def poisoned(people: World, name: str, other: str) -> World:
    """The same, but for what one person says: that is another one's voice."""
    said = {path: path.replace(f"{name},", f"{other},") for path in people.tests if path.startswith(f"{name},")}
    return replace(
        people,
        tests=people.tests | {path: people.tests[of_other] for path, of_other in said.items()},
        cut=people.cut | {path: people.cut[of_other] for path, of_other in said.items()},
        enrolments=people.enrolments | {name: people.enrolments[other]},
    )


def test_what_a_person_says_has_no_part_in_the_calibration_for_that_person(people, validation):
    name, other, third = "person 7", "person 20", "person 29"
    wrong = poisoned(people, name, other)
    cohort = cohort_of(wrong)
    poison = CrossValidation(material_of(wrong, cohort), MODEL, cohort)
    for pair in ((name, name), (name, other), (third, name)):
        one, two = validation.without(*pair), poison.without(*pair)
        assert two.weights == pytest.approx(one.weights, rel=1e-9)
        assert two.offset == pytest.approx(one.offset, rel=1e-9)
    # The poison is one: where the person is not left out, it does something.
    assert poison.without(other, third).offset != pytest.approx(validation.without(other, third).offset, rel=1e-3)


def test_nobody_has_a_part_in_the_calibration_for_himself(people, validation):
    for trial in people.trials[::17]:
        speakers = validation.without(trial.speaker, trial.test_speaker).speakers
        assert trial.speaker not in speakers
        assert trial.test_speaker not in speakers
        assert len(speakers) >= len(people.enrolments) - 2 * -(-len(people.enrolments) // FOLDS)


def test_the_cohort_of_a_trial_holds_neither_of_its_speakers(people, validation, cohort):
    for scorer in (CrossValidatedScorer(validation, MODEL, cohort), BackendScorer(MODEL, Backend(cohort))):
        for trial in people.trials[::171]:
            speakers = scorer.backend_for(trial).cohort.speakers
            assert set(cohort.speakers) - set(speakers) == {trial.speaker, trial.test_speaker}


def test_a_cross_validated_scorer_gives_the_ratios_of_the_cross_validation(people, validation, cohort, material, found):
    cut, whole = CrossValidatedScorer(validation, MODEL, cohort)(
        people.trials, people.enrolments, [people.cut, people.tests]
    )
    order = np.lexsort((material.trial, material.duration))
    assert np.concatenate((cut, whole)) == pytest.approx(found[order])


def test_a_trial_list_is_cross_validated_by_itself(people):
    sets = [people.cut] * len(CUTS)
    scorer = cross_validated(people.trials, people.enrolments, [*sets, people.tests], MODEL, None)
    assert set(scorer.backend.cohort.speakers) == set(people.enrolments)
    assert scorer.backend.calibration is None, "there is not one, but many"
    (scores,) = scorer(people.trials, people.enrolments, [people.tests])
    target = np.array([trial.target for trial in people.trials])
    cost, least = costs(scores, target)
    assert cost - least < 0.03


# What it demonstrates


def test_two_people_are_one_pair_whoever_was_enrolled_and_however_often(people, material, found):
    support = demonstrate(material, found)
    count = len(people.enrolments)
    assert support.pairs == count * (count - 1) // 2
    assert support.alarms == tuple(sorted(support.alarms, reverse=True))
    assert all(alarm > 0.0 for alarm in support.alarms)
    loud = np.where(material.target, found, 5.0)
    assert demonstrate(material, loud).alarms == (5.0,) * support.pairs


def test_the_highest_ratio_of_two_people_counts(material, found):
    quiet = np.where(material.target, found, -5.0)
    pair = np.flatnonzero((material.enrolled == 3) & (material.tested == 8))
    back = np.flatnonzero((material.enrolled == 8) & (material.tested == 3))
    quiet[pair[-1]], quiet[back[-1]] = 2.0, 7.0
    assert demonstrate(material, quiet).alarms == (7.0,)


def test_what_a_decision_never_rests_on_is_no_alarm(material, found):
    quiet = np.where(material.target, found, -5.0)
    quiet[np.flatnonzero(~material.target & (material.duration == 0))] = 9.0
    assert demonstrate(material, quiet).alarms == ()


def test_ratios_that_are_not_finite_demonstrate_nothing(material, found):
    with pytest.raises(ModelError, match="not finite"):
        demonstrate(material, np.where(np.arange(len(found)) == 11, np.nan, found))


def test_what_is_fitted_can_be_kept_and_loaded(material, cohort, found):
    calibration = calibration_of(material, MODEL, cohort, ("made up, CC0",), demonstrate(material, found))
    back = decode_calibration(encode_calibration(calibration), MODEL, cohort.digest, "here")
    assert back == calibration
    assert (calibration.target, calibration.nontarget) == (90, 2610)
    assert calibration.speakers == tuple(material.people)


# What is refused


def test_too_few_speakers_make_no_cohort():
    few = world(people=10)
    with pytest.raises(ModelError, match="10 speakers make no cohort") as caught:
        cross_validated(few.trials, few.enrolments, [few.tests], MODEL, None)
    assert caught.value.reason == "cohort_too_small"


def test_too_few_speakers_to_leave_two_out_are_told_apart_from_bad_ones(cohort):
    few = world(people=2, first=500)
    rows = gather(few.trials, few.enrolments, [few.tests], MODEL, cohort)
    with pytest.raises(ModelError, match="in cross-validation, with 1 of 2 speakers left") as caught:
        CrossValidation(rows, MODEL, cohort).ratios()
    assert caught.value.reason == "not_calibrated"


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_of_trial_calibrates_nothing(material, cohort, kind):
    with pytest.raises(ModelError, match="target and non-target") as caught:
        calibration_of(material.part(material.target == kind), MODEL, cohort, ())
    assert caught.value.reason == "not_calibrated"


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_score_that_is_not_a_number_is_not_taken_for_an_unknown_noise(material, cohort, broken):
    cosine = np.where(np.arange(len(material.cosine)) == 5, broken, material.cosine)
    with pytest.raises(ModelError, match="finite"):
        calibration_of(replace(material, cosine=cosine), MODEL, cohort, ())


def test_noise_that_was_not_heard_counts_as_the_mean(material, cohort):
    quiet = replace(material, snr_db=np.where(material.duration == 0, np.nan, material.snr_db))
    found = calibration_of(quiet, MODEL, cohort, ())
    assert found.snr_unknown == pytest.approx(float(np.mean(material.snr_db[material.duration == 1])))
    silent = replace(material, snr_db=np.full(len(material.cosine), np.nan))
    assert calibration_of(silent, MODEL, cohort, ()).weights[-1] == 0.0


def test_embeddings_that_are_not_numbers_are_no_rows(people, cohort):
    path = "person 3, 0"
    broken = {path: take([np.full(MODEL.dimension, np.nan, np.float32)])}
    rows = material_of(replace(people, tests=people.tests | broken, cut=people.cut | broken), cohort)
    assert path not in {people.trials[index].test_path for index in rows.trial}
    assert np.isfinite(rows.inputs()).all()


def test_a_score_that_means_less_the_longer_one_speaks_is_refused_and_not_written():
    """The daemon would refuse to load it."""
    generator = np.random.default_rng(1)
    odd = world(people=20, spread=0.3)
    rows = material_of(odd, cohort_of(odd))
    short = rows.duration == 0
    turned = np.where(short, rows.cosine, -rows.cosine) + generator.normal(0.0, 0.01, len(rows.cosine))
    with pytest.raises(ModelError, match="at all lengths of speech") as caught:
        calibration_of(replace(rows, cosine=turned), MODEL, cohort_of(odd), ())
    assert caught.value.reason == "not_calibrated"


def test_no_rows_at_all_are_told(material, cohort):
    with pytest.raises(ModelError, match="no trial has enough speech"):
        calibration_of(material.part(np.zeros(len(material.target), np.bool_)), MODEL, cohort, ())
