"""The messages of `voiceauth-pam` to the person and to the log, and their timing."""

from __future__ import annotations

import os
import signal
import subprocess
import syslog
import time

import pytest
from pam_parts import DEADLINE, PAM_ENVIRONMENT, PROGRAM, Daemon, accept, message, owner_arguments, progress, run

from voiceauthd.client import pam
from voiceauthd.client.pam_messages import not_recognised

pytestmark = pytest.mark.usefixtures("local")


def whole_session(*, reason: str = "match", outcome: str = "accept"):
    return lambda request: [
        progress(request),
        progress(request, "speech"),
        progress(request, "progress", net_speech=1.2),
        progress(request, "speech"),
        progress(request, "progress", reason="noisy"),
        accept(request, outcome=outcome, reason=reason),
    ]


def error(name: str, /, **parameters: object):
    return {"error": f"org.voiceauthd.{name}"} | parameters


class TestToThePerson:
    def test_it_says_when_to_speak_that_it_heard_speech_and_the_result(self, fixed):
        with Daemon(fixed / "socket", whole_session()) as daemon:
            assert run(daemon.path).lines == ["Speak now…", "Heard you", "Recognised"]

    @pytest.mark.parametrize(
        ("reason", "message"),
        [
            ("no_match", "Not recognised: the voice does not match"),
            ("no_speech", "Not recognised: nobody spoke"),
            ("a_reason_of_tomorrow", "Not recognised"),
            ("\x1b[31m\nPassword:", "Not recognised"),
        ],
    )
    def test_it_says_why_not_in_its_own_words_and_never_a_score(self, fixed, reason, message):
        with Daemon(fixed / "socket", whole_session(outcome="reject", reason=reason)) as daemon:
            ended = run(daemon.path)
        assert ended.lines == ["Speak now…", "Heard you", message]

    @pytest.mark.parametrize(
        ("answer", "line"),
        [
            (error("Locked", name="games", seconds=200.0), "Voice locked for 4 min; use your password"),
            (error("Locked", name="games", seconds=59.2), "Voice locked for 60 s; use your password"),
            (error("Locked", name="games", seconds="soon"), "Voice locked; use your password"),
            (error("Locked", name="games", seconds=-3), "Voice locked; use your password"),
            (error("TooOften", limit=20, seconds=3.0), "Voice tried too often; use your password"),
            (error("Busy", holder="uid 7"), "The microphone is in use; use your password"),
            (error("NoSource", detail="gone"), "No microphone; use your password"),
            (
                error("ProfileUnusable", name="games", detail=""),
                "Your voice's profile cannot be used; use your password",
            ),
        ],
    )
    def test_it_says_why_an_enrolled_voice_cannot_be_used(self, fixed, answer, line):
        with Daemon(fixed / "socket", lambda request: [message(**answer)]) as daemon:
            ended = run(daemon.path)
        assert (ended.code, ended.lines) == (1, [line])
        assert ended.seconds < 3.0

    @pytest.mark.parametrize(
        "answer",
        [
            error("NotEnrolled", name="games"),
            error("NotReady", detail="the model loads"),
            error("Internal", detail="a defect"),
            {"error": "org.varlink.service.PermissionDenied"},
        ],
    )
    def test_it_is_silent_if_there_is_no_usable_voice(self, fixed, answer):
        with Daemon(fixed / "socket", lambda request: [message(**answer)]) as daemon:
            ended = run(daemon.path)
        assert (ended.code, ended.lines, ended.errors) == (1, [], "")
        assert ended.seconds < 3.0

    def test_a_person_who_was_asked_to_speak_always_gets_a_result(self, fixed):
        for end, line in (
            (lambda request: [progress(request)], "Not recognised: no answer in time"),
            (lambda request: [progress(request), message(error="org.voiceauthd.Internal")], "Not recognised"),
            (lambda request: [progress(request), b"junk\0"], "Not recognised"),
        ):
            with Daemon(fixed / "socket", end) as daemon:
                assert run(daemon.path, "--timeout", "2").lines == ["Speak now…", line]

    def test_each_line_is_written_at_once(self, fixed):
        """pam_exec.so shows a line when it receives it: a late "Speak now" would be useless."""
        answers = lambda request: [progress(request), DEADLINE, accept(request)]  # noqa: E731
        with Daemon(fixed / "socket", answers) as daemon:
            process = subprocess.Popen(
                [PROGRAM, "--socket", str(daemon.path), *owner_arguments()],
                env=PAM_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            try:
                assert process.stdout is not None
                began = time.monotonic()
                assert process.stdout.readline().decode() == "Speak now…\n"
                assert time.monotonic() - began < 4.0
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def test_every_reason_of_a_decision_has_a_message(self):
        from voiceauthd.scoring.advice import ADVICE

        elsewhere = {"match", "not_demonstrated", "nobody_enrolled", "not_enrolled"}
        defects = {"unusable_score", "embedding_failed"}
        without_message = {reason for reason in ADVICE if not_recognised(reason) == "Not recognised"}
        assert without_message <= elsewhere | defects


class TestTiming:
    def test_the_daemon_must_decide_before_the_deadline(self, fixed):
        for arguments, most in (([], 5.0), (["--timeout", "10"], 9.0), (["--timeout", "2"], 1.5)):
            with Daemon(fixed / "socket", lambda request: [accept(request)]) as daemon:
                run(daemon.path, *arguments)
            assert max(0.0, most - 3.0) < daemon.calls[0]["parameters"]["timeout"] <= most

    def test_the_start_of_the_interpreter_counts(self):
        """This process is older than the call."""
        assert time.monotonic() - 3600 * 24 * 365 < pam._start_time() < time.monotonic() - 0.05

    def test_a_daemon_that_does_not_answer_is_not_waited_for_beyond_the_deadline(self, fixed):
        with Daemon(fixed / "socket", lambda request: []) as daemon:
            ended = run(daemon.path, "--timeout", "1.5")
        assert (ended.code, ended.lines) == (1, [])
        assert ended.seconds < 3.0


class TestToTheLog:
    @pytest.fixture
    def log(self, monkeypatch):
        """The log lines and their priorities. Disables the timer, which would kill the tests."""
        lines: list[tuple[int, str]] = []
        monkeypatch.setattr(syslog, "syslog", lambda priority, line: lines.append((priority, line)))
        monkeypatch.setattr(pam, "_set_timer", lambda deadline: None)
        monkeypatch.setattr(pam, "_start_time", time.monotonic)
        return lines

    @pytest.mark.parametrize(
        ("answers", "code", "text"),
        [
            (whole_session(), 42, "'games' for 'login': accepted: match"),
            (whole_session(outcome="reject", reason="no_match"), 43, "'games' for 'login': not accepted: no_match"),
            (lambda request: [message(**error("NotEnrolled", name="games"))], 43, "not accepted: not_enrolled"),
            (lambda request: [b"junk\0"], 43, "not accepted: malformed_message"),
        ],
    )
    def test_every_result_is_logged_in_one_line_with_its_reason(self, fixed, capfd, log, answers, code, text):
        with Daemon(fixed / "socket", answers, hang=False) as daemon:
            assert pam.main(["--socket", str(daemon.path), *owner_arguments()], PAM_ENVIRONMENT) == code
        ((_, line),) = log
        assert text in line

    def test_an_impostor_and_a_usage_error_are_logged_as_errors(self, fixed, capfd, log):
        world_writable = fixed / "tmp"
        world_writable.mkdir()
        world_writable.chmod(0o1777)
        with Daemon(world_writable / "socket", whole_session()) as daemon:
            pam.main(["--socket", str(daemon.path), *owner_arguments()], PAM_ENVIRONMENT)
        pam.main(["--bogus"], PAM_ENVIRONMENT)
        assert [priority for priority, _ in log] == [syslog.LOG_ERR] * 2
        assert "impostor" in log[0][1]
        assert "--bogus" in log[1][1]

    def test_a_name_cannot_forge_a_log_line(self, capfd, log):
        pam.main([], PAM_ENVIRONMENT | {"PAM_USER": "x\nroot for sudo: accepted", "PAM_SERVICE": "\x1b[2J" + "y" * 500})
        ((_, line),) = log
        assert line.isprintable()
        assert len(line) < 300
