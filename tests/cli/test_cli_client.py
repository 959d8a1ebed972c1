"""What the client commands make of a daemon's answers, and of answers that no honest daemon would give."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from fake_daemon import HANG_UP, FakeDaemon, done, encode, going, refusal, voiceauth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


def decided(request, **changes):
    """An honest accept of what `request` asks, with `changes`."""
    asked = request["parameters"]
    return {
        "state": "decided",
        "outcome": "accept",
        "reason": "match",
        "name": asked["name"],
        "nonce": asked["nonce"],
        "net_speech": 2.3,
        "net_speech_needed": 2.0,
        "score": 0.71,
        "margin": 0.34,
        "threshold": 0.45,
        "expires": 10.0,
        **changes,
    }


def listening(request, state="listening"):
    return going(state=state, name=request["parameters"].get("name"), net_speech=0.0, net_speech_needed=2.0)


def verify(tmp_path, answer, *words):
    with FakeDaemon(tmp_path / "socket", answer) as daemon:
        return voiceauth("verify", "alice", *words, socket=daemon.path)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("accept", ExitCode.OK), ("reject", ExitCode.REJECT), ("inconclusive", ExitCode.INCONCLUSIVE)],
)
def test_the_decision_is_the_exit_code(tmp_path, outcome, code):
    result = verify(tmp_path, lambda request: [listening(request), done(**decided(request, outcome=outcome))])
    assert result.returncode == code, result.stderr
    assert result.stdout.startswith({"accept": "accepted", "reject": "rejected"}.get(outcome, outcome))
    assert "0.0 of 2.0 s of speech" in result.stderr


def test_a_rejection_comes_with_reason_and_advice(tmp_path):
    def answer(request):
        yield done(**decided(request, outcome="reject", reason="no_match", advice="Speak as at enrolment."))

    result = verify(tmp_path, answer)
    assert "no_match" in result.stdout
    assert "Speak as at enrolment." in result.stdout


def test_json_is_one_object_and_nothing_else(tmp_path):
    result = verify(tmp_path, lambda request: [listening(request), done(**decided(request))], "--json")
    answer = json.loads(result.stdout)
    assert (result.returncode, answer["accepted"], answer["outcome"]) == (0, True, "accept")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_name_timeout_and_nonce_reach_the_daemon(tmp_path):
    with FakeDaemon(tmp_path / "socket", lambda request: [done(**decided(request))]) as daemon:
        result = voiceauth("verify", "alice", "--timeout", "4", "--nonce", "n1", "--json", socket=daemon.path)
        (request,) = daemon.requests
    assert request["parameters"] == {"name": "alice", "timeout": 4.0, "nonce": "n1"}
    assert json.loads(result.stdout)["nonce"] == "n1"


def torn(request):
    yield encode(done(**decided(request)))[:-20]
    yield HANG_UP


def without_its_end(request):
    yield encode(done(**decided(request)))[:-1]
    yield HANG_UP


LIES = {
    "a torn answer": torn,
    "an answer without its delimiter": without_its_end,
    "a closed connection": lambda request: [HANG_UP],
    "closed while listening": lambda request: [listening(request), HANG_UP],
    "only progress that says accept": lambda request: [going(**decided(request)), HANG_UP],
    "another nonce": lambda request: [done(**decided(request, nonce="other"))],
    "no nonce": lambda request: [done(**{k: v for k, v in decided(request).items() if k != "nonce"})],
    "another name": lambda request: [done(**decided(request, name="bob"))],
    "no state": lambda request: [done(**decided(request, state=None))],
    "not decided": lambda request: [done(**decided(request, state="progress"))],
    "an outcome of another case": lambda request: [done(**decided(request, outcome="Accept"))],
    "an outcome that is true": lambda request: [done(**decided(request, outcome=True))],
    "an outcome in a list": lambda request: [done(**decided(request, outcome=["accept"]))],
    "no outcome": lambda request: [done(**decided(request, outcome=None))],
    "already expired": lambda request: [done(**decided(request, expires=0))],
    "never expires": lambda request: [done(**decided(request, expires=None))],
    "expires NaN": lambda request: [encode(done(**decided(request, expires=float("nan"))))],
    "an error that says accept": lambda request: [{"error": "org.voiceauthd.New", "parameters": decided(request)}],
    "an empty object": lambda request: [{}],
    "no object": lambda request: [["accept"]],
    "garbage": lambda request: [b"\xff\xfe accept \0"],
    "accept in plain text": lambda request: [b"accept\0"],
    "nothing but delimiters": lambda request: [b"\0\0\0", HANG_UP],
    "two objects in one": lambda request: [b"{}" + encode(done(**decided(request)))],
    "deep nesting": lambda request: [b"[" * 100_000 + b"\0"],
    "without an end": lambda request: [b"x" * 2_000_000],
}


@pytest.mark.parametrize("lie", LIES)
def test_no_answer_that_is_not_whole_and_about_this_call_lets_anybody_in(tmp_path, lie):
    result = verify(tmp_path, LIES[lie])
    assert result.returncode in {ExitCode.NOT_RUNNING, ExitCode.INTERNAL}, result.stdout
    assert result.stderr.splitlines()[-1].startswith("voiceauth: ")
    assert "Traceback" not in result.stderr
    assert "accepted" not in result.stdout


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.sampled_from(["state", "outcome", "name", "nonce", "expires"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.just("accept"), max_size=2),
        min_size=1,
    )
)
def test_a_decision_with_any_other_value_in_what_counts_never_ends_with_0(tmp_path_factory, capsys, changes):
    from voiceauthd.cli.main import main

    harmless = {"expires": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0}
    if all(harmless.get(key, lambda _: False)(value) for key, value in changes.items()):
        return
    path = tmp_path_factory.mktemp("lie") / "s"
    with FakeDaemon(path, lambda request: [done(**decided(request, **changes))]):
        assert main(["verify", "alice", "--socket", str(path)]) != 0


def test_a_result_that_expired_while_it_was_printed_is_not_handed_on(tmp_path, monkeypatch, capsys):
    from voiceauthd.cli import verify as command
    from voiceauthd.cli.main import main

    said = command.decision_object
    monkeypatch.setattr(command, "decision_object", lambda verified: (time.sleep(0.3), said(verified))[1])
    with FakeDaemon(tmp_path / "s", lambda request: [done(**decided(request, expires=0.25))]) as daemon:
        assert main(["verify", "alice", "--socket", daemon.path]) == ExitCode.INCONCLUSIVE


def test_a_broken_pipe_does_not_turn_a_rejection_into_success(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda request: [done(**decided(request, outcome="reject"))]) as daemon:
        process = subprocess.Popen(
            [sys.executable, "-m", "voiceauthd.cli.main", "verify", "alice", "--socket", daemon.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(30) == ExitCode.REJECT


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal("Busy", holder="verify"), ExitCode.BUSY),
        (refusal("NotEnrolled", name="alice"), ExitCode.NOT_ENROLLED),
        (refusal("NoSource", detail="no microphone"), ExitCode.NO_MICROPHONE),
        (refusal("NotReady", detail="the model loads"), ExitCode.MODEL),
        (refusal("StorageFailed", detail="disk full"), ExitCode.STORAGE),
        (refusal("InvalidName", name="../x", detail="a slash"), ExitCode.USAGE),
        ({"error": "org.varlink.service.PermissionDenied", "parameters": {}}, ExitCode.DENIED),
        (refusal("Internal", detail="a defect"), ExitCode.INTERNAL),
        (refusal("SomethingNew"), ExitCode.INTERNAL),
    ],
)
def test_each_error_of_the_daemon_has_its_exit_code_and_one_line(tmp_path, answer, code):
    result = verify(tmp_path, lambda request: [answer], "--json")
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("voiceauth: ")
    assert set(json.loads(result.stdout)["error"]) == {"reason", "message"}


def test_without_a_daemon_every_client_command_says_so():
    for words in (["verify", "a"], ["identify"], ["monitor"], ["status"], ["reload"], ["profiles", "list"]):
        result = voiceauth(*words)
        assert result.returncode == ExitCode.NOT_RUNNING
        assert "start it" in result.stderr


@pytest.mark.parametrize(
    ("decision", "identity", "code", "shown"),
    [
        ("known", "alice", ExitCode.OK, "alice"),
        ("unknown", None, ExitCode.REJECT, "unknown"),
        ("undecided", None, ExitCode.INCONCLUSIVE, "undecided"),
        ("known", None, ExitCode.NOT_RUNNING, ""),
        (None, "alice", ExitCode.NOT_RUNNING, ""),
    ],
)
def test_identify_names_somebody_or_says_that_it_cannot(tmp_path, decision, identity, code, shown):
    reply = {"state": "decided", "decision": decision, "identity": identity, "reason": "r", "score": 0.6}
    with FakeDaemon(tmp_path / "s", lambda request: [listening(request), done(**reply)]) as daemon:
        result = voiceauth("identify", socket=daemon.path)
    assert result.returncode == code
    assert result.stdout.startswith(shown)


def test_monitor_prints_a_line_an_event_with_who_how_sure_and_how_late(tmp_path):
    events = [
        {"kind": "started", "sequence": 0, "time": 1.7e9, "detail": "microphone 'pulse'"},
        {"kind": "speech", "sequence": 1, "time": 1.7e9, "start": 1.0},
        EVENT,
        {**EVENT, "decision": "unknown", "identity": None, "reason": "no_match", "score": None, "margin": None},
        {"kind": "dropped", "sequence": 4, "time": 1.7e9, "count": 2, "detail": "windows"},
    ]
    with FakeDaemon(tmp_path / "s", lambda _: [*(going(event=event) for event in events), HANG_UP]) as daemon:
        result = voiceauth("monitor", "--count", "5", socket=daemon.path)
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert len(lines) == 5
    for part in ("alice", "cosine 0.71", "margin +0.34", "uncalibrated", "2.4 s speech", "SNR 21 dB", "84 ms late"):
        assert part in lines[2]
    assert "unknown" in lines[3]
    assert "score not shown" in lines[3]
    assert "dropped 2" in lines[4]


def test_monitor_as_json_gives_the_interface_s_own_objects(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [going(event=EVENT), done(event=EVENT)]) as daemon:
        result = voiceauth("monitor", "--json", socket=daemon.path)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [EVENT, EVENT]
    assert result.returncode == 0


def test_a_monitor_that_the_daemon_leaves_is_no_success(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [going(event=EVENT), HANG_UP]) as daemon:
        assert voiceauth("monitor", socket=daemon.path).returncode == ExitCode.NOT_RUNNING


def test_monitor_ends_without_complaint_when_nobody_reads_any_more(tmp_path):
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
        _, complaints = process.communicate(timeout=30)
        stop.set()
    assert (process.returncode, complaints) == (0, b"")


def test_what_the_daemon_says_cannot_command_the_terminal(tmp_path):
    evil = {**EVENT, "identity": "ali\x1b[31mce\r\n"}
    with FakeDaemon(tmp_path / "s", lambda _: [done(event=evil)]) as daemon:
        result = voiceauth("monitor", socket=daemon.path)
    assert "\x1b" not in result.stdout
    assert result.stdout.count("\n") == 1


def test_on_a_terminal_progress_stays_on_one_line_and_colour_obeys_no_color(tmp_path):
    def answer(request):
        yield listening(request)
        yield listening(request, "speech")
        yield done(**decided(request))

    shown = {}
    for colour in ("", "1"):
        with FakeDaemon(tmp_path / f"s{colour}", answer) as daemon:
            shown[colour] = _on_a_terminal(["verify", "alice", "--socket", daemon.path], colour)
    assert "\x1b[1;32m" in shown[""]
    assert "\x1b[1;32m" not in shown["1"]
    assert "\r\x1b[K" in shown["1"]
    assert shown["1"].count("\n") == 1


def _on_a_terminal(words, no_color):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "voiceauthd.cli.main", *words], stdout=theirs, stderr=theirs, env=environment
    )
    assert process.wait(30) == 0
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:  # Linux ends a terminal whose other side is closed with EIO
        pass
    os.close(ours)
    return said.decode()


def test_profiles_are_listed_with_the_refused_ones_and_why(tmp_path):
    torn = {**PROFILE, "name": "bob", "usable": False, "problem": "torn at byte 7", "conditions": []}
    with FakeDaemon(tmp_path / "s", lambda _: [done(profiles=[PROFILE, torn])]) as daemon:
        result = voiceauth("profiles", "list", socket=daemon.path)
    assert result.returncode == 0
    assert "torn at byte 7" in result.stdout
    assert "22 s" in result.stdout


def test_an_export_is_private_whole_and_never_over_another_file(tmp_path):
    target = tmp_path / "alice.json"
    with FakeDaemon(tmp_path / "s", lambda _: [done(document='{"secret": 1}')]) as daemon:
        assert voiceauth("profiles", "export", "alice", str(target), socket=daemon.path).returncode == 0
        assert target.read_text() == '{"secret": 1}'
        assert target.stat().st_mode & 0o777 == 0o600
        target.write_text("mine")
        again = voiceauth("profiles", "export", "alice", str(target), socket=daemon.path)
        assert again.returncode == ExitCode.USAGE
        assert target.read_text() == "mine"
        forced = voiceauth("profiles", "export", "alice", str(target), "--force", socket=daemon.path)
        assert forced.returncode == 0
        assert target.read_text() == '{"secret": 1}'
        default = voiceauth("profiles", "export", "alice", socket=daemon.path, cwd=tmp_path)
        assert default.returncode == 0
        piped = voiceauth("profiles", "export", "alice", "-", socket=daemon.path)
        assert piped.stdout == '{"secret": 1}\n'
        climbing = voiceauth("profiles", "export", "../x", socket=daemon.path, cwd=tmp_path)
        assert climbing.returncode == ExitCode.USAGE
    assert {path.name for path in tmp_path.iterdir()} == {"s", "alice.json", "alice.profile.json"}


def test_an_export_to_where_nothing_can_be_written_leaves_nothing(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done(document="{}")]) as daemon:
        result = voiceauth("profiles", "export", "alice", str(tmp_path / "no" / "x"), socket=daemon.path)
    assert result.returncode == ExitCode.STORAGE
    assert {path.name for path in tmp_path.iterdir()} == {"s"}


def test_an_import_sends_the_document_and_refuses_what_is_none(tmp_path):
    (tmp_path / "p.json").write_text('{"name": "alice"}')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_text("x" * 70_000)
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=PROFILE)]) as daemon:
        words = ("profiles", "import")
        result = voiceauth(*words, str(tmp_path / "p.json"), "--name", "bob", "--replace", socket=daemon.path)
        assert result.returncode == 0, result.stderr
        assert daemon.requests[-1]["parameters"] == {"document": '{"name": "alice"}', "name": "bob", "replace": True}
        for file in ("binary", "long", "missing"):
            assert voiceauth(*words, str(tmp_path / file), socket=daemon.path).returncode == ExitCode.STORAGE
        assert len(daemon.requests) == 1


def test_deleting_asks_first_and_without_anybody_to_ask_does_nothing(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done()]) as daemon:
        assert voiceauth("profiles", "delete", "alice", socket=daemon.path).returncode == ExitCode.USAGE
        assert daemon.requests == []
        assert voiceauth("profiles", "delete", "alice", "--yes", socket=daemon.path).returncode == 0
        assert daemon.requests[0]["method"] == "org.voiceauthd.DeleteProfile"


def enrolling(state, **more):
    return {"state": state, "exemplars": 0, "exemplars_needed": 2, "net_speech": 0.0, "net_speech_needed": 8.0, **more}


QUALITY = {"net_speech": 4.1, "snr_db": 20.0, "clipping": 0.0, "level_dbfs": -26.0}


def test_enrolling_at_the_microphone_prompts_and_says_why_a_take_was_refused(tmp_path):
    def answer(_request):
        yield going(**enrolling("listening"))
        yield going(**enrolling("speech"))
        yield going(
            **enrolling("take", accepted=False, reason="too_noisy", advice="Close the window.", quality=QUALITY)
        )
        yield going(**enrolling("take", accepted=True, quality=QUALITY, exemplars=1, net_speech=4.1))
        yield done(**enrolling("done", exemplars=2, net_speech=8.2, profile=PROFILE))

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth("enroll", "alice", "--condition", "headset", "--timeout", "60", socket=daemon.path)
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


def test_an_enrolment_that_ends_without_a_profile_is_no_success(tmp_path):
    for index, end in enumerate(([HANG_UP], [done(**enrolling("take"))], [done(**enrolling("done"))])):
        replies = [going(**enrolling("listening")), *end]
        with FakeDaemon(tmp_path / f"s{index}", lambda _, replies=replies: replies) as daemon:
            assert voiceauth("enroll", "alice", socket=daemon.path).returncode == ExitCode.NOT_RUNNING


@pytest.fixture
def recordings(tmp_path):
    """Two recordings, 2.5 s and 1 s, of noise that stands for speech here: nobody listens to it."""
    files = []
    for number, length in enumerate((40_000, 16_000)):
        path = tmp_path / f"take{number}.wav"
        noise = np.random.default_rng(number).normal(0, 0.1, length).astype(np.float32)
        soundfile.write(path, noise, 16_000, subtype="PCM_16")
        files.append(path)
    return files


def test_recordings_are_sent_whole_in_pieces_with_the_claim_and_the_ends(tmp_path, recordings):
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
        result = voiceauth("enroll", "alice", *map(str, recordings), "--replace", socket=daemon.path)
        pieces = [request["parameters"] for request in daemon.requests[1:]]
    assert result.returncode == 0, result.stderr
    assert daemon.requests[0]["parameters"] == {"name": "alice", "mode": "replace", "source": "recordings"}
    assert {piece["claim"] for piece in pieces} == {"token-1"}
    assert [piece.get("end") for piece in pieces] == [None, None, "take", "all"]
    assert all(len(base64.b64decode(piece["pcm"])) <= 32 * 1024 for piece in pieces)
    sent = b"".join(base64.b64decode(piece["pcm"]) for piece in pieces)
    original = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in recordings])
    assert np.array_equal(np.frombuffer(sent, dtype="<i2"), original)
    assert "take 1" in result.stdout
    assert "take0.wav" in result.stdout


def test_why_an_enrolment_ended_goes_before_the_sender_s_own_failure(tmp_path, recordings):
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
        result = voiceauth("enroll", "alice", *map(str, recordings), socket=daemon.path)
    assert result.returncode == ExitCode.AUDIO
    assert "all takes were too noisy" in result.stderr


def test_a_sender_that_fails_ends_the_enrolment_with_its_error(tmp_path, recordings):
    def answer(request):
        if request["method"].endswith("SendAudio"):
            yield refusal("TooManyConnections", limit=1)
            return
        yield going(**enrolling("listening", claim="token-1"))
        threading.Event().wait(20)

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        assert voiceauth("enroll", "alice", *map(str, recordings), socket=daemon.path).returncode == ExitCode.BUSY


def test_a_recording_that_cannot_be_used_is_refused_before_anything_is_sent(tmp_path, recordings):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no sound")
    with FakeDaemon(tmp_path / "s", lambda _: []) as daemon:
        for bad in ("missing.wav", "empty.wav", "text.wav"):
            result = voiceauth("enroll", "alice", str(recordings[0]), str(tmp_path / bad), socket=daemon.path)
            assert result.returncode == ExitCode.AUDIO
            assert bad in result.stderr
        assert daemon.requests == []


def test_status_is_readable_and_its_json_is_the_daemon_s(tmp_path):
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
        "windows": {"cut": 9, "embedded": 9, "failed": 0},
        "latency_ms": {"count": 9, "median": 80.1, "p99": 120.0},
        "connections": 1,
        "monitors": 0,
        "memory_mib": 400.0,
    }
    with FakeDaemon(tmp_path / "s", lambda _: [done(**status)]) as daemon:
        text = voiceauth("status", socket=daemon.path)
        as_json = voiceauth("status", "--json", socket=daemon.path)
    assert text.returncode == 0, text.stderr
    for part in ("degraded: the microphone was lost", "1 h 01 min", "threshold 0.45 uncalibrated", "80.1 ms"):
        assert part in text.stdout
    assert json.loads(as_json.stdout) == status


def test_reload_says_what_changed(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done(changed=["audio.device"])]) as daemon:
        assert voiceauth("reload", socket=daemon.path).stdout == "changed: audio.device\n"
