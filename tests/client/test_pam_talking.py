"""What `voiceauth-pam` says, to the person and to the log, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import syslog
import time

import pytest
from pam_parts import ASKED, DEADLINE, PROGRAM, Daemon, accept, message, owner_arguments, progress, run

from voiceauthd.client import pam
from voiceauthd.client.pam_messages import not_recognised

pytestmark = pytest.mark.usefixtures("local")


def spoken(*, reason: str = "match", outcome: str = "accept"):
    return lambda asked: [
        progress(asked),
        progress(asked, "speech"),
        progress(asked, "progress", net_speech=1.2),
        progress(asked, "speech"),
        progress(asked, "progress", reason="noisy"),
        accept(asked, outcome=outcome, reason=reason),
    ]


def error(name: str, /, **parameters: object):
    return {"error": f"org.voiceauthd.{name}"} | parameters


class TestToThePerson:
    def test_it_says_when_to_speak_that_it_heard_and_how_it_ended(self, fixed):
        with Daemon(fixed / "socket", spoken()) as daemon:
            assert run(daemon.path).lines == ["Speak now…", "Heard you", "Recognised"]

    @pytest.mark.parametrize(
        ("reason", "says"),
        [
            ("no_match", "Not recognised: the voice does not match"),
            ("too_little_speech", "Not recognised: too little speech"),
            ("no_speech", "Not recognised: nobody spoke"),
            ("a_reason_of_tomorrow", "Not recognised"),
            ("\x1b[31m\nPassword:", "Not recognised"),
        ],
    )
    def test_it_says_why_not_in_words_of_its_own(self, fixed, reason, says):
        with Daemon(fixed / "socket", spoken(outcome="reject", reason=reason)) as daemon:
            ended = run(daemon.path)
        assert ended.lines == ["Speak now…", "Heard you", says]

    def test_it_never_says_a_score(self, fixed):
        with Daemon(fixed / "socket", spoken(outcome="reject", reason="no_match")) as daemon:
            said = "".join(run(daemon.path).lines)
        assert not any(character.isdigit() for character in said)

    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            (error("Locked", name="games", seconds=200.0), "Voice locked for 4 min; use your password"),
            (error("Locked", name="games", seconds=59.2), "Voice locked for 60 s; use your password"),
            (error("Locked", name="games", seconds="soon"), "Voice locked; use your password"),
            (error("Locked", name="games", seconds=True), "Voice locked; use your password"),
            (error("Locked", name="games", seconds=-3), "Voice locked; use your password"),
            (error("Locked"), "Voice locked; use your password"),
            (error("TooOften", limit=20, seconds=3.0), "Voice tried too often; use your password"),
            (error("Busy", holder="uid 7"), "The microphone is in use; use your password"),
            (error("NoSource", detail="gone"), "No microphone; use your password"),
            (
                error("ProfileUnusable", name="games", detail=""),
                "Your voice's profile cannot be used; use your password",
            ),
        ],
    )
    def test_it_says_what_keeps_a_voice_that_is_enrolled_from_counting(self, fixed, answer, says):
        with Daemon(fixed / "socket", lambda asked: [message(**answer)]) as daemon:
            ended = run(daemon.path)
        assert (ended.code, ended.lines) == (1, [says])
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
    def test_it_is_silent_for_those_who_have_no_voice_here(self, fixed, answer):
        with Daemon(fixed / "socket", lambda asked: [message(**answer)]) as daemon:
            ended = run(daemon.path)
        assert (ended.code, ended.lines, ended.errors) == (1, [], "")
        assert ended.seconds < 3.0

    def test_who_was_asked_to_speak_is_told_how_it_ended_whatever_happens(self, fixed):
        for end, says in (
            (lambda asked: [progress(asked)], "Not recognised: no answer in time"),
            (lambda asked: [progress(asked), message(error="org.voiceauthd.Internal")], "Not recognised"),
            (lambda asked: [progress(asked), b"junk\0"], "Not recognised"),
        ):
            with Daemon(fixed / "socket", end) as daemon:
                assert run(daemon.path, "--timeout", "2").lines == ["Speak now…", says]

    def test_each_line_is_there_at_once(self, fixed):
        """pam_exec.so shows a line when it has it: "Speak now" is of no use afterwards."""
        answers = lambda asked: [progress(asked), DEADLINE, accept(asked)]  # noqa: E731
        with Daemon(fixed / "socket", answers) as daemon:
            process = subprocess.Popen(
                [PROGRAM, "--socket", str(daemon.path), *owner_arguments()],
                env=ASKED,
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

    def test_every_decision_of_the_daemon_has_its_words(self):
        from voiceauthd.scoring.advice import ADVICE

        elsewhere = {"match", "not_demonstrated", "nobody_enrolled", "not_enrolled"}
        defects = {"unusable_score", "embedding_failed"}
        without = {reason for reason in ADVICE if not_recognised(reason) == "Not recognised"}
        assert without <= elsewhere | defects


class TestTheTime:
    def test_the_daemon_is_to_decide_before_the_deadline(self, fixed):
        for arguments, longest in (([], 5.0), (["--timeout", "10"], 9.0), (["--timeout", "2"], 1.5)):
            with Daemon(fixed / "socket", lambda asked: [accept(asked)]) as daemon:
                run(daemon.path, *arguments)
            assert max(0.0, longest - 3.0) < daemon.asked[0]["parameters"]["timeout"] <= longest

    def test_the_time_that_the_interpreter_took_to_start_counts(self):
        """This process is older than the call."""
        assert time.monotonic() - 3600 * 24 * 365 < pam._began() < time.monotonic() - 0.05

    def test_a_daemon_that_is_not_ready_does_not_hold_anybody_beyond_the_deadline(self, fixed):
        with Daemon(fixed / "socket", lambda asked: []) as daemon:
            ended = run(daemon.path, "--timeout", "1.5")
        assert (ended.code, ended.lines) == (1, [])
        assert ended.seconds < 3.0


class TestToTheLog:
    @pytest.fixture
    def log(self, monkeypatch):
        """The lines and their gravity. No timer either: it would end the tests."""
        lines: list[tuple[int, str]] = []
        monkeypatch.setattr(syslog, "syslog", lambda priority, line: lines.append((priority, line)))
        monkeypatch.setattr(pam, "_set_timer", lambda deadline: None)
        monkeypatch.setattr(pam, "_began", time.monotonic)
        return lines

    @pytest.mark.parametrize(
        ("answers", "code", "says"),
        [
            (spoken(), 42, "'games' for 'login': accepted: match"),
            (spoken(outcome="reject", reason="no_match"), 43, "'games' for 'login': not accepted: no_match"),
            (lambda asked: [message(**error("NotEnrolled", name="games"))], 43, "not accepted: not_enrolled"),
            (lambda asked: [b"junk\0"], 43, "not accepted: malformed_message"),
        ],
    )
    def test_each_end_is_one_line_with_its_reason(self, fixed, capfd, log, answers, code, says):
        with Daemon(fixed / "socket", answers, hang=False) as daemon:
            assert pam.main(["--socket", str(daemon.path), *owner_arguments()], ASKED) == code
        ((_, line),) = log
        assert says in line

    def test_what_an_administrator_should_look_into_is_an_error(self, fixed, capfd, log):
        anybodys = fixed / "tmp"
        anybodys.mkdir()
        anybodys.chmod(0o1777)
        with Daemon(anybodys / "socket", spoken()) as daemon:
            pam.main(["--socket", str(daemon.path), *owner_arguments()], ASKED)
        pam.main(["--bogus"], ASKED)
        assert [priority for priority, _ in log] == [syslog.LOG_ERR] * 2
        assert "impostor" in log[0][1]
        assert "--bogus" in log[1][1]

    def test_a_name_cannot_forge_a_line(self, capfd, log):
        pam.main([], ASKED | {"PAM_USER": "x\nroot for sudo: accepted", "PAM_SERVICE": "\x1b[2J" + "y" * 500})
        ((_, line),) = log
        assert line.isprintable()
        assert len(line) < 300
