"""A plain folder of speech: its speakers, and the trials made from it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from voiceauthd.audio.block import RATE
from voiceauthd.errors import AudioError, UsageError
from voiceauthd.evaluation import trial_design
from voiceauthd.evaluation.find_speakers import MIN_SECONDS, draw_recordings, speakers_in
from voiceauthd.evaluation.trial_design import MAX_TESTS, TRIALS_PER_PAIR, make_trials, short_enrolments
from voiceauthd.evaluation.trials import TrialList


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Silent recordings by their length in seconds."""
    folder = tmp_path_factory.mktemp("recordings")
    files: dict[float, Path] = {}

    def recording(seconds: float) -> Path:
        if seconds not in files:
            files[seconds] = folder / f"{seconds}.flac"
            soundfile.write(files[seconds], np.zeros(round(seconds * RATE), np.int16), RATE)
        return files[seconds]

    return recording


def make(folder: Path, recordings, *paths: str, seconds: float = 4.0) -> Path:
    """Put recordings at these paths in `folder`."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recordings(seconds), folder / path)
    return folder


def librispeech(folder: Path, recordings, partition: str, speakers: dict[str, int], chapters: int = 2) -> None:
    """speakers: name to number of recordings in each chapter."""
    for name, count in speakers.items():
        for chapter in range(chapters):
            paths = [f"{partition}/{name}/{chapter}/{name}-{chapter}-{index:04d}.flac" for index in range(count)]
            make(folder, recordings, *paths)


def found(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    warnings: list[str] = []
    speakers = speakers_in(folder, warnings)
    return {name: [str(path.relative_to(folder)) for path in paths] for name, paths in speakers.items()}, warnings


def pairs_of(listed: TrialList) -> Counter[frozenset[str]]:
    return Counter(frozenset((trial.speaker, trial.test_speaker)) for trial in listed.trials if not trial.target)


# The speakers


def test_librispeech_is_recognised_from_above_from_its_root_and_from_a_partition(tmp_path, recordings):
    root = tmp_path / "corpora" / "LibriSpeech"
    librispeech(root, recordings, "dev-clean", {"84": 2, "174": 1})
    (root / "SPEAKERS.TXT").write_text("; ID |SEX| SUBSET\n")
    for folder in (tmp_path, tmp_path / "corpora", root, root / "dev-clean"):
        speakers, warnings = found(folder)
        assert {name: len(paths) for name, paths in speakers.items()} == {"174": 2, "84": 4}
        assert warnings == []


def test_speakers_in_several_partitions_are_merged(tmp_path, recordings):
    librispeech(tmp_path, recordings, "dev-clean", {"84": 1})
    librispeech(tmp_path, recordings, "train-clean-100", {"103": 2, "1034": 1})
    librispeech(tmp_path, recordings, "train-other-500", {"103": 1})
    speakers, _ = found(tmp_path)
    assert {name: len(paths) for name, paths in speakers.items()} == {"84": 2, "103": 6, "1034": 2}


def test_folders_beside_the_partitions_are_left_out_if_librispeech_s_table_is_there(tmp_path, recordings):
    librispeech(tmp_path, recordings, "dev-clean", {"84": 1, "85": 1})
    make(tmp_path, recordings, "mine/alice/1.flac")
    assert set(found(tmp_path)[0]) == {"dev-clean", "mine"}, "without SPEAKERS.TXT these may be speakers"
    (tmp_path / "SPEAKERS.TXT").touch()
    speakers, warnings = found(tmp_path)
    assert set(speakers) == {"84", "85"}
    assert len(warnings) == 1
    assert "left out (1, such as" in warnings[0]


def test_the_only_speaker_of_a_partition_is_not_mistaken_for_a_folder_of_speakers(tmp_path, recordings):
    librispeech(tmp_path / "LibriSpeech", recordings, "dev-clean", {"84": 1}, chapters=3)
    assert set(found(tmp_path)[0]) == {"84"}


@pytest.mark.parametrize("above", ["", "wav/", "dev/aac/"])
def test_voxceleb_is_recognised(tmp_path, recordings, above):
    paths = [
        f"{above}id1000{who}/{video}/0000{index}.wav" for who in (1, 2) for video in ("a-b", "_c") for index in (1, 2)
    ]
    make(tmp_path, recordings, *paths)
    speakers, warnings = found(tmp_path)
    assert {name: len(paths) for name, paths in speakers.items()} == {"id10001": 4, "id10002": 4}
    assert warnings == []


def test_your_own_folder_is_recognised_with_all_formats(tmp_path, recordings):
    make(tmp_path, recordings, "alice/monday.wav", "alice/tuesday.FLAC", "bob/b.ogg", "bob/far/c.m4a")
    make(tmp_path, recordings, "alice/notes.txt", "bob/cover.jpg", "papers/read.me")
    assert found(tmp_path) == (
        {"alice": ["alice/monday.wav", "alice/tuesday.FLAC"], "bob": ["bob/b.ogg", "bob/far/c.m4a"]},
        [],
    )


def test_recordings_outside_give_a_warning_and_hidden_ones_are_ignored(tmp_path, recordings):
    make(tmp_path, recordings, "alice/1.wav", "bob/1.wav", "test.wav", ".trash/carol/1.wav", "alice/._1.wav")
    speakers, warnings = found(tmp_path)
    assert speakers == {"alice": ["alice/1.wav"], "bob": ["bob/1.wav"]}
    assert len(warnings) == 1
    assert "outside the speakers' folders are left out (1, such as" in warnings[0]
    assert "test.wav" in warnings[0]


def test_links_are_not_followed_and_give_a_warning(tmp_path, recordings):
    make(tmp_path, recordings, "speech/alice/1.wav", "speech/bob/1.wav", "elsewhere/1.wav", "elsewhere/2.wav")
    speech = tmp_path / "speech"
    (speech / "carol").symlink_to(tmp_path / "elsewhere")
    (speech / "alice" / "2.wav").symlink_to(tmp_path / "elsewhere" / "1.wav")
    (speech / "bob" / "loop").symlink_to(speech)
    speakers, warnings = found(speech)
    assert speakers == {"alice": ["alice/1.wav"], "bob": ["bob/1.wav"]}
    assert len(warnings) == 1
    assert "links are not followed (3, such as" in warnings[0]


def test_a_pipe_named_like_a_recording_is_ignored(tmp_path, recordings):
    make(tmp_path, recordings, "alice/1.wav", "bob/1.wav")
    os.mkfifo(tmp_path / "alice" / "2.wav")
    assert found(tmp_path)[0]["alice"] == ["alice/1.wav"]


def test_names_that_are_not_unicode_stay_distinct(tmp_path, recordings):
    for raw in (b"\xe9va", b"\xe8va"):
        shutil.copytree(make(tmp_path / "one", recordings, "1.wav"), tmp_path / "all" / os.fsdecode(raw))
    assert set(found(tmp_path / "all")[0]) == {"\\xe8va", "\\xe9va"}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), "contains no recordings"),
        (("notes.txt", "alice/notes.txt"), "contains no recordings"),
        (("1.wav", "2.wav"), "no sub-folders; one sub-folder per speaker is needed"),
        (("alice/1.wav", "alice/2.wav"), "alice: has recordings but no sub-folders"),
    ],
)
def test_a_folder_without_speakers_is_refused_with_what_to_do(tmp_path, recordings, paths, message):
    make(tmp_path, recordings, *paths)
    with pytest.raises(UsageError, match=message) as refused:
        found(tmp_path)
    assert refused.value.reason == "no_speakers"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        found(tmp_path / "nowhere")


def test_recordings_are_drawn_from_all_sessions_and_never_too_short(tmp_path, recordings):
    librispeech(tmp_path, recordings, ".", {"84": 5}, chapters=3)
    make(tmp_path, recordings, *(f"84/short/{index}.flac" for index in range(5)), seconds=MIN_SECONDS - 0.1)
    make(tmp_path, recordings, "85/1.flac")
    of_84 = speakers_in(tmp_path, [])["84"]
    drawn = draw_recordings(of_84, 6, np.random.default_rng(0))
    assert Counter(path.parent.name for path in drawn) == {"0": 2, "1": 2, "2": 2}
    assert (
        drawn
        == draw_recordings(of_84, 6, np.random.default_rng(0))
        != draw_recordings(of_84, 6, np.random.default_rng(1))
    )
    assert len(draw_recordings(of_84, 99, np.random.default_rng(0))) == 15


# The trials


def test_tests_are_from_other_sessions_than_the_enrolment(tmp_path, recordings):
    librispeech(tmp_path, recordings, ".", {"84": 4, "85": 4, "86": 4}, chapters=4)
    listed = make_trials(tmp_path, 0)
    for name, enrolment in listed.enrolments.items():
        enrolled = {Path(file).parent for file in enrolment.files}
        tested = [Path(trial.test_path).parent for trial in listed.trials if trial.speaker == name and trial.target]
        assert enrolled
        assert not enrolled & set(tested)
        assert len(set(tested)) >= 2, "tests come from several other chapters"
    assert {trial.condition for trial in listed.trials if trial.target} == {"another_session"}


def test_of_a_single_session_at_most_half_and_about_30_seconds_enrol(tmp_path, recordings):
    make(tmp_path, recordings, *(f"alice/{index}.wav" for index in range(3)))
    make(tmp_path, recordings, *(f"{name}/{index:02d}.wav" for name in ("bob", "carol", "dave") for index in range(40)))
    listed = make_trials(tmp_path, 0)
    assert listed.enrolments["alice"].files == ("alice/0.wav",)
    enrolled = [len(listed.enrolments[name].files) * 4.0 for name in ("bob", "carol", "dave")]
    assert sorted(enrolled) == [12.0, 20.0, 32.0], "enrolments have different lengths"
    assert Counter(trial.speaker for trial in listed.trials if trial.target) == {
        "alice": 2,
        "bob": MAX_TESTS,
        "carol": MAX_TESTS,
        "dave": MAX_TESTS,
    }
    assert {trial.condition for trial in listed.trials if trial.target} == {"same_session"}


def test_every_pair_is_tested_before_any_is_tested_again_and_all_equally_often(tmp_path, recordings):
    names = [f"p{index:02d}" for index in range(12)]
    make(tmp_path, recordings, *(f"{name}/{index}.wav" for name in names for index in range(8)))
    listed = make_trials(tmp_path, 0)
    all_pairs = {frozenset(pair) for pair in combinations(names, 2)}
    assert pairs_of(listed) == dict.fromkeys(all_pairs, TRIALS_PER_PAIR)
    first = [trial for trial in listed.trials if not trial.target][: len(all_pairs)]
    assert {frozenset((trial.speaker, trial.test_speaker)) for trial in first} == all_pairs


def test_with_enough_trials_no_pair_is_tested_again(tmp_path, recordings, monkeypatch):
    monkeypatch.setattr(trial_design, "ENOUGH_NONTARGETS", 10)
    names = [f"p{index}" for index in range(8)]
    make(tmp_path, recordings, *(f"{name}/{index}.wav" for name in names for index in range(4)))
    assert set(pairs_of(make_trials(tmp_path, 0)).values()) == {1}


def test_speakers_with_one_recording_are_only_tested(tmp_path, recordings):
    make(tmp_path, recordings, "alice/1.wav", "alice/2.wav", "bob/1.wav", "carol/1.wav")
    make(tmp_path, recordings, "dave/1.wav", "dave/2.wav", seconds=1.0)
    listed = make_trials(tmp_path, 0)
    assert set(listed.enrolments) == {"alice"}
    assert pairs_of(listed) == {frozenset(("alice", "bob")): 1, frozenset(("alice", "carol")): 1}
    assert len(listed.warnings) == 1
    assert "1 speakers have no recording of 2 s to 10 minutes: left out, such as dave" in listed.warnings[0]


def test_the_seed_determines_the_trials(tmp_path, recordings):
    names = [f"p{index}" for index in range(6)]
    make(tmp_path, recordings, *(f"{name}/{index:02d}.wav" for name in names for index in range(20)))
    assert make_trials(tmp_path, 7) == make_trials(tmp_path, 7)
    assert make_trials(tmp_path, 7).trials != make_trials(tmp_path, 8).trials


def test_of_too_many_speakers_some_are_drawn_with_a_warning(tmp_path, recordings):
    make(tmp_path, recordings, *(f"p{index:02d}/{number}.wav" for index in range(30) for number in range(2)))
    listed = make_trials(tmp_path, 0, max_speakers=10)
    assert len({trial.speaker for trial in listed.trials}) == 10
    assert "10 of 30 speakers are used, drawn with the seed 0" in listed.warnings[0]
    assert set(make_trials(tmp_path, 1, max_speakers=10).enrolments) != set(listed.enrolments)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("alice/1.wav", "bob/1.wav"), "no speaker has two recordings"),
        (("speech/alice/1.wav", "speech/alice/2.wav", "speech/b/notes.wav"), "one speaker with usable recordings"),
    ],
)
def test_a_folder_that_gives_one_kind_of_trial_is_refused(tmp_path, recordings, paths, message):
    make(tmp_path, recordings, *paths)
    for path in tmp_path.rglob("notes.wav"):
        shutil.copy(recordings(0.5), path)
    with pytest.raises(UsageError, match=message) as refused:
        make_trials(tmp_path, 0)
    assert refused.value.reason == "one_kind"


@pytest.mark.parametrize("content", [b"", b"not a recording at all"])
def test_a_file_that_is_not_audio_is_named(tmp_path, recordings, content):
    make(tmp_path, recordings, *(f"{name}/{index}.wav" for name in ("alice", "bob") for index in range(3)))
    (tmp_path / "bob" / "1.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"bob/1\.wav: not audio"):
        make_trials(tmp_path, 0)


def test_recordings_have_no_reference_when_there_is_no_table(tmp_path, recordings):
    make(tmp_path, recordings, *(f"{name}/{index}.wav" for name in ("alice", "bob") for index in range(3)))
    assert set(make_trials(tmp_path, 0).references().values()) == {""}


def test_short_enrolments_give_a_warning(tmp_path, recordings):
    make(tmp_path, recordings, *(f"alice/{index}.wav" for index in range(8)))
    make(tmp_path, recordings, "bob/1.wav", "bob/2.wav", seconds=2.5)
    assert short_enrolments(make_trials(tmp_path, 0)) == [
        "1 of 2 enrolments have less than 5 s of audio, such as bob with 2.5 s: the calibration will be right only for "
        "enrolments as short as that"
    ]


TREES = st.dictionaries(
    st.sampled_from([f"p{index}" for index in range(6)]),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1.0, 2.5, 4.0, 12.0])), min_size=1, max_size=7),
    min_size=2,
)


@settings(max_examples=40, deadline=None)
@given(tree=TREES, seed=st.integers(0, 3))
def test_no_trial_contradicts_the_folder(tmp_path_factory, recordings, tree, seed):
    folder = tmp_path_factory.mktemp("tree")
    for name, recorded in tree.items():
        for index, (session, seconds) in enumerate(recorded):
            make(folder, recordings, f"{name}/{session}/{index}.flac", seconds=seconds)
    try:
        listed = make_trials(folder, seed)
    except UsageError:
        reject()  # one kind of trial only
    assert len({(trial.enroll_id, trial.test_path) for trial in listed.trials}) == len(listed.trials)
    assert {trial.enroll_id for trial in listed.trials} <= set(listed.enrolments)
    for trial in listed.trials:
        enrolled = listed.enrolments[trial.enroll_id].files
        assert enrolled
        assert trial.test_path not in enrolled
        assert {Path(file).parts[0] for file in enrolled} == {trial.speaker}
        assert Path(trial.test_path).parts[0] == trial.test_speaker
        assert trial.target == (trial.speaker == trial.test_speaker)
