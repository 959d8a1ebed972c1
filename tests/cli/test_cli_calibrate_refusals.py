"""`voiceauth calibrate` and `voiceauth cohort build` with unusable input: a clear error or a warning."""

from __future__ import annotations

import shutil

import pytest
from calibrate_parts import PAIRS, PEOPLE, silence, strangers

from voiceauthd.cli.main import main
from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import ExitCode


def test_a_cohort_of_another_model_or_a_torn_one_is_refused(command, speech, model, tmp_path):
    other = ModelId("other", "1", "ef" * 32, "1", model.dimension)
    (tmp_path / "other.safetensors").write_bytes(strangers(other))
    finished = command("calibrate", speech, "--cohort", tmp_path / "other.safetensors", "--json", code=ExitCode.STORAGE)
    assert finished.object["error"]["reason"] == "wrong_model"
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(strangers(model)[:100])
    finished = command("calibrate", speech, "--cohort", torn, "--json", code=ExitCode.STORAGE)
    assert finished.object["error"]["reason"] == "bad_cohort"
    command("calibrate", speech, "--cohort", tmp_path / "nowhere", code=ExitCode.STORAGE)


@pytest.mark.parametrize("words", [("calibrate",), ("cohort", "build")])
def test_too_few_speakers_are_refused_before_any_recording_is_processed(command, speech, tmp_path, words):
    for path in sorted(speech.iterdir())[:19]:
        shutil.copytree(path, tmp_path / "few" / path.name)
    finished = command(*words, tmp_path / "few", "--json", code=ExitCode.USAGE)
    assert finished.object["error"]["reason"] == "cohort_too_small"
    finished = command(*words, tmp_path / "few", code=ExitCode.USAGE)
    assert "19 speakers; at least 20 are needed" in finished.stderr
    assert "embedding" not in finished.stderr


def test_speakers_without_speech_do_not_count_and_are_reported(command, speech, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(speech, folder)
    for path in sorted(folder.iterdir())[:2]:
        silence(path)
    finished = command("cohort", "build", folder, "--output", tmp_path / "cohort")
    assert "no speech was found of 2 speakers, such as p00: left out" in finished.stderr
    finished = command("calibrate", folder, "--output", tmp_path / "made", "--json")
    silent = 2 + 2 * (2 * (PEOPLE - 2) + 1)
    assert f"warning: {silent} of {PEOPLE + 2 * PAIRS} trials" in finished.stderr
    assert finished.object["cohort"]["speakers"] == PEOPLE - 2
    for path in sorted(folder.iterdir())[2:3]:
        silence(path)
    for words in (("calibrate", folder, "--output", tmp_path / "none"), ("cohort", "build", folder, "--output", "x")):
        finished = command(*words, "--json", code=ExitCode.MODEL)
        assert finished.object["error"]["reason"] == "cohort_too_small"
        assert str(folder) in finished.stderr


def test_a_list_with_missing_recordings_or_one_kind_of_trial_is_refused(command, tmp_path):
    (tmp_path / "enroll.csv").write_text("enroll_id,files\nalice,a.wav\n")
    command("calibrate", tmp_path, code=ExitCode.STORAGE)
    (tmp_path / "trials.csv").write_text("enroll_id,test_path,label\nalice,b.wav,target\n")
    finished = command("calibrate", tmp_path, code=ExitCode.STORAGE)
    assert "all 1 trials are target" in finished.stderr
    with (tmp_path / "trials.csv").open("a") as file:
        file.write("alice,c.wav,nontarget\n")
    assert "a.wav does not exist" in command("calibrate", tmp_path, code=ExitCode.AUDIO).stderr


def test_a_recording_that_is_not_audio_is_named(command, speech, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(speech, folder)
    (folder / "p03" / "1.flac").write_bytes(b"RIFF")
    for words in (("calibrate",), ("cohort", "build")):
        finished = command(*words, folder, code=ExitCode.AUDIO)
        assert "p03/1.flac: not audio" in finished.stderr


def test_an_unwritable_result_is_refused_before_the_work(command, speech, tmp_path):
    (tmp_path / "file").touch()
    finished = command("calibrate", speech, "--output", tmp_path / "file", code=ExitCode.STORAGE)
    assert "embedding" not in finished.stderr
    finished = command("cohort", "build", speech, "--output", tmp_path / "no" / "cohort", code=ExitCode.USAGE)
    assert "its folder must exist" in finished.stderr


def test_folders_that_are_not_speakers_get_a_warning_or_an_error(config, speech, tmp_path, capsys):
    """The recordings of all speakers are mixed."""
    folder = tmp_path / "mixed"
    for index, path in enumerate(sorted(speech.rglob("*.flac"))):
        own = folder / f"q{index % PEOPLE:02d}"
        own.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, own / f"{index}.flac")
    code = main(["calibrate", str(folder), "--output", str(tmp_path / "made")])
    said = capsys.readouterr().err
    if code == ExitCode.OK:
        assert "this model hardly tells these speakers apart, or the sub-folders are not speakers" in said
    else:
        assert code == ExitCode.MODEL
        assert "the scores do not distinguish targets from non-targets" in said
        assert list((tmp_path / "made").iterdir()) == []
