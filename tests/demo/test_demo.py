"""The demo, its judgement, and the commands against the real daemon with a real model on (synthetic) voices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_daemon import voiceauth

from voiceauthd.demo.script import Verdict, judge, load_script
from voiceauthd.demo.stage import Daemon, Room, models_folder
from voiceauthd.embed.cache import find
from voiceauthd.embed.manifest import CAMPPLUS, WEIGHTS, Manifest, write_manifest
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.terminal.output import Output

needs_model = pytest.mark.skipif(
    find(CAMPPLUS, None, models_folder()) is None, reason="no CAM++ here: `voiceauth model fetch campplus`"
)


def window(start, duration, decision="known", identity="Ralph"):
    identity = identity if decision == "known" else None
    return {"kind": "window", "start": start, "duration": duration, "decision": decision, "identity": identity}


@pytest.mark.parametrize(
    ("events", "right", "heard", "unjudged"),
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
def test_a_turn_is_right_if_every_decided_window_inside_it_is_and_there_is_one(events, right, heard, unjudged):
    """The turn: silence from 9 s, speech from 10 to 14 s, silence to 15 s."""
    verdict = judge("Ralph", 9.0, 10.0, 15.0, events)
    assert (verdict.right, len(verdict.heard), verdict.unjudged) == (right, heard, unjudged)


def test_a_stranger_s_turn_is_right_only_as_unknown():
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
    assert len(set(files)) == len(files)  # nothing that was enrolled is played again
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_a_script_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "script.json").write_text('{"people": {}}')
    with pytest.raises(VoiceauthError, match=r"script\.json"):
        load_script(tmp_path)


def test_the_room_plays_every_sample_once_and_knows_when(tmp_path):
    reader, writer = os.pipe()
    room = Room(os.fdopen(writer, "wb"))
    heard = bytearray()

    def listen():
        while piece := os.read(reader, 65536):
            heard.extend(piece)

    listener = threading.Thread(target=listen)
    listener.start()
    ramp = np.linspace(0.25, 0.75, 5_000, dtype=np.float32)
    began = time.monotonic()
    start, end = room.wait(room.play(ramp, pause=0.1))
    assert time.monotonic() - began > 0.3  # in real time: 0.1 s and 0.31 s, less what is ahead by a frame or two
    room.close()
    listener.join(10)
    os.close(reader)
    sound = np.frombuffer(bytes(heard), dtype="<i2").astype(np.float32) / 32768
    first, last = round(start * 16_000), round(end * 16_000)
    assert last - first == len(ramp)
    assert np.allclose(sound[first:last], ramp, atol=0.002)
    assert np.abs(sound[: first - 1]).max() < 0.002
    assert np.abs(sound[last:]).max(initial=0.0) < 0.002
    assert sound[:first].any()  # a room is not digital zero


def test_without_the_model_the_demo_says_how_to_get_it(tmp_path):
    result = voiceauth("demo", environment={"VOICEAUTHD_MODEL__CACHE": str(tmp_path)})
    assert result.returncode == ExitCode.MODEL
    assert "voiceauth model fetch campplus" in result.stderr


def test_a_daemon_that_dies_is_told_with_the_end_of_its_log(tmp_path):
    folder = tmp_path / "campplus@broken"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"no weights")
    when = "2026-01-01T00:00:00+00:00"
    write_manifest(Manifest(CAMPPLUS, "broken", "0" * 64, "nowhere", "none", when, {WEIGHTS: "0" * 64}), folder)
    result = voiceauth("demo", "--json", environment={"VOICEAUTHD_MODEL__CACHE": str(tmp_path)})
    assert result.returncode == ExitCode.MODEL, result.stderr
    assert "the end of the daemon's log:" in result.stderr
    assert "does not match its SHA-256" in result.stderr
    assert json.loads(result.stdout)["error"]["reason"] == "daemon_ended"


def test_keep_wants_a_folder_of_its_own(tmp_path):
    (tmp_path / "mine").write_text("")
    result = voiceauth("demo", "--keep", str(tmp_path))
    assert result.returncode == ExitCode.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@needs_model
def test_a_short_demo_names_the_right_and_the_wrong_turns(tmp_path, capsys):
    """Ralph and Susan speak, but only Ralph is enrolled: the demo must notice that Susan is not recognised."""
    from voiceauthd.demo.play import perform

    script = load_script()
    ralph, susan = script.conversation[:2]
    people = {"Ralph": script.people["Ralph"]}
    short = replace(script, people=people, conversation=(ralph, susan), verifications=())
    output = Output(True, sys.stdout, sys.stderr)
    assert perform(tmp_path, output, short) == ExitCode.REJECT
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    turns = [line["turn"] for line in lines if "turn" in line]
    assert [turn["right"] for turn in turns] == [True, False]
    assert set(turns[1]["heard"]) == {"unknown"}
    assert lines[-1]["summary"]["daemon_exit_code"] == 0
    assert not (tmp_path / "socket").exists()


@needs_model
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
    _, complaints = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in complaints
    assert not (folder / "socket").exists()  # it was told to stop, and did so in order


@pytest.mark.slow
@needs_model
def test_the_whole_demo_is_right_and_takes_less_than_90_seconds():
    began = time.monotonic()
    result = voiceauth("demo", timeout=115)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "10 of 10 decisions right" in result.stdout.splitlines()[-1]
    assert time.monotonic() - began < 90


# The commands against the real daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """The real daemon with CAM++, in a room where nobody speaks unless a test lets somebody."""
    if find(CAMPPLUS, None, models_folder()) is None:
        pytest.skip("no CAM++ here: `voiceauth model fetch campplus`")
    with Daemon(tmp_path_factory.mktemp("daemon"), models_folder()) as running:
        running.wait_ready(lambda _state: None)
        files = [str(file) for file in load_script().people["Ralph"]]
        result = voiceauth("enroll", "ralph", *files, socket=running.socket)
        assert result.returncode == 0, result.stdout + result.stderr
        yield running


def sound(path: Path):
    return soundfile.read(path, dtype="float32", stop=56_000)[0]  # 3.5 s are enough to decide


def while_somebody_speaks(daemon, file, *words):
    """The result of a command during which the room plays `file`, once the command listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "voiceauthd.cli.main", *words, "--socket", daemon.socket],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "listening" in process.stderr.readline()
    clip = daemon.room.play(sound(file), 0.3)
    out, complaints = process.communicate(timeout=30)
    daemon.room.wait(clip)
    daemon.room.rest(0.6)
    return process.returncode, out, complaints


def test_the_right_voice_is_accepted_and_identified_and_another_is_not(daemon):
    right, wrong = (trial.file for trial in load_script().verifications)
    code, out, complaints = while_somebody_speaks(daemon, right, "verify", "ralph")
    assert (code, out.split()[0]) == (ExitCode.OK, "accepted"), complaints
    code, out, _ = while_somebody_speaks(daemon, wrong, "verify", "ralph")
    assert (code, out.split()[0]) == (ExitCode.REJECT, "rejected")
    code, out, _ = while_somebody_speaks(daemon, right, "identify")
    assert (code, out.split()[0]) == (ExitCode.OK, "ralph")
    code, out, _ = while_somebody_speaks(daemon, wrong, "identify")
    assert (code, out.split()[0]) == (ExitCode.REJECT, "unknown")


def test_silence_is_inconclusive(daemon):
    result = voiceauth("verify", "ralph", "--timeout", "1", "--json", socket=daemon.socket)
    assert result.returncode == ExitCode.INCONCLUSIVE
    assert json.loads(result.stdout)["reason"] == "no_speech"


def test_somebody_who_is_not_enrolled_is_told_so(daemon):
    assert voiceauth("verify", "nobody", socket=daemon.socket).returncode == ExitCode.NOT_ENROLLED


def test_only_one_verifies_at_a_time_and_who_leaves_frees_it(daemon):
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


def test_an_enrolment_with_too_little_speech_says_so_and_changes_nothing(daemon):
    file = str(load_script().people["Susan"][0])
    result = voiceauth("enroll", "susan", file, socket=daemon.socket)
    assert result.returncode == ExitCode.AUDIO, result.stdout + result.stderr
    assert "take 1" in result.stdout
    listed = json.loads(voiceauth("profiles", "list", "--json", socket=daemon.socket).stdout)
    assert [profile["name"] for profile in listed["profiles"]] == ["ralph"]


def test_profiles_travel_through_rename_export_delete_and_import(daemon, tmp_path):
    def profiles(*words):
        return voiceauth("profiles", *words, socket=daemon.socket)

    kept = tmp_path / "kept.json"
    assert profiles("export", "--plain", "ralph", str(kept)).returncode == 0
    assert profiles("import", str(kept)).returncode == ExitCode.STORAGE  # it is there already
    assert profiles("rename", "ralph", "rolf").returncode == 0
    assert profiles("show", "rolf").returncode == 0
    assert profiles("show", "ralph").returncode == ExitCode.NOT_ENROLLED
    assert profiles("delete", "rolf", "--yes").returncode == 0
    assert json.loads(profiles("list", "--json").stdout)["profiles"] == []
    assert profiles("import", str(kept), "--name", "ralph").returncode == 0
    names = [profile["name"] for profile in json.loads(profiles("list", "--json").stdout)["profiles"]]
    assert names == ["ralph"]
    torn = tmp_path / "torn.json"
    torn.write_text(kept.read_text()[:200])
    assert profiles("import", str(torn), "--name", "eve").returncode == ExitCode.STORAGE


def test_monitor_status_and_reload_speak_with_the_real_daemon(daemon):
    assert voiceauth("monitor", "--count", "1", socket=daemon.socket).stdout.count("\n") == 1
    status = voiceauth("status", socket=daemon.socket)
    assert status.returncode == 0, status.stderr
    assert "campplus" in status.stdout
    assert voiceauth("reload", socket=daemon.socket).returncode == 0


def test_run_prints_a_recording_and_ends_with_it(tmp_path):
    if find(CAMPPLUS, None, models_folder()) is None:
        pytest.skip("no CAM++ here: `voiceauth model fetch campplus`")
    file = load_script().people["Susan"][0]
    words = (
        "run",
        "--set",
        "model.name=campplus",
        "--set",
        f"profiles={tmp_path / 'p'}",
        "--socket",
        str(tmp_path / "s"),
    )
    result = voiceauth(*words, "--source", str(file), "--pace", "fast", "--json")
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"speech", "window", "silence"} <= {event["kind"] for event in events}
    assert not (tmp_path / "s").exists()
    wrong = voiceauth(*words, "--source", str(tmp_path / "none.flac"))
    assert wrong.returncode == ExitCode.AUDIO
