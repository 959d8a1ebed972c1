"""Trial lists: reading them, and errors that name the file and the line."""

from __future__ import annotations

import re

import pytest
from evaluation_parts import demo_list, enrolled_rows, trial_rows, write_table

from voiceauthd.errors import AudioError, ExitCode
from voiceauthd.evaluation.trials import TrialListError, load_trials


@pytest.fixture
def folder(tmp_path):
    return demo_list(tmp_path / "list")


def refused(folder, message, error=TrialListError):
    with pytest.raises(error, match=re.escape(message)) as caught:
        load_trials(folder)
    assert "\n" not in str(caught.value)
    if error is TrialListError:
        assert (caught.value.exit_code, caught.value.reason) == (ExitCode.STORAGE, "bad_trials")


def test_a_good_list_is_read_completely(folder):
    listed = load_trials(folder)
    assert len(listed.trials) == 16
    assert sum(trial.target for trial in listed.trials) == 6
    assert listed.enrolments["ralph"].files == tuple(f"ralph-{index}.flac" for index in range(1, 6))
    assert {trial.test_speaker for trial in listed.trials} == {"ralph", "susan", "awb", "kal16"}
    assert (listed.doubtful, listed.warnings) == (0, ())
    assert listed.references()["ralph-2.flac"] == "enroll.csv, line 2"
    assert listed.references()["turn-02-susan.flac"] == "trials.csv, line 3"


def test_the_required_columns_are_enough(folder):
    write_table(folder / "enroll.csv", [{key: row[key] for key in ("enroll_id", "files")} for row in enrolled_rows()])
    required = ("enroll_id", "test_path", "label")
    write_table(folder / "trials.csv", [{key: row[key] for key in required} for row in trial_rows()])
    listed = load_trials(folder)
    speakers = {trial.test_path: trial.test_speaker for trial in listed.trials}
    assert speakers["turn-02-susan.flac"] == "susan", "a target trial of the recording gives its speaker"
    assert speakers["turn-03-stranger.flac"] == "file:turn-03-stranger.flac"
    assert any("no test_speaker is given for 2 recordings" in warning for warning in listed.warnings)


def test_doubtful_trials_are_left_out_and_counted_unless_they_are_included(folder):
    rows = trial_rows()
    rows[0]["label_doubt"] = rows[2]["label_doubt"] = 1
    write_table(folder / "trials.csv", rows)
    assert load_trials(folder).doubtful == 2
    assert len(load_trials(folder).trials) == 14
    complete = load_trials(folder, include_doubtful=True)
    assert (complete.doubtful, len(complete.trials)) == (0, 16)


def test_unknown_columns_give_a_warning_and_change_nothing(folder):
    write_table(folder / "trials.csv", [{**row, "score": 1, "mood": "good"} for row in trial_rows()])
    listed = load_trials(folder)
    assert listed.warnings == ("trials.csv: unknown columns are ignored: 'score', 'mood'",)
    assert len(listed.trials) == 16


def test_enrolments_without_a_trial_give_a_warning(folder):
    write_table(folder / "trials.csv", [row for row in trial_rows() if row["enroll_id"] == "ralph"])
    listed = load_trials(folder)
    assert list(listed.enrolments) == ["ralph"]
    assert any("1 of 2 enrolments are in no trial" in warning for warning in listed.warnings)


def test_testing_an_enrolment_recording_gives_a_warning(folder):
    rows = [*trial_rows(), {**trial_rows()[0], "test_path": "ralph-1.flac"}]
    write_table(folder / "trials.csv", rows)
    (warning,) = load_trials(folder).warnings
    assert "1 trials test a recording that is also in their enrolment" in warning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "impostor"}, "trials.csv, line 3: the label is 'impostor': it must be target or nontarget"),
        ({"label": ""}, "trials.csv, line 3: no label"),
        ({"enroll_id": "nora"}, "trials.csv, line 3: 'nora' is not enrolled in enroll.csv"),
        ({"test_path": "../secret.flac"}, "trials.csv, line 3: '../secret.flac' is outside of the folder"),
        ({"test_path": "a/../../secret.flac"}, "trials.csv, line 3: 'a/../../secret.flac' is outside of the folder"),
        ({"test_path": "/etc/hostname"}, "trials.csv, line 3: '/etc/hostname' is outside of the folder"),
        ({"test_path": "./turn-01-ralph.flac"}, "trials.csv, line 3: the same trial as in line 2"),
        ({"label_doubt": "perhaps"}, "trials.csv, line 3: label_doubt is 'perhaps': it must be 0 or 1"),
        ({"label": "target"}, "the label is target, but test_speaker 'susan' is not the enrolled speaker 'ralph'"),
        ({"test_speaker": "ralph"}, "the label is nontarget, but test_speaker 'ralph' is the enrolled speaker 'ralph'"),
    ],
)
def test_a_wrong_trial_is_refused_with_its_line(folder, change, message):
    rows = trial_rows()
    rows[1] |= change
    write_table(folder / "trials.csv", rows)
    refused(folder, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enroll_id": "ralph"}, "enroll.csv, line 3: 'ralph' is already enrolled in line 2"),
        ({"files": " ; "}, "enroll.csv, line 3: no files for 'susan'"),
        ({"files": "susan-1.flac;susan-1.flac"}, "enroll.csv, line 3: a recording is listed twice"),
        ({"files": "../susan-1.flac"}, "enroll.csv, line 3: '../susan-1.flac' is outside of the folder"),
    ],
)
def test_a_wrong_enrolment_is_refused_with_its_line(folder, change, message):
    rows = enrolled_rows()
    rows[1] |= change
    write_table(folder / "enroll.csv", rows)
    refused(folder, message)


def test_contradicting_labels_are_refused(folder):
    rows = [{key: row[key] for key in ("enroll_id", "test_path", "label")} for row in trial_rows()]
    rows[9]["label"] = "target"  # a turn of ralph's as susan's; line 2 says it is ralph's
    rows[8]["label"] = "target"
    write_table(folder / "trials.csv", rows)
    refused(folder, "which contradicts the label here")


@pytest.mark.parametrize("kind", ["target", "nontarget"])
def test_one_kind_of_trial_is_refused(folder, kind):
    write_table(folder / "trials.csv", [row for row in trial_rows() if row["label"] == kind])
    refused(folder, f"trials are {kind}: error rates need both kinds")


def test_missing_recordings_are_refused_with_their_line_and_number(folder):
    (folder / "turn-05-ralph.flac").unlink()
    (folder / "susan-3.flac").unlink()
    refused(folder, f"enroll.csv, line 3: {folder}/susan-3.flac does not exist (and 1 more recordings)", AudioError)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trials.csv", "", "trials.csv, line 1: no column 'enroll_id' and no column 'test_path' and no column 'label'"),
        ("trials.csv", "enroll_id,test_path,label\n", "trials.csv: no rows"),
        ("trials.csv", "enroll_id,test_path\na,b\n", "trials.csv, line 1: no column 'label'"),
        ("trials.csv", "enroll_id,test_path,label,label\n", "trials.csv, line 1: duplicate column 'label'"),
        ("trials.csv", "enroll_id,test_path,label\na,b\n", "trials.csv, line 2: 2 cells under 3 columns"),
        ("enroll.csv", "enroll_id,files\n", "enroll.csv: no rows"),
        ("enroll.csv", "enroll_id,files\n\xff", "enroll.csv: not a comma-separated table in UTF-8"),
        ("enroll.csv", 'enroll_id,files\n"a,b', "enroll.csv: not a comma-separated table in UTF-8"),
    ],
)
def test_a_malformed_table_is_refused(folder, name, text, message):
    (folder / name).write_bytes(text.encode("latin-1"))
    refused(folder, message)


def test_a_missing_folder_or_table_is_refused(folder):
    (folder / "trials.csv").unlink()
    refused(folder, "trials.csv: cannot be read: No such file or directory")
    refused(folder / "nowhere", "no such folder")


def test_a_table_with_a_byte_order_mark_and_windows_line_ends_is_read(folder):
    text = (folder / "trials.csv").read_text(encoding="utf-8")
    (folder / "trials.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(load_trials(folder).trials) == 16
