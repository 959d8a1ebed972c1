"""How verify and identify treat a daemon's answers, including answers that no honest daemon would give."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time

import pytest
from fake_daemon import HANG_UP, FakeDaemon, done, encode, going, refusal, voiceauth_here
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voiceauthd.errors import ExitCode


def decided(request, **changes):
    """An honest accept for `request`, with `changes`."""
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
        "calibrated": False,
        "policy": asked.get("policy", "unlock"),
        "expires": 10.0,
        **changes,
    }


def listening(request, state="listening"):
    return going(state=state, name=request["parameters"].get("name"), net_speech=0.0, net_speech_needed=2.0)


def verify(tmp_path, answer, *words):
    with FakeDaemon(tmp_path / "socket", answer) as daemon:
        return voiceauth_here("verify", "alice", *words, socket=daemon.path)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("accept", ExitCode.OK), ("reject", ExitCode.REJECT), ("inconclusive", ExitCode.INCONCLUSIVE)],
)
def test_the_decision_is_the_exit_code(tmp_path, outcome, code):
    result = verify(tmp_path, lambda request: [listening(request), done(**decided(request, outcome=outcome))])
    assert result.returncode == code, result.stderr
    assert result.stdout.startswith({"accept": "accepted", "reject": "rejected"}.get(outcome, outcome))
    assert "0.0 of 2.0 s of speech" in result.stderr


def test_a_rejection_shows_reason_and_advice(tmp_path):
    def answer(request):
        yield done(**decided(request, outcome="reject", reason="no_match", advice="Speak as at enrolment."))

    result = verify(tmp_path, answer)
    assert "no_match" in result.stdout
    assert "Speak as at enrolment." in result.stdout


def test_json_is_exactly_one_object(tmp_path):
    result = verify(tmp_path, lambda request: [listening(request), done(**decided(request))], "--json")
    answer = json.loads(result.stdout)
    assert (result.returncode, answer["accepted"], answer["outcome"]) == (0, True, "accept")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_the_arguments_reach_the_daemon_and_come_back(tmp_path):
    with FakeDaemon(tmp_path / "socket", lambda request: [done(**decided(request))]) as daemon:
        result = voiceauth_here(
            "verify", "alice", "--timeout", "4", "--nonce", "n1", "--policy", "monitor", "--json", socket=daemon.path
        )
        (request,) = daemon.requests
    assert request["parameters"] == {"name": "alice", "timeout": 4.0, "nonce": "n1", "policy": "monitor"}
    answer = json.loads(result.stdout)
    assert (answer["accepted"], answer["nonce"], answer["policy"]) == (True, "n1", "monitor")


def test_an_unknown_policy_is_refused_before_the_daemon_is_asked(tmp_path):
    with FakeDaemon(tmp_path / "socket", lambda request: [done(**decided(request))]) as daemon:
        result = voiceauth_here("verify", "alice", "--policy", "strict", socket=daemon.path)
        assert daemon.requests == []
    assert result.returncode == ExitCode.USAGE


def test_command_interface_and_scoring_name_the_same_policies():
    from voiceauthd.cli.verify import POLICIES
    from voiceauthd.protocol.interface import load
    from voiceauthd.scoring.policy import NAMES

    declared = load().methods["Verify"].parameters.fields["policy"].element
    assert POLICIES == NAMES == declared.values


def test_a_score_is_labelled_as_calibrated_ratio_or_uncalibrated_similarity(tmp_path):
    def calibrated(request):
        yield done(**decided(request, calibrated=True, score=7.34, threshold=6.86))

    assert "LLR 7.3, threshold 6.9, margin +0.34" in verify(tmp_path, calibrated).stdout
    (tmp_path / "socket").unlink()
    similar = verify(tmp_path, lambda request: [done(**decided(request))]).stdout
    assert "similarity 0.71, uncalibrated, threshold 0.45, margin +0.34" in similar
    assert "LLR" not in similar


def test_unusable_audio_is_reported_while_listening(tmp_path):
    def answer(request):
        yield listening(request)
        bad = {"state": "progress", "reason": "noisy", "advice": "Close the window."}
        yield going(name="alice", net_speech=0.0, net_speech_needed=2.0, **bad)
        yield done(**decided(request, outcome="inconclusive", reason="noisy", score=None))

    result = verify(tmp_path, answer)
    assert result.returncode == ExitCode.INCONCLUSIVE
    assert "(noisy: Close the window.)" in result.stderr


def torn(request):
    yield encode(done(**decided(request)))[:-20]
    yield HANG_UP


def without_its_end(request):
    yield encode(done(**decided(request)))[:-1]
    yield HANG_UP


LIES = {
    "a torn answer": torn,
    "an answer without its delimiter": without_its_end,
    "a closed connection": lambda request: [listening(request), HANG_UP],
    "only progress that says accept": lambda request: [going(**decided(request)), HANG_UP],
    "another nonce": lambda request: [done(**decided(request, nonce="other"))],
    "no nonce": lambda request: [done(**{k: v for k, v in decided(request).items() if k != "nonce"})],
    "another name": lambda request: [done(**decided(request, name="bob"))],
    "not decided": lambda request: [done(**decided(request, state="progress"))],
    "an outcome that is true": lambda request: [done(**decided(request, outcome=True))],
    "already expired": lambda request: [done(**decided(request, expires=0))],
    "expires NaN": lambda request: [encode(done(**decided(request, expires=float("nan"))))],
    "an error that says accept": lambda request: [{"error": "org.voiceauthd.New", "parameters": decided(request)}],
    "no object": lambda request: [["accept"]],
    "not text": lambda request: [b"\xff\xfe accept \0"],
    "nothing but delimiters": lambda request: [b"\0\0\0", HANG_UP],
    "two objects in one": lambda request: [b"{}" + encode(done(**decided(request)))],
    "deep nesting": lambda request: [b"[" * 100_000 + b"\0"],
    "without an end": lambda request: [b"x" * 2_000_000],
}


@pytest.mark.parametrize("lie", LIES)
def test_only_a_complete_answer_to_this_very_call_can_accept(tmp_path, lie):
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
def test_a_decision_with_any_wrong_value_never_ends_with_0(tmp_path_factory, capsys, changes):
    from voiceauthd.cli.main import main

    harmless = {"expires": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0}
    if all(harmless.get(key, lambda _: False)(value) for key, value in changes.items()):
        return
    path = tmp_path_factory.mktemp("lie") / "s"
    with FakeDaemon(path, lambda request: [done(**decided(request, **changes))]):
        assert main(["verify", "alice", "--socket", str(path)]) != 0


def test_an_acceptance_that_expires_while_it_is_printed_is_inconclusive(tmp_path, monkeypatch, capsys):
    from voiceauthd.cli import verify as command
    from voiceauthd.cli.main import main

    original = command.decision_object
    monkeypatch.setattr(command, "decision_object", lambda verified: (time.sleep(0.3), original(verified))[1])
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
        (refusal("PolicyNotDemonstrated", policy="auth", detail="too few trials"), ExitCode.USAGE),
        ({"error": "org.varlink.service.PermissionDenied", "parameters": {}}, ExitCode.DENIED),
        (refusal("Internal", detail="a defect"), ExitCode.INTERNAL),
        (refusal("SomethingNew"), ExitCode.INTERNAL),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(tmp_path, answer, code):
    result = verify(tmp_path, lambda request: [answer], "--json")
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("voiceauth: ")
    assert set(json.loads(result.stdout)["error"]) == {"reason", "message"}


def test_without_a_daemon_every_client_command_says_how_to_start_it():
    for words in (["verify", "a"], ["identify"], ["monitor"], ["status"], ["reload"], ["profiles", "list"]):
        result = voiceauth_here(*words)
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
def test_identify_gives_a_name_or_says_why_not(tmp_path, decision, identity, code, shown):
    reply = {"state": "decided", "decision": decision, "identity": identity, "reason": "r", "score": 0.6}
    with FakeDaemon(tmp_path / "s", lambda request: [listening(request), done(**reply)]) as daemon:
        result = voiceauth_here("identify", socket=daemon.path)
    assert result.returncode == code
    assert result.stdout.startswith(shown)


def test_a_terminal_gets_one_progress_line_and_colour_unless_no_color_is_set(tmp_path):
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
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # on Linux, reading a terminal whose other side is closed ends with EIO
        pass
    os.close(ours)
    return shown.decode()
