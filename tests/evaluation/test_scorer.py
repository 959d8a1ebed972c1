"""Scoring as it is plugged in: what a scorer sees, what becomes of its scores, and which trials are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_parts import Ear, demo_list, trial_rows, write_table

from voiceauthd.config.schema import Config
from voiceauthd.evaluation.evaluate import Wishes, by_condition, by_source, evaluate
from voiceauthd.evaluation.plots import draw
from voiceauthd.evaluation.report import as_lines, as_object
from voiceauthd.evaluation.scorer import RawCosine
from voiceauthd.evaluation.takes import Take
from voiceauthd.evaluation.trials import load_trials


class Ratios:
    """Log-likelihood ratios that know the truth, but for what it is told to leave out."""

    name = "ratios"
    llr = True

    def __init__(self, silent=()):
        self.silent = set(silent)
        self.seen = []

    def __call__(self, trials, enrolments, tests):
        self.seen.append((trials, enrolments, tests))
        told = np.array([3.0 if trial.target else -3.0 for trial in trials])
        told[[trial.test_path in self.silent for trial in trials]] = np.nan
        return told


@pytest.fixture
def listed(tmp_path):
    return load_trials(demo_list(tmp_path / "list"))


def evaluated(listed, scorer, resamples=50):
    return evaluate(listed, Config(), Ear(), scorer, Wishes(resamples=resamples), lambda *_: None)


def test_a_scorer_sees_every_trial_with_its_speakers_and_the_takes_whole_and_cut(listed):
    scorer = Ratios()
    evaluated(listed, scorer)
    assert len(scorer.seen) == 6, "whole, and cut five times"
    for trials, enrolments, tests in scorer.seen:
        assert len(trials) == 16
        assert {trial.test_speaker for trial in trials} == {"ralph", "susan", "awb", "kal16"}
        assert {name: len(takes) for name, takes in enrolments.items()} == {"ralph": 5, "susan": 5}
        assert len(tests) == 8
    whole, shortest = scorer.seen[0][2], scorer.seen[1][2]
    assert all(shortest[path].net_speech <= 1.03 < whole[path].net_speech for path in whole)


def test_ratios_have_a_cost_and_a_calibration_curve(listed):
    pytest.importorskip("matplotlib", reason="no matplotlib")
    found = evaluated(listed, Ratios())
    pooled = as_object(found)["pooled"]
    assert pooled["cllr"]["value"] == pytest.approx(np.log2(1.0 + np.exp(-3.0)))
    assert pooled["mincllr"]["value"] == 0.0
    assert as_object(found)["scoring"] == {"name": "ratios", "llr": True}
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


def test_raw_cosines_are_those_of_the_daemon_and_nothing_is_scored_without_speech(listed):
    found = evaluated(listed, RawCosine(Ear.model))
    silent = Take((), (), 0.0, 0)
    scorer = RawCosine(Ear.model)
    enrolments = {name: [next(iter(found.tests.values()))] for name in listed.enrolments}
    tests = {path: silent if path == "turn-01-ralph.flac" else take for path, take in found.tests.items()}
    scores = scorer(listed.trials, enrolments, tests)
    assert [bool(np.isnan(score)) for score in scores] == [
        trial.test_path == "turn-01-ralph.flac" for trial in listed.trials
    ]
    assert np.all(np.abs(scores[~np.isnan(scores)]) <= 1.0 + 1e-6)
    nobody = scorer(listed.trials, {name: [silent] for name in listed.enrolments}, found.tests)
    assert np.all(np.isnan(nobody))


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
