"""Decisions on recordings: through the running daemon, beside it, and without one."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from pathlib import Path

import pytest
from daemon_audio import VOICES, voice
from daemon_caller import RefusedError
from daemon_process import MAX_PIECE_BYTES, QUICK_ENROLMENT, DaemonProcess, with_model
from fake_daemon import voiceauth, voiceauth_here
from other_users import DENIED, OWNER, call_as, require_other_users

from voiceauthd.audio.pcm import pcm16
from voiceauthd.errors import ExitCode

QUIET_USER = "backup"
"""An account of every Debian that no other test calls as: only so many of a user's denied calls get a line each."""

RALPH, STRANGER = VOICES / "verify-ralph.flac", VOICES / "verify-stranger.flac"


def decide(daemon: DaemonProcess, recording: str, **parameters: object) -> dict:
    """The decision on a recording, sent as a client would send it."""
    method = "VerifyRecording" if "name" in parameters else "IdentifyRecording"
    with daemon.caller() as caller, daemon.caller() as sender:
        caller.send(method, **parameters)
        claim = caller.until("listening")["claim"]
        pcm = pcm16(voice(recording))
        starts = range(0, len(pcm), MAX_PIECE_BYTES)
        for start in starts:
            piece = base64.b64encode(pcm[start : start + MAX_PIECE_BYTES]).decode()
            try:
                sender.ask("SendAudio", claim=claim, pcm=piece, end="all" if start == starts[-1] else None)
            except RefusedError:  # decided before the end
                break
        return caller.until("decided")


def lines_of(folder: Path, *words: str) -> list[dict]:
    result = voiceauth_here("audit", "--folder", str(folder / "audit"), "--json", *words)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_recording_is_decided_as_if_it_were_spoken_and_is_no_login(daemon: DaemonProcess) -> None:
    accepted, rejected = decide(daemon, "verify-ralph", name="Ralph"), decide(daemon, "verify-stranger", name="Ralph")
    assert (accepted["outcome"], rejected["outcome"]) == ("accept", "reject")
    assert accepted["score"] > accepted["threshold"] > rejected["score"]
    assert accepted.get("nonce") is accepted.get("expires") is None
    assert decide(daemon, "verify-ralph")["identity"] == "Ralph"
    assert decide(daemon, "verify-stranger")["decision"] == "unknown"


def test_recordings_count_for_no_lockout_and_are_audited(daemon: DaemonProcess) -> None:
    for _ in range(6):
        assert decide(daemon, "verify-stranger", name="Ralph")["outcome"] == "reject"
    assert daemon.ask("ShowProfile", name="Ralph")["profile"]["locked_for"] is None
    last = lines_of(daemon.folder, "--event", "VerifyRecording", "--last", "6")
    assert [(line["name"], line["outcome"], line["reason"]) for line in last] == [("Ralph", "reject", "no_match")] * 6


def test_a_recording_neither_waits_for_the_microphone_nor_takes_it(daemon: DaemonProcess) -> None:
    found: list[dict] = []
    with daemon.caller() as listener:
        listener.send("Verify", name="Susan", timeout=20.0)
        listener.until("listening")
        found.append(decide(daemon, "verify-ralph", name="Ralph"))
        assert daemon.feed is not None
        daemon.feed.play(voice("susan-3"))
        found.append(listener.until("decided"))
    assert [decision["outcome"] for decision in found] == ["accept", "accept"]


def test_silence_and_an_empty_recording_decide_nothing(daemon: DaemonProcess) -> None:
    for samples in (b"", bytes(64_000)):
        with daemon.caller() as caller, daemon.caller() as sender:
            caller.send("VerifyRecording", name="Ralph")
            claim = caller.until("listening")["claim"]
            for start in range(0, max(1, len(samples)), MAX_PIECE_BYTES):
                piece = samples[start : start + MAX_PIECE_BYTES]
                end = "all" if start + MAX_PIECE_BYTES >= len(samples) else None
                sender.ask("SendAudio", claim=claim, pcm=base64.b64encode(piece).decode(), end=end)
            decision = caller.until("decided")
        assert (decision["outcome"], decision["reason"]) == ("inconclusive", "no_speech")


def test_another_user_is_refused_before_a_sample_is_heard(daemon: DaemonProcess) -> None:
    require_other_users()
    calls = (("VerifyRecording", {"name": "Ralph"}), ("IdentifyRecording", {}))
    assert [answer["error"] for answer in call_as(daemon, QUIET_USER, *calls)] == [DENIED, DENIED]
    denied = lines_of(daemon.folder, "--outcome", "denied", "--user", QUIET_USER)
    assert [line["event"] for line in denied] == [method for method, _ in calls]


def test_audio_for_a_recording_is_taken_from_its_caller_alone(daemon: DaemonProcess) -> None:
    require_other_users()
    with daemon.caller() as caller:
        caller.send("IdentifyRecording")
        claim = caller.until("listening")["claim"]
        assert call_as(daemon, OWNER, ("SendAudio", {"claim": claim, "pcm": ""}))[0]["error"] == DENIED
        daemon.ask("SendAudio", claim=claim, pcm="", end="all")
        assert caller.until("decided")["reason"] == "no_speech"
    assert daemon.refusal("SendAudio", claim=claim, pcm="").error.endswith("InvalidParameter")


def test_recordings_are_counted_by_the_minute_for_root_too(stub_at) -> None:
    daemon = stub_at({"socket": {"recordings_per_minute": 2}})
    assert [decide(daemon, "verify-ralph")["state"] for _ in range(2)] == ["decided", "decided"]
    with daemon.caller() as caller:
        caller.send("IdentifyRecording")
        with pytest.raises(RefusedError, match="TooOften"):
            caller.until("listening")


def test_at_most_two_recordings_are_compared_at_a_time(daemon: DaemonProcess) -> None:
    with daemon.caller() as one, daemon.caller() as two, daemon.caller() as three:
        for caller in (one, two):
            caller.send("IdentifyRecording")
            caller.until("listening")
        three.send("IdentifyRecording")
        with pytest.raises(RefusedError, match="Busy"):
            three.until("listening")
    assert decide_soon(daemon)["identity"] == "Ralph"


def decide_soon(daemon: DaemonProcess) -> dict:
    """The decision on Ralph's recording, once the daemon has noticed that earlier callers have gone."""
    for _ in range(50):
        try:
            return decide(daemon, "verify-ralph")
        except RefusedError:
            threading.Event().wait(0.1)
    raise AssertionError("the places of callers that have gone are not free")


def test_the_commands_decide_through_the_daemon_and_say_that_it_is_no_login(daemon: DaemonProcess) -> None:
    socket = str(daemon.socket)
    result = voiceauth_here("verify", "Ralph", str(RALPH), str(STRANGER), socket=socket)
    assert result.returncode == ExitCode.REJECT
    text = " ".join(result.stdout.split())
    assert "verify-ralph.flac: would be accepted Ralph: match" in text
    assert "verify-stranger.flac: would be rejected Ralph: no_match" in text
    assert "no login" in text
    assert max(map(len, result.stdout.splitlines())) <= max(80, len(str(STRANGER)) + 1)
    assert voiceauth_here("verify", "Ralph", str(RALPH), socket=socket).returncode == 0
    identified = voiceauth_here("identify", "--json", str(RALPH), socket=socket)
    assert [json.loads(line)["identity"] for line in identified.stdout.splitlines()] == ["Ralph"]
    assert json.loads(identified.stdout)["decided_by"] == "daemon"
    missing = voiceauth_here("identify", "none.wav", socket=socket)
    assert missing.returncode == ExitCode.AUDIO
    assert missing.stderr.count("none.wav") == 1


def test_a_recording_can_be_followed_while_the_daemon_runs(daemon: DaemonProcess) -> None:
    before = sorted(path.name for path in daemon.folder.iterdir())
    words = ("run", str(RALPH), "--pace", "fast", "--json", "--config", str(daemon.config))
    result = voiceauth(*words, environment=with_model())
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event.get("identity") for event in events if event["kind"] == "window"} == {"Ralph"}
    assert sorted(path.name for path in daemon.folder.iterdir()) == before
    assert daemon.ask("Status")["ready"] is True


def test_without_a_daemon_the_same_profiles_decide_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    with DaemonProcess(folder, QUICK_ENROLMENT, environment=with_model()) as daemon:
        daemon.await_ready()
        daemon.enroll("Ralph", [voice(f"ralph-{number}") for number in (1, 2, 5)])
        through = decide(daemon, "verify-ralph", name="Ralph")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    environment = {**with_model(), "VOICEAUTHD_CONFIG": str(daemon.config), "VOICEAUTHD_SOCKET": str(daemon.socket)}
    result = voiceauth_here("verify", "Ralph", "--json", str(RALPH), str(STRANGER), environment=environment)
    accepted, rejected = (json.loads(line) for line in result.stdout.splitlines())
    assert (accepted["outcome"], rejected["outcome"], result.returncode) == ("accept", "reject", ExitCode.REJECT)
    assert accepted["score"] == pytest.approx(through["score"], abs=0.2)
    assert accepted["decided_by"] == "this process"
    assert voiceauth_here("verify", "Eve", str(RALPH), environment=environment).returncode == ExitCode.NOT_ENROLLED
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    shutil.rmtree(folder / "profiles")
    empty = voiceauth_here("identify", "--json", str(RALPH), environment=environment)
    assert json.loads(empty.stdout)["reason"] == "nobody_enrolled"
    assert not (folder / "profiles").exists()
