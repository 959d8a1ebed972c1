"""Scorers: what they get, what happens to their scores, and how trials are grouped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_parts import MODEL, BandEmbedder, demo_list, embedded, synthetic_trials, trial_rows, write_table

from voiceauthd.config.schema import Config
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.evaluate import EvaluationOptions, by_condition, by_source, evaluate, scoring_warnings
from voiceauthd.evaluation.fit_calibration import Support, build_cohort, fit_calibration, recordings_by_speaker
from voiceauthd.evaluation.fitting_data import gather
from voiceauthd.evaluation.plots import draw
from voiceauthd.evaluation.report import as_lines, as_object
from voiceauthd.evaluation.scorer import BackendScorer, pooled
from voiceauthd.evaluation.trials import load_trials
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import chunks, counted_windows
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.similarity import compare, make_gallery


class TrueRatios:
    """A scorer with the right log-likelihood ratio for every trial, and none for the recordings in `unscored`."""

    name = "ratios"
    llr = True

    def __init__(self, unscored=(), backend=NO_BACKEND):
        self.unscored = set(unscored)
        self.backend = backend
        self.calls = []

    def backend_for(self, trial):
        return NO_BACKEND

    def __call__(self, trials, enrolments, sets):
        self.calls.append((trials, enrolments, sets))
        scores = np.array([3.0 if trial.target else -3.0 for trial in trials])
        scores[[trial.test_path in self.unscored for trial in trials]] = np.nan
        return [scores] * len(sets)


@pytest.fixture
def listed(tmp_path):
    return load_trials(demo_list(tmp_path / "list"))


@pytest.fixture(scope="module")
def people():
    return synthetic_trials(people=25, tests=2)


@pytest.fixture(scope="module")
def backend(people):
    """Cohort and calibration made from all of these people."""
    cohort = build_cohort(
        recordings_by_speaker(people.trials, people.enrolments, people.tests), MODEL, ("made up, CC0",)
    )
    data = gather(people.trials, people.enrolments, [people.cut, people.tests], MODEL, cohort)
    return Backend(cohort, fit_calibration(data, MODEL, cohort, (), Support(300, (), 0.1, 0.1)))


@pytest.fixture
def evaluated(listed, cache):
    """Evaluate the demo's list with a scorer."""

    def run(scorer, resamples=0):
        options = EvaluationOptions(resamples=resamples, cache=cache / "bands")
        return evaluate(listed, Config(), BandEmbedder(), lambda *_: scorer, options, lambda *_: None)

    return run


def test_a_scorer_gets_every_trial_with_its_speakers_and_the_recordings_whole_and_cut(listed, cache):
    scorer, calls = TrueRatios(), []

    def scoring(*arguments):
        calls.append(arguments)
        return scorer

    options = EvaluationOptions(resamples=0, cache=cache / "bands")
    evaluate(listed, Config(), BandEmbedder(), scoring, options, lambda *_: None)
    ((trials, enrolments, (whole, *cut)),) = scorer.calls
    assert len(cut) == 5
    assert len(trials) == 16
    assert {trial.test_speaker for trial in trials} == {"ralph", "susan", "awb", "kal16"}
    assert {name: len(takes) for name, takes in enrolments.items()} == {"ralph": 5, "susan": 5}
    assert all(len(tests) == 8 for tests in (whole, *cut))
    assert all(cut[0][path].net_speech <= 1.03 < whole[path].net_speech for path in whole)
    assert calls == [(trials, enrolments, [*cut, whole])], "the scorer is made once, from all recordings"


def test_ratios_have_a_cost_and_a_calibration_plot(evaluated):
    pytest.importorskip("matplotlib", reason="no matplotlib")
    found = evaluated(TrueRatios(), resamples=50)
    pooled = as_object(found)["pooled"]
    assert pooled["cllr"]["value"] == pytest.approx(np.log2(1.0 + np.exp(-3.0)))
    assert pooled["mincllr"]["value"] == 0.0
    assert as_object(found)["scoring"] == {"name": "ratios", "llr": True, "cohort": None, "calibration": None}
    plots = draw(found)
    assert set(plots) == {f"{name}.{kind}" for name in ("det", "scores", "calibration") for kind in ("png", "svg")}
    assert draw(found) == plots, "the same evaluation gives the same bytes"
    assert any("Cllr" in line for line in as_lines(found))


def test_a_trial_without_a_score_is_a_reject_in_every_metric(evaluated):
    found = evaluated(TrueRatios(unscored=["turn-01-ralph.flac"]))
    assert (found.pooled.rejected_target, found.pooled.rejected_nontarget) == (1, 1)
    assert found.pooled.values["eer"].value > 0.0
    # One target of 6 and one non-target of 10 cost one bit each, all others the cost of 3 nats.
    known = np.log2(1.0 + np.exp(-3.0))
    expected = ((1.0 + 5.0 * known) / 6.0 + (1.0 + 9.0 * known) / 10.0) / 2.0
    assert found.pooled.values["cllr"].value == pytest.approx(expected)


def test_recordings_without_speech_have_no_score(listed, evaluated):
    found = evaluated(BackendScorer(BandEmbedder.model))
    silent = EmbeddedSpeech((), (), 0.0, 0)
    scorer = BackendScorer(BandEmbedder.model)
    enrolments = {name: [next(iter(found.tests.values()))] for name in listed.enrolments}
    tests = {path: silent if path == "turn-01-ralph.flac" else test for path, test in found.tests.items()}
    (scores,) = scorer(listed.trials, enrolments, [tests])
    assert [bool(np.isnan(score)) for score in scores] == [
        trial.test_path == "turn-01-ralph.flac" for trial in listed.trials
    ]
    assert np.all(np.abs(scores[~np.isnan(scores)]) <= 1.0 + 1e-6)
    (no_scores,) = scorer(listed.trials, {name: [silent] for name in listed.enrolments}, [found.tests])
    assert np.all(np.isnan(no_scores))


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_invalid_embeddings_give_no_score_and_do_not_stop_the_evaluation(people, backend, broken):
    invalid = embedded([np.full(MODEL.dimension, broken, np.float32)])
    path = people.trials[0].test_path
    (scores,) = BackendScorer(MODEL, backend)(people.trials, people.enrolments, [people.tests | {path: invalid}])
    assert [bool(np.isnan(score)) for score in scores] == [trial.test_path == path for trial in people.trials]
    name = people.trials[0].enroll_id
    (scores,) = BackendScorer(MODEL, backend)(people.trials, people.enrolments | {name: [invalid]}, [people.tests])
    assert [bool(np.isnan(score)) for score in scores] == [trial.enroll_id == name for trial in people.trials]


def test_a_score_is_the_daemon_s_without_the_trial_s_own_speakers_in_the_cohort(people, backend):
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
    return chunks(counted_windows(each.windows, each.embeddings))


def test_without_a_calibration_scores_are_raw_cosines_with_or_without_a_cohort(people, backend):
    (raw,) = BackendScorer(MODEL)(people.trials, people.enrolments, [people.tests])
    (cohort_only,) = BackendScorer(MODEL, Backend(backend.cohort))(people.trials, people.enrolments, [people.tests])
    assert np.array_equal(raw, cohort_only)


# Reports


def warnings_for(people, scorer, config=Config()):  # noqa: B008 - frozen
    return list(scoring_warnings(people.trials, scorer, config))


def test_speakers_used_for_the_calibration_or_in_the_cohort_give_warnings(people, backend):
    fitted, in_cohort = warnings_for(people, BackendScorer(MODEL, backend))
    assert fitted.startswith("25 of the 25 speakers were used to fit the calibration")
    assert "--cross-validate" in fitted
    assert in_cohort.startswith("25 of the 25 speakers are in the cohort of 25")
    assert warnings_for(synthetic_trials(people=4, first=900), BackendScorer(MODEL, backend)) == []
    assert warnings_for(people, BackendScorer(MODEL)) == []


def test_a_cohort_that_decides_nothing_and_a_threshold_that_decides_instead_are_warnings_for(people, backend):
    warning = warnings_for(people, BackendScorer(MODEL, Backend(backend.cohort)))[-1]
    assert "decides by raw cosine" in warning
    assert "voiceauth calibrate" in warning
    strict = replace(Config(), decision=replace(Config().decision, threshold=0.7))
    assert "decision.threshold is set" in warnings_for(people, BackendScorer(MODEL, backend), strict)[-1]
    assert warnings_for(people, BackendScorer(MODEL), strict) == []


def test_a_report_names_cohort_and_calibration(evaluated, backend):
    found = evaluated(TrueRatios(backend=backend))
    assert as_object(found)["scoring"] == {
        "name": "ratios",
        "llr": True,
        "cohort": {"speakers": 25, "digest": backend.cohort.digest},
        "calibration": {"created": backend.calibration.created, "pairs": 300},
    }
    text = "\n".join(as_lines(found))
    assert f"cohort of 25 speakers ({backend.cohort.digest[:12]}); calibration of {backend.calibration.created}" in text
    assert "300 pairs of people" in text


def test_the_policies_are_reported_with_their_accepted_sessions(evaluated):
    found = evaluated(BackendScorer(BandEmbedder.model))
    policies = as_object(found)["policies"]
    assert list(policies) == ["monitor", "unlock", "auth"]
    for policy in policies.values():
        for sessions in (policy["session"], policy["first_try"]):
            assert sessions["target"]["of"] == 2
            assert sessions["nontarget"]["of"] == 6, "two identities with three other people each"
            for share in sessions.values():
                assert 0.0 <= share["low"] <= share["value"] <= share["high"] <= 1.0
    lines = list(as_lines(found))
    at = next(index for index, line in enumerate(lines) if line.startswith("policy"))
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == list(policies)


def test_sources_are_those_of_the_tests_and_conditions_get_the_other_kind_from_the_same_sources(tmp_path):
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
