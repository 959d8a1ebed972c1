"""Doctor's check of the cohort and the calibration of the configured model."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from backends import made_up_calibration, made_up_cohort

from voiceauthd.config.schema import Config, DecisionConfig, ModelConfig
from voiceauthd.doctor.check import FAIL, OK, WARN, Machine
from voiceauthd.doctor.check_scoring import check_scoring
from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import ExitCode
from voiceauthd.scoring.backend import CALIBRATION, COHORT, folder_name
from voiceauthd.scoring.calibration import encode_calibration, model_record
from voiceauthd.scoring.cohort import encode_cohort

WEIGHTS = b"not weights: nothing loads them here"


def model(digest: str = hashlib.sha256(WEIGHTS).hexdigest()) -> ModelId:
    return ModelId("tiny", "local", digest, "plain/1", 4)


@pytest.fixture
def machine(tmp_path):
    """A machine with a model in a folder, and a folder for its scoring files."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    config = Config(model=ModelConfig(name=str(folder)), scoring=tmp_path / "scoring")
    (tmp_path / "scoring" / folder_name(model())).mkdir(parents=True)
    return Machine(config, None, "/nonexistent/socket")


@pytest.fixture
def files(machine):
    """The folder with intact scoring files of this model."""
    folder = machine.config.scoring / folder_name(model())
    strangers = made_up_cohort(model())
    (folder / COHORT).write_bytes(encode_cohort(strangers))
    (folder / CALIBRATION).write_bytes(encode_calibration(made_up_calibration(strangers)))
    return folder


def test_without_a_calibration_it_warns_and_names_the_command(machine):
    check = check_scoring(machine)
    assert (check.id, check.state) == ("scoring", WARN)
    assert "uncalibrated" in check.found
    assert "voiceauth calibrate FOLDER" in check.fix


def test_intact_files_of_this_model_are_ok(machine, files):
    check = check_scoring(machine)
    assert check.state == OK, check
    for part in ("25 speakers", "3,000 independent trials", str(files)):
        assert part in check.found


def test_a_cohort_alone_is_uncalibrated(machine, files):
    (files / CALIBRATION).unlink()
    check = check_scoring(machine)
    assert (check.state, "uncalibrated" in check.found) == (WARN, True)


def torn_cohort(folder):
    whole = (folder / COHORT).read_bytes()
    (folder / COHORT).write_bytes(whole[: len(whole) // 2])
    return COHORT


def torn_calibration(folder):
    whole = (folder / CALIBRATION).read_bytes()
    (folder / CALIBRATION).write_bytes(whole[: len(whole) // 2])
    return CALIBRATION


def cohort_of_other_weights(folder):
    (folder / COHORT).write_bytes(encode_cohort(made_up_cohort(model(digest="ab" * 32))))
    return COHORT


def calibration_of_other_weights(folder):
    of = model(digest="ab" * 32)
    (folder / CALIBRATION).write_bytes(
        encode_calibration(made_up_calibration(made_up_cohort(model()), model=model_record(of)))
    )
    return CALIBRATION


def calibration_of_another_cohort(folder):
    (folder / CALIBRATION).write_bytes(encode_calibration(made_up_calibration(made_up_cohort(model(), seed=1))))
    return CALIBRATION


def calibration_without_a_cohort(folder):
    (folder / COHORT).unlink()
    return CALIBRATION


@pytest.mark.parametrize(
    "spoil",
    [
        torn_cohort,
        torn_calibration,
        cohort_of_other_weights,
        calibration_of_other_weights,
        calibration_of_another_cohort,
        calibration_without_a_cohort,
    ],
)
def test_torn_files_and_files_of_something_else_fail_and_are_named(machine, files, spoil):
    name = spoil(files)
    check = check_scoring(machine)
    assert (check.state, check.code) == (FAIL, ExitCode.STORAGE), check
    assert str(files / name) in check.found
    assert "voiceauth calibrate" in check.fix


def test_a_configured_threshold_makes_the_calibration_unused(machine, files):
    config = dataclasses.replace(machine.config, decision=DecisionConfig(threshold=0.5))
    check = check_scoring(machine._replace(config=config))
    assert (check.state, "decision.threshold" in check.fix) == (WARN, True)


def test_without_the_model_the_result_is_unknown(machine):
    config = dataclasses.replace(machine.config, model=ModelConfig(name=str(machine.config.scoring / "none")))
    check = check_scoring(machine._replace(config=config))
    assert (check.state, check.fix) == (WARN, "see model.cached")


@pytest.mark.parametrize(
    ("status", "state"), [(None, OK), ({"model": {"calibrated": True}}, OK), ({"model": {"calibrated": False}}, WARN)]
)
def test_an_unreadable_folder_is_judged_by_what_the_daemon_says(machine, files, monkeypatch, status, state):
    def closed(*_):
        raise PermissionError

    monkeypatch.setattr("voiceauthd.scoring.backend.load_backend", closed)  # root could read everything
    check = check_scoring(machine._replace(status=status))
    assert (check.state, "not readable by this user" in check.found) == (state, True)
