"""Scoring as it is plugged in: what a scorer sees, what becomes of its scores, and which trials are told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_parts import MODEL, Ear, demo_list, take, trial_rows, world, write_table

from voiceauthd.config.schema import Config
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.evaluate import EvaluationOptions, by_condition, by_source, doubts, evaluate
from voiceauthd.evaluation.fit_calibration import Support, build_cohort, calibration_of, voices_of
from voiceauthd.evaluation.fitting_data import gather
from voiceauthd.evaluation.plots import draw
from voiceauthd.evaluation.report import as_lines, as_object
from voiceauthd.evaluation.scorer import BackendScorer, pooled
from voiceauthd.evaluation.trials import load_trials
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import chunks, pieces
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.similarity import compare, make_gallery


class Ratios:
    """Log-likelihood ratios that know the truth, but for what it is told to leave out."""

    name = "ratios"
    llr = True

    def __init__(self, silent=(), backend=NO_BACKEND):
        self.silent = set(silent)
        self.backend = backend
        self.seen = []

    def backend_for(self, trial):
        return NO_BACKEND

    def __call__(self, trials, enrolments, sets):
        self.seen.append((trials, enrolments, sets))
        told = np.array([3.0 if trial.target else -3.0 for trial in trials])
        told[[trial.test_path in self.silent for trial in trials]] = np.nan
        return [told] * len(sets)


@pytest.fixture
def listed(tmp_path):
    return load_trials(demo_list(tmp_path / "list"))


@pytest.fixture(scope="module")
def people():
    return world(people=25, tests=2)


@pytest.fixture(scope="module")
def backend(people):
    """Made of all of them, as what comes with the package is made of speakers of the development speech."""
    cohort = build_cohort(voices_of(people.trials, people.enrolments, people.tests), MODEL, ("made up, CC0",))
    material = gather(people.trials, people.enrolments, [people.cut, people.tests], MODEL, cohort)
    return Backend(cohort, calibration_of(material, MODEL, cohort, (), Support(300, (), 0.1, 0.1)))


def evaluated(listed, scorer, resamples=50, config=Config()):  # noqa: B008 - frozen
    return evaluate(listed, config, Ear(), lambda *_: scorer, EvaluationOptions(resamples=resamples), lambda *_: None)


def test_a_scorer_sees_every_trial_with_its_speakers_and_the_takes_whole_and_cut(listed):
    scorer, made = Ratios(), []

    def scoring(*given):
        made.append(given)
        return scorer

    evaluate(listed, Config(), Ear(), scoring, EvaluationOptions(resamples=0), lambda *_: None)
    ((trials, enrolments, (whole, *cut)),) = scorer.seen
    assert len(cut) == 5
    assert len(trials) == 16
    assert {trial.test_speaker for trial in trials} == {"ralph", "susan", "awb", "kal16"}
    assert {name: len(takes) for name, takes in enrolments.items()} == {"ralph": 5, "susan": 5}
    assert all(len(tests) == 8 for tests in (whole, *cut))
    assert all(cut[0][path].net_speech <= 1.03 < whole[path].net_speech for path in whole)
    assert made == [(trials, enrolments, [*cut, whole])], "it is made once everything was heard"


def test_ratios_have_a_cost_and_a_calibration_curve(listed):
    pytest.importorskip("matplotlib", reason="no matplotlib")
    found = evaluated(listed, Ratios())
    pooled = as_object(found)["pooled"]
    assert pooled["cllr"]["value"] == pytest.approx(np.log2(1.0 + np.exp(-3.0)))
    assert pooled["mincllr"]["value"] == 0.0
    assert as_object(found)["scoring"] == {"name": "ratios", "llr": True, "cohort": None, "calibration": None}
    assert {"calibration.png", "calibration.svg"} <= set(draw(found))
    assert any("Cllr" in line for line in as_lines(found))


def test_what_a_scorer_says_nothing_of_is_a_reject_in_every_figure(listed):
    found = evaluated(listed, Ratios(silent=["turn-01-ralph.flac"]))
    assert (found.pooled.rejected_target, found.pooled.rejected_nontarget) == (1, 1)
    assert found.pooled.values["eer"].value > 0.0
    # One target and one non-target of 6 and 10 at a bit each, all others at what 3 nats cost.
    known = np.log2(1.0 + np.exp(-3.0))
    expected = ((1.0 + 5.0 * known) / 6.0 + (1.0 + 9.0 * known) / 10.0) / 2.0
    assert found.pooled.values["cllr"].value == pytest.approx(expected)


def test_nothing_is_scored_without_speech(listed):
    found = evaluated(listed, BackendScorer(Ear.model), resamples=0)
    silent = EmbeddedSpeech((), (), 0.0, 0)
    scorer = BackendScorer(Ear.model)
    enrolments = {name: [next(iter(found.tests.values()))] for name in listed.enrolments}
    tests = {path: silent if path == "turn-01-ralph.flac" else take for path, take in found.tests.items()}
    (scores,) = scorer(listed.trials, enrolments, [tests])
    assert [bool(np.isnan(score)) for score in scores] == [
        trial.test_path == "turn-01-ralph.flac" for trial in listed.trials
    ]
    assert np.all(np.abs(scores[~np.isnan(scores)]) <= 1.0 + 1e-6)
    (nobody,) = scorer(listed.trials, {name: [silent] for name in listed.enrolments}, [found.tests])
    assert np.all(np.isnan(nobody))


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_embeddings_that_are_broken_are_no_score_and_no_end_of_the_evaluation(people, backend, broken):
    wrong = take([np.full(MODEL.dimension, broken, np.float32)])
    path = people.trials[0].test_path
    (scores,) = BackendScorer(MODEL, backend)(people.trials, people.enrolments, [people.tests | {path: wrong}])
    assert [bool(np.isnan(score)) for score in scores] == [trial.test_path == path for trial in people.trials]
    name = people.trials[0].enroll_id
    (scores,) = BackendScorer(MODEL, backend)(people.trials, people.enrolments | {name: [wrong]}, [people.tests])
    assert [bool(np.isnan(score)) for score in scores] == [trial.enroll_id == name for trial in people.trials]


def test_a_score_is_the_daemons_but_for_the_trials_own_speakers_in_the_cohort(people, backend):
    whole, cut = BackendScorer(MODEL, backend)(people.trials, people.enrolments, [people.tests, people.cut])
    for index in range(0, len(people.trials), 61):
        trial = people.trials[index]
        chunked = [chunk for each in people.enrolments[trial.enroll_id] for chunk in chunks_of(each)]
        exemplars = tuple(Exemplar(each.vector, each.net_speech, each.snr_db, "default", "") for each in chunked)
        profile = Profile(trial.enroll_id, "uid", 1, None, MODEL, exemplars, "", "")
        others = Backend(backend.cohort.without([trial.speaker, trial.test_speaker]), backend.calibration)
        gallery = make_gallery([profile], MODEL, others)
        for scores, tests in ((whole, people.tests), (cut, people.cut)):
            assert scores[index] == compare(pooled(tests[trial.test_path]), gallery)[0].llr


def chunks_of(each):
    return chunks(pieces(each.windows, each.embeddings))


def test_without_a_calibration_scores_are_what_the_daemon_then_decides_by(people, backend):
    (raw,) = BackendScorer(MODEL)(people.trials, people.enrolments, [people.tests])
    (cohort_only,) = BackendScorer(MODEL, Backend(backend.cohort))(people.trials, people.enrolments, [people.tests])
    assert np.array_equal(raw, cohort_only)


# What is told of it


def told(people, scorer, config=Config()):  # noqa: B008 - frozen
    return list(doubts(people.trials, scorer, config))


def test_speakers_who_had_a_part_in_the_scoring_are_warned_of(people, backend):
    fitted, strangers = told(people, BackendScorer(MODEL, backend))
    assert fitted.startswith("25 of the 25 speakers had a part in fitting the calibration")
    assert "--cross-validate" in fitted
    assert strangers.startswith("25 of the 25 speakers are in the cohort of 25")
    assert told(world(people=4, first=900), BackendScorer(MODEL, backend)) == []
    assert told(people, BackendScorer(MODEL)) == []


def test_a_cohort_that_decides_nothing_and_a_threshold_that_decides_instead_are_told(people, backend):
    alone = told(people, BackendScorer(MODEL, Backend(backend.cohort)))[-1]
    assert "decides by raw cosine" in alone
    assert "voiceauth calibrate" in alone
    strict = replace(Config(), decision=replace(Config().decision, threshold=0.7))
    assert "decision.threshold is set" in told(people, BackendScorer(MODEL, backend), strict)[-1]
    assert told(people, BackendScorer(MODEL), strict) == []


def test_a_report_says_what_stands_behind_the_scores(listed, backend):
    scorer = Ratios(backend=backend)
    found = evaluated(listed, scorer, resamples=0)
    assert as_object(found)["scoring"] == {
        "name": "ratios",
        "llr": True,
        "cohort": {"speakers": 25, "digest": backend.cohort.digest},
        "calibration": {"created": backend.calibration.created, "pairs": 300},
    }
    text = "\n".join(as_lines(found))
    assert f"cohort of 25 speakers ({backend.cohort.digest[:12]}); calibration of {backend.calibration.created}" in text
    assert "300 pairs of people" in text


def test_what_has_no_calibration_says_so(listed):
    found = evaluated(listed, BackendScorer(Ear.model), resamples=0)
    assert as_object(found)["scoring"] == {
        "name": "raw cosine, uncalibrated",
        "llr": False,
        "cohort": None,
        "calibration": None,
    }
    text = "\n".join(as_lines(found))
    assert "scores: raw cosine, uncalibrated" in text
    assert "uncal." in text, "no policy aims at a rate"
    assert not any(each["calibrated"] for each in as_object(found)["policies"].values())


def test_the_policies_are_told_with_what_they_let_in(listed):
    found = evaluated(listed, BackendScorer(Ear.model), resamples=0)
    policies = as_object(found)["policies"]
    assert list(policies) == ["monitor", "unlock", "auth"]
    for policy in policies.values():
        for sessions in (policy["session"], policy["first_try"]):
            assert sessions["target"]["of"] == 2
            assert sessions["nontarget"]["of"] == 6, "two identities, and three others each"
            for share in sessions.values():
                assert 0.0 <= share["low"] <= share["value"] <= share["high"] <= 1.0
    lines = list(as_lines(found))
    at = next(index for index, line in enumerate(lines) if line.startswith("policy"))
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == list(policies)


def test_sources_are_those_of_the_tests_and_conditions_borrow_the_other_kind_from_the_same_sources(tmp_path):
    folder = demo_list(tmp_path / "list")
    rows = trial_rows()
    rows[0]["condition"] = "another_day"
    rows[1] |= {"condition": "", "test_source": ""}
    write_table(folder / "trials.csv", rows)
    trials = load_trials(folder).trials
    sources = by_source(trials)
    assert {name: int(np.sum(chosen)) for name, chosen in sources.items()} == {"enrolled": 11, "strangers": 4}
    day = by_condition(trials)["another_day"]
    chosen = [trial for trial, is_chosen in zip(trials, day, strict=True) if is_chosen]
    assert [trial.target for trial in chosen].count(True) == 1
    assert {trial.test_source for trial in chosen} == {"enrolled"}
    assert "" not in by_condition(trials)
