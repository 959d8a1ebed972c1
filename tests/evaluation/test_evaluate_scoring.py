"""The scores of `voiceauth evaluate`: the daemon's, cross-validated or raw; and files that it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from evaluation_parts import TABLES, check_group, evaluated, unit, write_table
from models import development_speech, rows

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import ExitCode
from voiceauthd.evaluation.error_rates import METRICS
from voiceauthd.scoring.backend import CALIBRATION, COHORT, folder_name
from voiceauthd.scoring.calibration import model_record
from voiceauthd.scoring.cohort import encode_cohort, make_cohort


def shipped(name):
    """A file that comes with the package for CAM++."""
    (folder,) = (resources.files("voiceauthd.scoring") / "shipped").iterdir()
    return (folder / name).read_bytes()


def cohort_file(model):
    """A cohort of 25 random voices, encoded."""
    vectors = np.random.default_rng(0).standard_normal((25, model.dimension))
    speakers = [(f"speaker {index}", unit(vector)) for index, vector in enumerate(vectors)]
    return encode_cohort(make_cohort(model, speakers, ()))


def scoring_folder(tmp_path, model):
    """Configure a folder for cohorts and calibrations. Return the model's folder in it."""
    (tmp_path / "voiceauthd").mkdir()
    (tmp_path / "voiceauthd" / "config.yaml").write_text(f"scoring: {tmp_path / 'own'}\n", encoding="utf-8")
    folder = tmp_path / "own" / folder_name(model)
    folder.mkdir(parents=True)
    return folder


def test_by_default_the_shipped_cohort_and_calibration_are_used(command, folder):
    found = evaluated(command, folder, "--bootstrap", "0")
    calibration = json.loads(shipped("calibration.json"))
    assert found["scoring"] == {
        "name": "log-likelihood ratio",
        "llr": True,
        "cohort": {"speakers": len(calibration["speakers"]), "digest": calibration["cohort"]},
        "calibration": {"created": calibration["created"], "pairs": calibration["pairs"]},
    }
    assert found["warnings"] == [], "none of the speakers are in them"
    assert all(policy["calibrated"] for policy in found["policies"].values())


def test_raw_cosines_are_called_uncalibrated_everywhere(command, folder):
    found = evaluated(command, folder, "--raw", "--bootstrap", "0")
    assert found["scoring"] == {"name": "raw cosine, uncalibrated", "llr": False, "cohort": None, "calibration": None}
    assert found["pooled"]["cllr"]["value"] is None, "a raw cosine is not a ratio"
    assert not any(policy["calibrated"] for policy in found["policies"].values())
    text = command(folder, "--model", "campplus", "--raw", "--bootstrap", "0").stdout
    assert "scores: raw cosine, uncalibrated" in text
    assert text.count("uncal.") == 3
    assert " Cllr" not in text


def test_cross_validation_leaves_people_out_and_says_so(command, tmp_path):
    speech = development_speech()
    people = [row for row in rows(speech, "enroll.csv") if row["source"] == "speech-commands"][:8]
    names = {row["enroll_id"] for row in people}
    trials = [row for row in rows(speech, "trials.csv") if row["enroll_id"] in names and row["label"] == "target"]
    first = {row["enroll_id"]: row["test_path"] for row in reversed(trials)}
    listed = tmp_path / "list"
    listed.mkdir()
    write_table(
        listed / "enroll.csv",
        [
            {"enroll_id": row["enroll_id"], "speaker": row["speaker"], "files": row["files"].split(";")[0]}
            for row in people
        ],
    )
    speaker = {row["enroll_id"]: row["speaker"] for row in people}
    write_table(
        listed / "trials.csv",
        [
            {
                "enroll_id": name,
                "test_path": first[other],
                "label": "target" if name == other else "nontarget",
                "test_speaker": speaker[other],
            }
            for name in speaker
            for other in speaker
        ],
    )
    for path in {*first.values(), *(row["files"].split(";")[0] for row in people)}:
        (listed / path).parent.mkdir(parents=True, exist_ok=True)
        (listed / path).symlink_to(speech / path)
    found = evaluated(command, listed, "--cross-validate", "--bootstrap", "0")
    assert found["scoring"]["name"] == "log-likelihood ratio, cross-validated by speaker"
    assert found["scoring"]["llr"]
    assert found["scoring"]["calibration"] is None, "there are many"
    assert found["pooled"]["trials"] == {"target": 8, "nontarget": 56, "speakers": 8}
    assert 0.0 <= found["pooled"]["cllr"]["value"] < 0.5
    assert [warning for warning in found["warnings"] if "are in the cohort" in warning] == [
        "8 of the 8 speakers are in the cohort of 130: each trial is scored without its own speakers"
    ]
    assert all(policy["calibrated"] for policy in found["policies"].values())
    plain = evaluated(command, listed, "--bootstrap", "0")
    assert any("8 of the 8 speakers were used to fit" in warning for warning in plain["warnings"])
    assert not any("were used to fit" in warning for warning in found["warnings"])


def test_cross_validation_of_too_few_people_is_an_error_in_one_line(command, folder):
    result = command(folder, "--model", "campplus", "--cross-validate", "--bootstrap", "0", code=ExitCode.MODEL)
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("voiceauth: ")
    assert "in cross-validation, with " in last
    assert "of 4 speakers left" in last


@pytest.mark.parametrize(
    ("cohort", "calibration", "message"),
    [
        ("other", None, "is a cohort of tiny@1"),
        ("torn", None, "is not a valid cohort"),
        ("own", "other", "is the calibration of tiny"),
        ("own", "shipped", "was fitted with another cohort than the one in use"),
        ("own", "torn", "is not a valid calibration"),
        (None, "shipped", "there is no cohort.safetensors beside"),
    ],
)
def test_scoring_files_that_do_not_fit_are_an_error_in_one_line(
    command, folder, tmp_path, cohort, calibration, message
):
    model = ModelId(**json.loads(shipped("calibration.json"))["model"])
    place = scoring_folder(tmp_path, model)
    other = replace(model, name="tiny", revision="1", digest="ab" * 32)
    cohorts = {
        "own": lambda: cohort_file(model),
        "other": lambda: cohort_file(other),
        "torn": lambda: b"torn",
    }
    own = shipped("calibration.json")
    calibrations = {
        "shipped": own,
        "other": json.dumps(json.loads(own) | {"model": model_record(other)}).encode(),
        "torn": own[:500],
    }
    if cohort is not None:
        (place / COHORT).write_bytes(cohorts[cohort]())
    if calibration is not None:
        (place / CALIBRATION).write_bytes(calibrations[calibration])
    result = command(folder, "--model", "campplus", code=ExitCode.STORAGE)
    assert result.stdout == ""
    assert message in result.stderr.splitlines()[-1]
    assert "embedding" not in result.stderr, "the error comes before the work"


def test_with_a_cohort_alone_scores_are_raw_cosines(command, folder, tmp_path):
    model = ModelId(**json.loads(shipped("calibration.json"))["model"])
    (scoring_folder(tmp_path, model) / COHORT).write_bytes(cohort_file(model))
    found = evaluated(command, folder, "--bootstrap", "0")
    assert (found["scoring"]["name"], found["scoring"]["llr"]) == ("raw cosine, uncalibrated", False)
    assert found["scoring"]["cohort"]["speakers"] == 25
    assert any("decides by raw cosine" in warning for warning in found["warnings"])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_error_rates_on_the_development_speech_are_as_low_as_documented(command):
    found = evaluated(command, development_speech(), "--cross-validate")
    assert found["pooled"]["trials"] == {"target": 336, "nontarget": 3013, "speakers": 153}
    for table in TABLES:
        for group in found[table].values():
            check_group(group)
    assert set(found["by_source"]) == {
        "arabic-sc",
        "emodb",
        "librispeech-clean",
        "librispeech-other",
        "librispeech-single",
        "speech-commands",
        "voxforge",
    }
    value = {name: found["pooled"][name]["value"] for name in METRICS}
    assert value["eer"] <= 0.004
    assert value["mindcf_0.01"] <= 0.03
    assert value["frr_at_far_1e-3"] <= 0.015
    assert value["cllr"] <= 0.04
    assert value["cllr"] - value["mincllr"] <= 0.01
    assert found["by_net_speech"]["1"]["eer"]["value"] > found["by_net_speech"]["3"]["eer"]["value"]
    for policy in found["policies"].values():
        assert policy["session"]["nontarget"]["value"] <= policy["false_accepts"]
    # Recordings of one voice are recognised as such.
    tests = found["gates"]["tests"]
    assert tests["reasons"].get("not_one_voice", 0) <= 0.005 * tests["heard"]
    default = evaluated(command, development_speech(), "--bootstrap", "0")
    assert default["pooled"]["eer"]["value"] <= 0.004
    assert any("--cross-validate" in warning for warning in default["warnings"])
