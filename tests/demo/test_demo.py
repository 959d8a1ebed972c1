"""The demo, its judgement, and the commands against the real daemon with CAM++ on synthetic voices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from fake_daemon import voiceauth
from models import campplus_cache

from voiceauthd.demo.room import Room
from voiceauthd.demo.run import demo_daemon, run_demo
from voiceauthd.demo.script import Verdict, judge, load_script
from voiceauthd.embed.manifest import CAMPPLUS, WEIGHTS, Manifest, write_manifest
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.terminal.output import Output


@pytest.fixture(scope="module")
def campplus():
    """CAM++ in the model cache, or the reason to skip the test."""
    return campplus_cache()


def window(start, duration, decision="known", identity="Ralph"):
    identity = identity if decision == "known" else None
    return {"kind": "window", "start": start, "duration": duration, "decision": decision, "identity": identity}


@pytest.mark.parametrize(
    ("events", "right", "decided", "undecided"),
    [
        ([window(10.2, 1.5), window(10.5, 3.0)], True, 2, 0),
        ([window(10.2, 1.5), window(10.5, 3.0, identity="Susan")], False, 2, 0),
        ([window(10.2, 1.5), window(10.5, 3.0, "unknown")], False, 2, 0),
        ([window(10.2, 1.5), window(10.5, 1.0, "undecided")], True, 1, 1),
        ([window(10.2, 1.5, "undecided")], False, 0, 1),
        ([], False, 0, 0),
        ([window(8.0, 3.0, identity="Susan"), window(10.5, 3.0)], True, 1, 1),
        ([window(9.2, 1.5), window(12.0, 3.0)], True, 2, 0),
        ([window(6.0, 3.5, identity="Susan"), window(13.0, 3.0, identity="Susan"), window(10.2, 1.5)], True, 1, 0),
        ([{"kind": "speech", "start": 10.0}, {"kind": "window"}], False, 0, 0),
    ],
)
def test_a_turn_is_right_if_every_decided_window_inside_it_is_and_there_is_one(events, right, decided, undecided):
    """The turn: silence from 9 s, speech from 10 to 14 s, silence to 15 s."""
    verdict = judge("Ralph", 9.0, 10.0, 15.0, events)
    assert (verdict.right, len(verdict.identities), verdict.undecided) == (right, decided, undecided)


def test_the_turn_of_a_stranger_is_right_only_as_unknown():
    assert judge(None, 9.0, 10.0, 15.0, [window(10.2, 1.5, "unknown")]).right
    assert not judge(None, 9.0, 10.0, 15.0, [window(10.2, 1.5)]).right
    assert not Verdict("unknown", (), 3).right


def test_the_script_has_two_people_a_stranger_and_both_outcomes():
    script = load_script()
    assert len(script.people) == 2
    assert {turn.speaker for turn in script.conversation} == {*script.people, None}
    assert {trial.outcome for trial in script.verifications} == {"accept", "reject"}
    files = [
        *(file for files in script.people.values() for file in files),
        *(turn.file for turn in script.conversation),
        *(trial.file for trial in script.verifications),
    ]
    assert all(file.is_file() for file in files)
    assert len(set(files)) == len(files)  # no recording that was enrolled is played again
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_the_error_for_an_invalid_script_names_the_file(tmp_path):
    (tmp_path / "script.json").write_text('{"people": {}}')
    with pytest.raises(VoiceauthError, match=r"script\.json"):
        load_script(tmp_path)


def test_the_room_plays_every_sample_once_and_knows_when():
    reader, writer = os.pipe()
    ramp = np.linspace(0.25, 0.75, 5_000, dtype=np.float32)
    with os.fdopen(reader, "rb") as written:
        with os.fdopen(writer, "wb") as pipe, Room(pipe) as room:  # 0.4 s fit into the pipe unread
            began = time.monotonic()
            start, end = room.wait(room.play(ramp, pause=0.1))
            assert time.monotonic() - began > 0.3  # in real time: 0.1 s and 0.31 s
        audio = np.frombuffer(written.read(), dtype="<i2").astype(np.float32) / 32768
    first, last = round(start * 16_000), round(end * 16_000)
    assert last - first == len(ramp)
    assert np.allclose(audio[first:last], ramp, atol=0.002)
    assert np.abs(audio[: first - 1]).max() < 0.002
    assert np.abs(audio[last:]).max(initial=0.0) < 0.002
    assert audio[:first].any()  # room tone is not digital silence


def test_without_the_model_the_demo_says_how_to_get_it(tmp_path):
    result = voiceauth("demo", environment={"VOICEAUTHD_MODEL__CACHE": str(tmp_path)})
    assert result.returncode == ExitCode.MODEL
    assert "voiceauth model fetch campplus" in result.stderr


def test_a_model_that_cannot_be_loaded_is_reported_with_the_end_of_the_log(tmp_path):
    folder = tmp_path / "campplus@broken"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"no weights")
    when = "2026-01-01T00:00:00+00:00"
    write_manifest(Manifest(CAMPPLUS, "broken", "0" * 64, "nowhere", "none", when, {WEIGHTS: "0" * 64}), folder)
    result = voiceauth("demo", "--json", environment={"VOICEAUTHD_MODEL__CACHE": str(tmp_path)})
    assert result.returncode == ExitCode.MODEL, result.stderr
    assert "the end of the daemon's log:" in result.stderr
    assert "does not match its SHA-256" in result.stderr
    assert json.loads(result.stdout)["error"]["reason"] == "not_ready"


def test_keep_refuses_a_folder_that_is_not_empty(tmp_path):
    (tmp_path / "mine").write_text("")
    result = voiceauth("demo", "--keep", str(tmp_path))
    assert result.returncode == ExitCode.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.usefixtures("campplus")
def test_a_short_demo_names_the_right_and_the_wrong_turns(tmp_path, capsys):
    """Ralph and Susan speak, but only Ralph is enrolled: the demo must notice that Susan is not recognised."""
    script = load_script()
    ralph, susan = script.conversation[:2]
    people = {"Ralph": script.people["Ralph"]}
    short = replace(script, people=people, conversation=(ralph, susan), verifications=())
    output = Output(True, sys.stdout, sys.stderr)
    assert run_demo(tmp_path, output, short) == ExitCode.REJECT
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    turns = [line["turn"] for line in lines if "turn" in line]
    assert [turn["right"] for turn in turns] == [True, False]
    assert set(turns[1]["heard"]) == {"unknown"}
    assert lines[-1]["summary"]["daemon_exit_code"] == 0
    assert not (tmp_path / "socket").exists()


@pytest.mark.usefixtures("campplus", "sigint_not_ignored")
def test_interrupting_the_demo_ends_its_daemon(tmp_path):
    folder = tmp_path / "kept"
    process = subprocess.Popen(
        [sys.executable, "-m", "voiceauthd.cli.main", "demo", "--keep", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "daemon ready" in process.stdout.readline()
    assert (folder / "socket").exists()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not (folder / "socket").exists()  # the daemon removed it: it was stopped in order


@pytest.mark.slow
@pytest.mark.usefixtures("campplus")
def test_the_whole_demo_is_right_and_takes_less_than_90_seconds():
    began = time.monotonic()
    result = voiceauth("demo", timeout=115)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "10 of 10 decisions right" in result.stdout.splitlines()[-1]
    assert time.monotonic() - began < 90


# The commands against the real daemon


@pytest.fixture(scope="module")
def daemon(campplus, tmp_path_factory):
    """The real daemon with CAM++, with Ralph enrolled."""
    with demo_daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.wait_ready()
        files = [str(file) for file in load_script().people["Ralph"]]
        result = voiceauth("enroll", "ralph", *files, socket=running.socket)
        assert result.returncode == 0, result.stdout + result.stderr
        yield running


@pytest.fixture(scope="module")
def room(daemon):
    """The daemon's surroundings: room tone, and what a test plays."""
    with Room(daemon.stdin) as playing:
        yield playing


def while_playing(daemon, room, file, *words):
    """Run a command, play `file` as soon as it listens, and return its exit code and output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "voiceauthd.cli.main", *words, "--socket", daemon.socket],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "listening" in process.stderr.readline()
    samples = soundfile.read(file, dtype="float32", stop=56_000)[0]  # 3.5 s are enough to decide
    clip = room.play(samples, 0.3)
    out, errors = process.communicate(timeout=30)
    room.wait(clip)
    room.rest(0.6)
    return process.returncode, out, errors


def test_the_right_voice_is_accepted_and_identified_and_another_is_not(daemon, room):
    right, wrong = (trial.file for trial in load_script().verifications)
    code, out, errors = while_playing(daemon, room, right, "verify", "ralph")
    assert (code, out.split()[0]) == (ExitCode.OK, "accepted"), errors
    code, out, _ = while_playing(daemon, room, wrong, "verify", "ralph")
    assert (code, out.split()[0]) == (ExitCode.REJECT, "rejected")
    code, out, _ = while_playing(daemon, room, right, "identify")
    assert (code, out.split()[0]) == (ExitCode.OK, "ralph")
    code, out, _ = while_playing(daemon, room, wrong, "identify")
    assert (code, out.split()[0]) == (ExitCode.REJECT, "unknown")


def test_silence_is_inconclusive(daemon, room):
    result = voiceauth("verify", "ralph", "--timeout", "1", "--json", socket=daemon.socket)
    assert result.returncode == ExitCode.INCONCLUSIVE
    assert json.loads(result.stdout)["reason"] == "no_speech"


def test_verifying_a_name_that_is_not_enrolled_has_its_own_exit_code(daemon):
    assert voiceauth("verify", "nobody", socket=daemon.socket).returncode == ExitCode.NOT_ENROLLED


@pytest.mark.usefixtures("sigint_not_ignored")
def test_a_second_verification_is_refused_until_the_first_is_interrupted(daemon, room):
    words = [sys.executable, "-m", "voiceauthd.cli.main", "verify", "ralph", "--socket", daemon.socket]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    assert "listening" in first.stderr.readline()
    assert voiceauth("verify", "ralph", socket=daemon.socket).returncode == ExitCode.BUSY
    first.send_signal(signal.SIGINT)
    assert first.wait(10) == 130
    deadline = time.monotonic() + 5
    while voiceauth("verify", "ralph", "--timeout", "1", socket=daemon.socket).returncode == ExitCode.BUSY:
        assert time.monotonic() < deadline


def test_a_name_that_is_taken_is_not_enrolled_again(daemon):
    file = str(load_script().people["Susan"][0])
    result = voiceauth("enroll", "ralph", file, socket=daemon.socket)
    assert result.returncode == ExitCode.STORAGE
    assert "already" in result.stderr


def test_an_enrolment_with_too_little_speech_fails_and_changes_nothing(daemon):
    file = str(load_script().people["Susan"][0])
    result = voiceauth("enroll", "susan", file, socket=daemon.socket)
    assert result.returncode == ExitCode.AUDIO, result.stdout + result.stderr
    assert "take 1" in result.stdout
    listed = json.loads(voiceauth("profiles", "list", "--json", socket=daemon.socket).stdout)
    assert [profile["name"] for profile in listed["profiles"]] == ["ralph"]


def test_profiles_travel_through_rename_export_delete_and_import(daemon, tmp_path):
    def profiles(*words):
        return voiceauth("profiles", *words, socket=daemon.socket)

    exported = tmp_path / "exported.json"
    assert profiles("export", "--plain", "ralph", str(exported)).returncode == 0
    assert profiles("import", str(exported)).returncode == ExitCode.STORAGE  # already there
    assert profiles("rename", "ralph", "rolf").returncode == 0
    assert profiles("show", "rolf").returncode == 0
    assert profiles("show", "ralph").returncode == ExitCode.NOT_ENROLLED
    assert profiles("delete", "rolf", "--yes").returncode == 0
    assert json.loads(profiles("list", "--json").stdout)["profiles"] == []
    assert profiles("import", str(exported), "--name", "ralph").returncode == 0
    names = [profile["name"] for profile in json.loads(profiles("list", "--json").stdout)["profiles"]]
    assert names == ["ralph"]
    truncated = tmp_path / "truncated.json"
    truncated.write_text(exported.read_text()[:200])
    assert profiles("import", str(truncated), "--name", "eve").returncode == ExitCode.STORAGE


def test_monitor_status_and_reload_work_with_the_real_daemon(daemon, room):
    assert voiceauth("monitor", "--count", "1", socket=daemon.socket).stdout.count("\n") == 1
    status = voiceauth("status", socket=daemon.socket)
    assert status.returncode == 0, status.stderr
    assert "campplus" in status.stdout
    assert voiceauth("reload", socket=daemon.socket).returncode == 0


@pytest.mark.usefixtures("campplus")
def test_run_prints_the_events_of_a_recording_and_ends_with_it(tmp_path):
    file = load_script().people["Susan"][0]
    socket = tmp_path / "socket"
    words = (
        "run",
        "--set",
        "model.name=campplus",
        "--set",
        f"profiles={tmp_path / 'profiles'}",
        "--socket",
        str(socket),
    )
    result = voiceauth(*words, "--source", str(file), "--pace", "fast", "--json")
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"speech", "window", "silence"} <= {event["kind"] for event in events}
    assert not socket.exists()
    wrong = voiceauth(*words, "--source", str(tmp_path / "none.flac"))
    assert wrong.returncode == ExitCode.AUDIO
