"""`voiceauth calibrate` and `voiceauth cohort`, from a folder of speech to the files that the daemon loads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from calibrate_parts import PAIRS, PEOPLE, own_folder, strangers
from models import campplus_cache
from msgspec.structs import replace

from voiceauthd.config.load import load_config
from voiceauthd.errors import ExitCode, StorageError
from voiceauthd.evaluation import files, scoring_files
from voiceauthd.scoring.backend import CALIBRATION, COHORT, load_backend
from voiceauthd.scoring.cohort import decode_cohort
from voiceauthd.service.engine import build_engine

UNUSED_UID = 4321
"""A user id without a user."""


# From speech to the daemon


def test_a_folder_of_speech_calibrates_an_uncalibrated_model(command, config, speech, model):
    before = command("cohort", "show", "--json").object
    assert (before["origin"], before["cohort"], before["calibration"]) == ("none", None, None)
    assert not any(policy["demonstrated"] for policy in before["policies"])
    finished = command("calibrate", speech, "--source", "demo voices (CC0)", "--json")
    found = finished.object
    assert f"warning: {PEOPLE} of {PEOPLE} enrolments have less than 5 s of audio" in finished.stderr
    assert found["cohort"]["speakers"] == PEOPLE
    assert found["cohort"]["sources"] == found["calibration"]["sources"] == ["demo voices (CC0)"]
    assert found["calibration"]["trials"] == {"target": PEOPLE, "nontarget": 2 * PAIRS, "pairs": PAIRS}
    assert 0.0 < found["calibration"]["mincllr"] <= found["calibration"]["cllr"] < 1.0
    policies = {policy["name"]: policy for policy in found["policies"]}
    assert set(policies) == {"monitor", "unlock", "auth"}
    assert policies["auth"]["demonstrated"] is False, "231 pairs show no rate of 1 in 10,000"
    assert policies["auth"]["supported"] > 2.9 / PAIRS
    own = own_folder(config, model)
    assert found["files"] == [str(own / COHORT), str(own / CALIBRATION)]
    assert {path.name: path.stat().st_mode & 0o777 for path in own.iterdir()} == {COHORT: 0o600, CALIBRATION: 0o600}
    assert own.stat().st_mode & 0o777 == own.parent.stat().st_mode & 0o777 == 0o700
    after = command("cohort", "show", "--json").object
    assert after["origin"] == "own"
    assert {key: after[key] for key in ("cohort", "calibration", "policies")} == {
        key: found[key] for key in ("cohort", "calibration", "policies")
    }
    shown = command("cohort", "show").stdout
    for words in (f"made on this machine: {own}", f"{PAIRS} pairs of people", "not demonstrated"):
        assert words in shown


def test_a_reload_makes_the_daemon_use_the_calibration_without_a_restart(config, model, calibration_folder):
    engine = build_engine(load_config(config), lambda _: None)
    assert engine.backend.calibration is None
    assert not engine.recogniser.rule.calibrated
    shutil.copytree(calibration_folder, own_folder(config, model))
    again = build_engine(load_config(config), lambda _: None, engine)
    again.refresh()
    assert again.embedder is engine.embedder
    assert again.backend.calibration is not None
    assert all(policy.rule.calibrated for policy in again.policies.values())
    assert again.recogniser.rule.calibrated
    assert again.recogniser.gallery.backend is again.backend


def test_a_calibration_can_use_a_cohort_that_was_built_before(command, config, speech, model):
    built = command("cohort", "build", speech, "--files", "1", "--json").object
    own = own_folder(config, model)
    assert built["files"] == [str(own / COHORT)]
    assert built["speakers"] == PEOPLE
    assert built["sources"] == ["people"], "the name of the folder, not its path"
    assert load_backend(own.parent, model).calibration is None
    assert "calibration  none: uncalibrated" in command("cohort", "show").stdout
    calibrated = command("calibrate", speech, "--cohort", own / COHORT, "--json").object
    assert calibrated["cohort"]["digest"] == built["digest"]
    backend = load_backend(own.parent, model)
    assert backend.calibration is not None
    assert backend.calibration.cohort == built["digest"]


def test_a_trial_list_can_be_used_instead_of_speaker_folders(command, speech, tmp_path):
    folder = tmp_path / "list"
    shutil.copytree(speech, folder)
    names = sorted(path.name for path in folder.iterdir())
    enrolled = [f"{name},{name},{name}/0.flac" for name in names]
    tests = [
        f"{name},{other}/1.flac,{'target' if name == other else 'nontarget'},{other}"
        for name in names
        for other in names
    ]
    (folder / "enroll.csv").write_text("\n".join(["enroll_id,speaker,files", *enrolled]) + "\n")
    (folder / "trials.csv").write_text("\n".join(["enroll_id,test_path,label,test_speaker", *tests]) + "\n")
    found = command("calibrate", folder, "--output", tmp_path / "made", "--json").object
    assert found["calibration"]["trials"] == {
        "target": PEOPLE,
        "nontarget": 2 * PAIRS,
        "pairs": PAIRS,
    }
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [CALIBRATION, COHORT]
    assert not (tmp_path / "scoring").exists(), "only --output was written to"


def test_a_configured_threshold_overrides_the_calibration_with_a_warning(command, config, speech, tmp_path):
    with config.open("a") as file:
        file.write("decision:\n  threshold: 0.9\n")
    finished = command("calibrate", speech, "--output", tmp_path / "made")
    assert "warning: decision.threshold is set, so decisions are by cosine" in finished.stderr
    assert "policy       unlock   aims at 0.001 false accepts; uncalibrated" in finished.stdout


# Existing files


def test_existing_files_are_replaced_only_with_force(command, config, speech, model):
    own = own_folder(config, model)
    own.mkdir(parents=True)
    existing = strangers(model)
    (own / COHORT).write_bytes(existing)
    for words in (("calibrate", speech), ("cohort", "build", speech)):
        finished = command(*words, "--json", code=ExitCode.USAGE)
        assert finished.object["error"]["reason"] == "exists"
        assert "--force" in finished.stderr
    assert (own / COHORT).read_bytes() == existing
    assert "`voiceauth reload` makes" in command("calibrate", speech, "--force").stdout
    assert (own / COHORT).read_bytes() != existing
    assert load_backend(own.parent, model).calibration is not None


def test_a_new_cohort_removes_the_old_calibration(command, speech, model, calibrated):
    refused = command("cohort", "build", speech, "--files", "1", code=ExitCode.USAGE)
    assert f"{COHORT} (and {CALIBRATION}) would be replaced" in refused.stderr
    finished = command("cohort", "build", speech, "--files", "1", "--force")
    assert "Uncalibrated until `voiceauth calibrate" in finished.stdout
    assert [path.name for path in calibrated.iterdir()] == [COHORT]
    assert load_backend(calibrated.parent, model).calibration is None


@pytest.mark.parametrize("fails", ["remove", COHORT, CALIBRATION])
def test_wherever_writing_fails_the_daemon_can_load_the_remaining_files(model, calibrated, monkeypatch, fails):
    write = files.write_whole

    def full(path: Path, data: bytes) -> None:
        if path.name == fails:
            raise StorageError(f"cannot write {path}: No space left on device")
        write(path, data)

    def locked(path: Path) -> None:
        raise StorageError(f"cannot remove {path}: Read-only file system")

    calibration = load_backend(calibrated.parent, model).calibration
    other = decode_cohort(strangers(model), model, "")
    monkeypatch.setattr(files, "write_whole", full)
    if fails == "remove":
        monkeypatch.setattr(files, "remove", locked)
    with pytest.raises(StorageError, match="cannot"):
        scoring_files.install(calibrated, other, replace(calibration, cohort=other.digest))
    left = load_backend(calibrated.parent, model)
    assert left.cohort is not None
    assert (left.cohort.digest == other.digest) == (fails == CALIBRATION)
    assert (left.calibration is not None) == (fails == "remove")


def test_a_cohort_does_not_replace_a_calibration_that_came_with_voiceauthd(command, speech, monkeypatch):
    monkeypatch.setenv("VOICEAUTHD_MODEL_CACHE", str(campplus_cache()))
    shown = command("cohort", "show", "--model", "campplus", "--json").object
    if shown["origin"] != "shipped":
        pytest.skip("the package has no calibration for this model")
    assert shown["calibration"] is not None
    finished = command("cohort", "build", speech, "--model", "campplus", "--json", code=ExitCode.USAGE)
    assert finished.object["error"]["reason"] == "calibrated"
    assert "voiceauth calibrate" in finished.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of files")
def test_files_made_by_root_belong_to_the_owner_of_the_state_folder(command, config, speech, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, UNUSED_UID, UNUSED_UID)
    config.write_text(config.read_text().replace(f"{tmp_path}/scoring", f"{state}/scoring"))
    command("cohort", "build", speech)
    found = list(state.rglob("*"))
    assert len(found) == 3, "two folders and a file"
    assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(UNUSED_UID, UNUSED_UID)}
