"""`voiceauth evaluate` from a folder of recordings to a table, an object, scores and plots."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import soundfile
from evaluation_parts import TABLES, check_group, demo_list, enrolled_rows, evaluated, trial_rows, write_table

from voiceauthd.audio.block import RATE
from voiceauthd.errors import ExitCode


def test_the_object_has_all_results(command, folder):
    found = evaluated(command, folder, "--bootstrap", "200")
    check_group(found["pooled"])
    for table in TABLES:
        for group in found[table].values():
            check_group(group)
    assert found["pooled"]["trials"] == {"target": 6, "nontarget": 10, "speakers": 4}
    assert found["pooled"]["eer"]["value"] == 0.0
    assert found["pooled"]["cllr"]["value"] < 0.5
    assert found["pooled"]["frr_at_far_1e-2"]["value"] is None, "ten non-targets cannot show a rate of one in a hundred"
    assert set(found["by_source"]) == {"enrolled", "strangers"}
    assert found["by_source"]["strangers"]["trials"]["target"] == 0
    assert set(found["by_net_speech"]) == {"1", "1.5", "2", "3", "5"}
    assert found["bootstrap"] == {"resamples": 200, "seed": 0, "confidence": 0.95}
    assert found["gates"]["tests"]["heard"] == 8
    assert found["gates"]["enrolments"]["heard"] == 2
    # A condition with one kind of trial gets the trials of the other kind from the same sources.
    assert found["by_condition"]["same_session"]["trials"]["target"] == 6
    assert found["by_condition"]["another_voice"]["trials"] == {"target": 6, "nontarget": 10, "speakers": 4}


def test_the_table_has_the_results_and_their_caveats(command, folder):
    result = command(folder, "--model", "campplus", "--bootstrap", "50")
    lines = result.stdout.splitlines()
    assert any(line.split()[:4] == ["pooled", "6/10", "0/0", "4"] for line in lines)
    for text in ("log-likelihood ratio", "by net speech", "counted as rejects", "the daemon would refuse"):
        assert text in result.stdout
    at = next(index for index, line in enumerate(lines) if line.startswith("policy"))
    assert [line.split()[:2] for line in lines[at + 1 : at + 4]] == [
        ["monitor", "1"],
        ["unlock", "0.1"],
        ["auth", "0.01"],
    ]
    assert any(line.startswith("note: ") and "needs 100 non-target trials; there are 10" in line for line in lines)
    assert all(len(line) <= 140 for line in lines if not line.startswith(("note", "/", "the daemon")))
    assert "embedding" in result.stderr


def test_the_scores_file_has_all_trials_in_order(command, folder, tmp_path):
    evaluated(command, folder, "--scores", tmp_path / "scores.csv", "--bootstrap", "0")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["enroll_id"], row["test_path"]) for row in rows] == [
        (row["enroll_id"], row["test_path"]) for row in trial_rows()
    ]
    targets = [float(row["score"]) for row in rows if row["label"] == "target"]
    others = [float(row["score"]) for row in rows if row["label"] == "nontarget" and row["score"]]
    assert min(targets) > max(others)
    assert (tmp_path / "scores.csv").stat().st_mode & 0o777 == 0o600


def test_the_plots_are_written_and_raw_cosines_have_no_calibration_plot(command, folder, tmp_path):
    pytest.importorskip("matplotlib", reason="no matplotlib")
    evaluated(command, folder, "--raw", "--plots", tmp_path / "plots", "--bootstrap", "0")
    files = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert set(files) == {"det.png", "det.svg", "scores.png", "scores.svg"}
    for name, data in files.items():
        assert data.startswith(b"\x89PNG") if name.endswith("png") else b"<svg" in data


def test_without_a_cache_the_results_are_the_same_and_nothing_is_stored(command, folder, tmp_path, monkeypatch):
    cached = evaluated(command, folder, "--seed", "3", "--bootstrap", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert evaluated(command, folder, "--seed", "3", "--bootstrap", "100", "--no-cache") == cached
    assert not (tmp_path / "cache").exists()


def test_noise_and_rooms_give_tables_of_their_own(command, tmp_path):
    listed = demo_list(tmp_path / "list")
    tests = {"turn-01-ralph.flac", "turn-03-stranger.flac"}
    rows = [row for row in trial_rows() if row["enroll_id"] == "ralph" and row["test_path"] in tests]
    write_table(listed / "trials.csv", rows)
    generator = np.random.default_rng(0)
    for name, audio in (
        ("noise", generator.normal(0.0, 0.05, 4 * RATE)),
        ("rooms", generator.normal(0.0, 0.3, RATE // 2) * np.exp(-np.arange(RATE // 2) / 800)),
    ):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", audio, RATE)
    found = evaluated(command, listed, "--noise", tmp_path / "noise", "--rir", tmp_path / "rooms", "--bootstrap", "0")
    assert list(found["by_noise"]) == ["20", "10", "5", "0"]
    assert list(found["by_room"]) == ["rooms"]
    for group in (*found["by_noise"].values(), *found["by_room"].values()):
        assert group["trials"] == {"target": 1, "nontarget": 1, "speakers": 2}


def test_a_test_without_speech_is_a_reject_and_is_counted(command, tmp_path):
    listed = demo_list(tmp_path / "list")
    soundfile.write(listed / "turn-01-ralph.flac", np.zeros(RATE), RATE)
    found = evaluated(command, listed, "--bootstrap", "0")
    assert found["pooled"]["rejected"] == {"target": 1, "nontarget": 1}
    assert found["pooled"]["trials"]["target"] == 6
    assert found["pooled"]["eer"]["value"] > 0.0
    assert found["gates"]["tests"]["reasons"]["no_window"] == 1


def test_a_short_enrolment_is_used_and_reported(command, tmp_path):
    listed = demo_list(tmp_path / "list")
    rows = enrolled_rows()
    rows[0]["files"] = "ralph-1.flac"
    write_table(listed / "enroll.csv", rows)
    found = evaluated(command, listed, "--bootstrap", "0")
    assert found["pooled"]["rejected"]["target"] == 0
    assert found["gates"]["enrolments"]["reasons"]["not_enough_speech"] >= 1


def test_an_error_in_a_list_is_one_line_with_file_and_line(command, tmp_path):
    listed = demo_list(tmp_path / "list")
    rows = trial_rows()
    rows[4]["label"] = "same"
    write_table(listed / "trials.csv", rows)
    result = command(listed, "--model", "campplus", code=ExitCode.STORAGE)
    message = "voiceauth: trials.csv, line 6: the label is 'same': it must be target or nontarget\n"
    assert (result.stdout, result.stderr) == ("", message)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "nothing-like-it"), ExitCode.MODEL, "is not in the model cache"),
        (("--bootstrap", "many"), ExitCode.USAGE, "not a whole number"),
        (("--noise", "/nowhere"), ExitCode.USAGE, "/nowhere: no such folder"),
        (("--scores", "/nowhere/scores.csv"), ExitCode.USAGE, "its folder must exist"),
        (("--raw", "--cross-validate"), ExitCode.USAGE, "not allowed with"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_the_work(command, folder, arguments, code, message):
    result = command(folder, *arguments, code=code)
    assert message in result.stderr
    assert "embedding" not in result.stderr


def test_plots_without_matplotlib_are_refused_before_the_work(command, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = command(folder, "--model", "campplus", "--plots", tmp_path / "plots", code=ExitCode.USAGE)
    assert "pip install 'voiceauthd[plots]'" in result.stderr
    assert "embedding" not in result.stderr
