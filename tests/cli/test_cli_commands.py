"""The client commands that enrol, monitor and manage the daemon, against a fake daemon."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from fake_daemon import HANG_UP, FakeDaemon, done, going, refusal, voiceauth_here

from voiceauthd.errors import ExitCode

EVENT = {
    "kind": "window",
    "sequence": 3,
    "time": 1_700_000_000.25,
    "start": 1.5,
    "duration": 3.0,
    "quality": {"net_speech": 2.4, "snr_db": 21.0, "clipping": 0.0, "level_dbfs": -26.0},
    "decision": "known",
    "identity": "alice",
    "reason": "match",
    "score": 0.71,
    "margin": 0.34,
    "calibrated": False,
    "latency_ms": 84.2,
    "forward_ms": 61.0,
}

PROFILE = {
    "name": "alice",
    "usable": True,
    "problem": None,
    "created": "2026-01-01T00:00:00+00:00",
    "updated": "2026-01-02T00:00:00+00:00",
    "owner_uid": 0,
    "model": "campplus@1 (92f2)",
    "exemplars": 5,
    "net_speech": 22.5,
    "conditions": ["default"],
}


def test_monitor_prints_one_line_per_event_with_name_score_and_delay(tmp_path):
    events = [
        {"kind": "started", "sequence": 0, "time": 1.7e9, "detail": "microphone 'pulse'"},
        {"kind": "speech", "sequence": 1, "time": 1.7e9, "start": 1.0},
        EVENT,
        {**EVENT, "decision": "unknown", "identity": None, "reason": "no_match", "score": None, "margin": None},
        {"kind": "dropped", "sequence": 4, "time": 1.7e9, "count": 2, "detail": "windows"},
    ]
    with FakeDaemon(tmp_path / "s", lambda _: [*(going(event=event) for event in events), HANG_UP]) as daemon:
        result = voiceauth_here("monitor", "--count", "5", socket=daemon.path)
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert len(lines) == 5
    for part in ("alice", "uncalibrated 0.71", "margin +0.34", "2.4 s", "21 dB", "84 ms"):
        assert part in lines[2]
    assert "unknown" in lines[3]
    assert "no_match" in lines[3]
    assert "dropped 2" in lines[4]


def test_monitor_as_json_prints_the_objects_of_the_interface(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [going(event=EVENT), done(event=EVENT)]) as daemon:
        result = voiceauth_here("monitor", "--json", socket=daemon.path)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [EVENT, EVENT]
    assert result.returncode == 0


def test_monitor_fails_if_the_daemon_hangs_up(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [going(event=EVENT), HANG_UP]) as daemon:
        assert voiceauth_here("monitor", socket=daemon.path).returncode == ExitCode.NOT_RUNNING


def test_monitor_ends_quietly_when_its_reader_goes_away(tmp_path):
    stop = threading.Event()

    def forever(_request):
        while not stop.wait(0.01):
            yield going(event=EVENT)

    with FakeDaemon(tmp_path / "s", forever) as daemon:
        process = subprocess.Popen(
            [sys.executable, "-m", "voiceauthd.cli.main", "monitor", "--socket", daemon.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert b"alice" in process.stdout.readline()
        process.stdout.close()
        _, errors = process.communicate(timeout=30)
        stop.set()
    assert (process.returncode, errors) == (0, b"")


def test_names_from_the_daemon_cannot_control_the_terminal(tmp_path):
    evil = {**EVENT, "identity": "ali\x1b[31mce\r\n"}
    with FakeDaemon(tmp_path / "s", lambda _: [done(event=evil)]) as daemon:
        result = voiceauth_here("monitor", socket=daemon.path)
    assert "\x1b" not in result.stdout
    assert result.stdout.count("\n") == 1


def test_the_list_of_profiles_says_why_one_is_refused(tmp_path):
    torn = {**PROFILE, "name": "bob", "usable": False, "problem": "torn at byte 7", "conditions": []}
    with FakeDaemon(tmp_path / "s", lambda _: [done(profiles=[PROFILE, torn])]) as daemon:
        result = voiceauth_here("profiles", "list", socket=daemon.path)
    assert result.returncode == 0
    assert "torn at byte 7" in result.stdout
    assert "22 s" in result.stdout


def test_an_export_is_private_and_replaces_no_file_without_force(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "alice.json"
    with FakeDaemon(tmp_path / "s", lambda _: [done(document='{"secret": 1}')]) as daemon:
        words = ("profiles", "export", "--plain", "alice")
        assert voiceauth_here(*words, str(target), socket=daemon.path).returncode == 0
        assert target.read_text() == '{"secret": 1}'
        assert target.stat().st_mode & 0o777 == 0o600
        target.write_text("mine")
        again = voiceauth_here(*words, str(target), socket=daemon.path)
        assert again.returncode == ExitCode.USAGE
        assert target.read_text() == "mine"
        forced = voiceauth_here(*words, str(target), "--force", socket=daemon.path)
        assert forced.returncode == 0
        assert target.read_text() == '{"secret": 1}'
        default = voiceauth_here(*words, socket=daemon.path)
        assert default.returncode == 0
        piped = voiceauth_here(*words, "-", socket=daemon.path)
        assert piped.stdout == '{"secret": 1}\n'
        climbing = voiceauth_here("profiles", "export", "--plain", "../x", socket=daemon.path)
        assert climbing.returncode == ExitCode.USAGE
    assert {path.name for path in tmp_path.iterdir()} == {"s", "alice.json", "alice.profile.json"}


def test_a_failed_export_leaves_nothing(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done(document="{}")]) as daemon:
        words = ("profiles", "export", "--plain", "alice", str(tmp_path / "no" / "x"))
        result = voiceauth_here(*words, socket=daemon.path)
    assert result.returncode == ExitCode.STORAGE
    assert {path.name for path in tmp_path.iterdir()} == {"s"}


def test_an_import_sends_the_document_and_refuses_other_files(tmp_path):
    (tmp_path / "p.json").write_text('{"name": "alice"}')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_text("x" * 70_000)
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=PROFILE)]) as daemon:
        words = ("profiles", "import")
        result = voiceauth_here(*words, str(tmp_path / "p.json"), "--name", "bob", "--replace", socket=daemon.path)
        assert result.returncode == 0, result.stderr
        assert daemon.requests[-1]["parameters"] == {"document": '{"name": "alice"}', "name": "bob", "replace": True}
        for file in ("binary", "long", "missing"):
            assert voiceauth_here(*words, str(tmp_path / file), socket=daemon.path).returncode == ExitCode.STORAGE
        assert len(daemon.requests) == 1


def test_deleting_without_a_terminal_needs_yes(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done()]) as daemon:
        assert voiceauth_here("profiles", "delete", "alice", socket=daemon.path).returncode == ExitCode.USAGE
        assert daemon.requests == []
        assert voiceauth_here("profiles", "delete", "alice", "--yes", socket=daemon.path).returncode == 0
        assert daemon.requests[0]["method"] == "org.voiceauthd.DeleteProfile"


def enrolling(state, **more):
    return {"state": state, "exemplars": 0, "exemplars_needed": 2, "net_speech": 0.0, "net_speech_needed": 8.0, **more}


QUALITY = {"net_speech": 4.1, "snr_db": 20.0, "clipping": 0.0, "level_dbfs": -26.0}


def test_enrolling_at_the_microphone_prompts_and_explains_a_refused_take(tmp_path):
    def answer(_request):
        yield going(**enrolling("listening"))
        yield going(**enrolling("speech"))
        yield going(
            **enrolling("take", accepted=False, reason="too_noisy", advice="Close the window.", quality=QUALITY)
        )
        yield going(**enrolling("take", accepted=True, quality=QUALITY, exemplars=1, net_speech=4.1))
        yield done(**enrolling("done", exemplars=2, net_speech=8.2, profile=PROFILE))

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("enroll", "alice", "--condition", "headset", "--timeout", "60", socket=daemon.path)
        (request,) = daemon.requests
    assert result.returncode == 0, result.stderr
    assert request["more"] is True
    assert request["parameters"] == {
        "name": "alice",
        "mode": "new",
        "source": "microphone",
        "condition": "headset",
        "timeout": 60.0,
    }
    assert "take 1: refused  too_noisy: Close the window." in result.stdout
    assert "take 2: accepted" in result.stdout
    assert result.stdout.count(".\n") >= 3  # the sentences to read
    assert result.stdout.splitlines()[-1].startswith("enrolled alice: 5 exemplars")
    assert "[############------------] 4.1 of 8 s, 1 of 2 exemplars" in result.stderr


def test_an_enrolment_that_ends_without_a_profile_fails(tmp_path):
    for index, end in enumerate(([HANG_UP], [done(**enrolling("take"))], [done(**enrolling("done"))])):
        replies = [going(**enrolling("listening")), *end]
        with FakeDaemon(tmp_path / f"s{index}", lambda _, replies=replies: replies) as daemon:
            assert voiceauth_here("enroll", "alice", socket=daemon.path).returncode == ExitCode.NOT_RUNNING


@pytest.fixture
def recordings(tmp_path):
    """Two recordings, 2.5 s and 1 s, of noise in place of speech."""
    files = []
    for number, length in enumerate((40_000, 16_000)):
        path = tmp_path / f"take{number}.wav"
        noise = np.random.default_rng(number).normal(0, 0.1, length).astype(np.float32)
        soundfile.write(path, noise, 16_000, subtype="PCM_16")
        files.append(path)
    return files


def test_recordings_are_sent_in_chunks_with_the_claim_and_the_ends(tmp_path, recordings):
    finished = threading.Event()

    def answer(request):
        if request["method"].endswith("SendAudio"):
            if request["parameters"].get("end") == "all":
                finished.set()
            yield done()
            return
        yield going(**enrolling("listening", claim="token-1"))
        assert finished.wait(20)
        for _ in recordings:
            yield going(**enrolling("take", accepted=True, quality=QUALITY))
        yield done(**enrolling("done", profile=PROFILE))

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("enroll", "alice", *map(str, recordings), "--replace", socket=daemon.path)
        chunks = [request["parameters"] for request in daemon.requests[1:]]
    assert result.returncode == 0, result.stderr
    assert daemon.requests[0]["parameters"] == {"name": "alice", "mode": "replace", "source": "recordings"}
    assert {chunk["claim"] for chunk in chunks} == {"token-1"}
    assert [chunk.get("end") for chunk in chunks] == [None, None, "take", "all"]
    assert all(len(base64.b64decode(chunk["pcm"])) <= 32 * 1024 for chunk in chunks)
    sent = b"".join(base64.b64decode(chunk["pcm"]) for chunk in chunks)
    original = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in recordings])
    assert np.array_equal(np.frombuffer(sent, dtype="<i2"), original)
    assert "take 1" in result.stdout
    assert "take0.wav" in result.stdout


def test_the_reason_why_an_enrolment_ended_precedes_a_failure_to_send(tmp_path, recordings):
    ended = threading.Event()

    def answer(request):
        if request["method"].endswith("SendAudio"):
            yield refusal("Cancelled", detail="no such claim")
            ended.set()
            return
        yield going(**enrolling("listening", claim="token-1"))
        assert ended.wait(20)
        yield refusal("EnrolmentIncomplete", reason="too_noisy", detail="all takes were too noisy")

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("enroll", "alice", *map(str, recordings), socket=daemon.path)
    assert result.returncode == ExitCode.AUDIO
    assert "all takes were too noisy" in result.stderr


def test_a_failure_to_send_ends_the_enrolment_with_its_error(tmp_path, recordings, monkeypatch):
    monkeypatch.setattr("voiceauthd.terminal.recordings.EXPLANATION_TIMEOUT", 0.2)

    def answer(request):
        if request["method"].endswith("SendAudio"):
            yield refusal("TooManyConnections", limit=1)
            return
        yield going(**enrolling("listening", claim="token-1"))
        threading.Event().wait(20)

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        assert voiceauth_here("enroll", "alice", *map(str, recordings), socket=daemon.path).returncode == ExitCode.BUSY


def test_an_unusable_recording_is_refused_before_anything_is_sent(tmp_path, recordings):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is not audio")
    with FakeDaemon(tmp_path / "s", lambda _: []) as daemon:
        for bad in ("missing.wav", "empty.wav", "text.wav"):
            result = voiceauth_here("enroll", "alice", str(recordings[0]), str(tmp_path / bad), socket=daemon.path)
            assert result.returncode == ExitCode.AUDIO
            assert bad in result.stderr
        assert daemon.requests == []


@pytest.mark.parametrize(
    ("state", "shown", "hidden"),
    [
        ({"state": "starting"}, ["state starting", "model loading", "shown to root"], ["config", "profiles", "cohort"]),
        ({"state": "stopping"}, ["state stopping", "model none"], ["config built in"]),
        (
            {"state": "starting", "runs_as": {"user": "voice", "settings": ["a.b=1"], "state": "/s"}},
            ["config built in; also a.b=1", "user voice", "folder /s"],
            ["profiles", "not shown"],
        ),
    ],
)
def test_status_says_what_is_not_known_yet_and_what_is_not_shown(tmp_path, state, shown, hidden):
    status = {
        "ready": False,
        "uptime": 1.0,
        "source": {"description": "", "state": "closed", "overflows": 0, "reopened": 0},
        "queue": {"depth": 0, "capacity": 16, "dropped": 0},
        "windows": {"cut": 0, "embedded": 0, "refused": 0, "failed": 0},
        "connections": 1,
        "monitors": 0,
        "policies": [],
        "memory_mib": 40.0,
        **state,
    }
    with FakeDaemon(tmp_path / "s", lambda _: [done(**status)]) as daemon:
        text = " ".join(voiceauth_here("status", socket=daemon.path).stdout.split())
    assert [part for part in shown if part not in text] == []
    labels = text.replace("claim, profiles, user and config are shown", "shown")
    assert [part for part in hidden if part in labels] == []


def test_status_is_readable_and_its_json_is_the_daemon_s_own(tmp_path):
    status = {
        "ready": True,
        "state": "degraded",
        "problem": "the microphone was lost",
        "uptime": 3700.0,
        "model": {
            "name": "campplus",
            "revision": "cn_en_common",
            "digest": "92f29b94e694",
            "dimension": 192,
            "calibrated": False,
            "threshold": 0.45,
        },
        "source": {"description": "microphone", "state": "lost", "overflows": 1, "reopened": 2},
        "queue": {"depth": 0, "capacity": 16, "dropped": 3},
        "windows": {"cut": 9, "embedded": 7, "refused": 2, "failed": 0},
        "latency_ms": {"count": 9, "median": 80.1, "p99": 120.0},
        "connections": 1,
        "monitors": 0,
        "policies": [
            {"name": "monitor", "false_accepts": 1e-2, "supported": 1e-3, "trials": 3000, "demonstrated": True},
            {"name": "unlock", "false_accepts": 1e-3, "trials": 0, "demonstrated": False},
            {"name": "auth", "false_accepts": 1e-4, "supported": 1e-3, "trials": 3000, "demonstrated": False},
        ],
        "cohort": {"speakers": 130, "sources": ["one, CC BY", "two, CC BY"]},
        "memory_mib": 400.0,
    }
    with FakeDaemon(tmp_path / "s", lambda _: [done(**status)]) as daemon:
        text = voiceauth_here("status", socket=daemon.path)
        as_json = voiceauth_here("status", "--json", socket=daemon.path)
    assert text.returncode == 0, text.stderr
    for part in (
        "degraded: the microphone was lost",
        "1 h 01 min",
        "uncalibrated, threshold 0.45",
        "80.1 ms",
        "9 cut, 7 embedded, 2 refused, 0 failed",
        "130 speakers: one, CC BY; two, CC BY",
        "1 overflow, reopened 2 times",
        "shown to root and the daemon's user",
    ):
        assert part in " ".join(text.stdout.split())
    assert max(map(len, text.stdout.splitlines())) <= 80
    rows = re.sub(r"\n {10}", " ", text.stdout).splitlines()  # long rows go on under their text
    assert [line for line in rows if line.startswith("policy")] == [
        "policy    monitor: aims at 0.01 false accepts; demonstrated: 0.001 with 3,000 independent trials",
        "policy    unlock: aims at 0.001 false accepts; uncalibrated",
        "policy    auth: aims at 0.0001 false accepts; not demonstrated: 0.001 with 3,000 independent trials",
    ]
    assert json.loads(as_json.stdout) == status


def test_reload_prints_what_changed(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done(changed=["audio.device"])]) as daemon:
        assert voiceauth_here("reload", socket=daemon.path).stdout == "changed: audio.device\n"
