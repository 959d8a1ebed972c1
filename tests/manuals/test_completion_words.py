"""What is offered when Tab is pressed: everything that `--help` names, and the names of enrolled voices."""

from __future__ import annotations

import json
import time

import pytest
from fake_daemon import FakeDaemon, done, refusal, voiceauth_here
from manual_parts import all_parsers, long_options

from voiceauthd.cli.bench import SECTIONS
from voiceauthd.cli.main import parser_of
from voiceauthd.cli.manual import COMMANDS, PEOPLE
from voiceauthd.errors import ExitCode
from voiceauthd.manuals.arguments import positionals_of
from voiceauthd.terminal.offers import Kind


def offered(*line: str, socket: str | None = None) -> tuple[str, list[str]]:
    """The kind of what may stand in the place of the last word, and the words."""
    stdin = "".join(f"{word}\0" for word in line).encode()
    result = voiceauth_here("completion", "words", "--json", stdin=stdin, socket=socket)
    assert (result.returncode, result.stderr) == (0, "")
    reply = json.loads(result.stdout)
    return reply["kind"], reply["words"]


def test_every_command_is_offered() -> None:
    assert offered("voiceauth", "") == ("words", [*(command.name for command in COMMANDS), "help"])
    assert offered("voiceauth", "help", "")[1] == [command.name for command in COMMANDS]
    assert offered("voiceauth", "--") == ("words", ["--help", "--version"])


def test_every_action_of_a_command_is_offered() -> None:
    groups = {command.name: parser_of(command).actions for command in COMMANDS}
    for name, actions in groups.items():
        if actions:
            assert offered("voiceauth", name, "") == ("words", list(actions))


def test_every_option_is_offered() -> None:
    for line, parser in all_parsers():
        assert offered(*line, "--") == ("words", long_options(parser)), line


def test_each_line_says_what_the_word_means() -> None:
    result = voiceauth_here("completion", "words", stdin=b"voiceauth\0verify\0--\0")
    assert result.stdout.splitlines()[0] == "words"
    assert "--timeout\tgive up after S seconds (default: the daemon's)" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("verify", "--policy", ""), ("words", ["monitor", "unlock", "auth"])),
        (("verify", "alice", "--policy=un"), ("words", ["--policy=monitor", "--policy=unlock", "--policy=auth"])),
        (("pam", "install", "sudo", "--policy", ""), ("words", ["unlock", "auth"])),
        (("bench", "--only", "delay", "mem"), ("words", list(SECTIONS))),
        (("verify", "--socket", ""), ("files", [])),
        (("enroll", "alice", "one.wav", ""), ("files", [])),
        (("evaluate", ""), ("folders", [])),
        (("demo", "--keep", ""), ("folders", [])),
        (("profiles", "import", "a.backup", "--passphrase-file", ""), ("files", [])),
        (("run", "--source=", ""), ("files", [])),
        (("verify", "--timeout", ""), ("nothing", [])),
        (("verify", "--", "alice", "--"), ("files", [])),
        (("nonsense", ""), ("nothing", [])),
        (("profiles", "nonsense", ""), ("nothing", [])),
    ],
)
def test_a_value_is_offered_by_its_kind(line, expected) -> None:
    assert offered("voiceauth", *line) == expected


def test_options_that_exclude_each_other_are_not_offered_together() -> None:
    words = offered("voiceauth", "enroll", "alice", "--add", "--")[1]
    assert "--fresh" in words
    assert not {"--add", "--replace"} & set(words)
    assert "--set" in offered("voiceauth", "run", "--set", "audio.device=2", "--")[1]  # may be repeated


def test_when_no_argument_is_left_options_are_offered() -> None:
    assert "--yes" in offered("voiceauth", "profiles", "delete", "alice", "")[1]


@pytest.mark.parametrize(
    "line",
    [("verify", ""), ("enroll", "--add", ""), ("profiles", "delete", "--yes", "al"), ("audit", "--name", "")],
    ids=" ".join,
)
def test_enrolled_names_are_offered(tmp_path, line) -> None:
    profiles = [{"name": "alice"}, {"name": "Anna Maria"}]
    with FakeDaemon(tmp_path / "s", lambda _: [done(profiles=profiles)]) as daemon:
        assert offered("voiceauth", *line, socket=daemon.path) == ("words", ["alice", "Anna Maria"])
    assert [request["method"] for request in daemon.requests] == ["org.voiceauthd.ListProfiles"]


def test_a_name_after_an_equals_sign_keeps_what_is_before_it(tmp_path) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: [done(profiles=[{"name": "alice"}])]) as daemon:
        assert offered("voiceauth", "audit", "--name=a", socket=daemon.path)[1] == ["--name=alice"]


@pytest.mark.parametrize("answer", [[refusal("PermissionDenied")], [b"\0"], [done(profiles=[{}])]], ids=str)
def test_a_user_who_may_not_list_the_voices_is_offered_none(tmp_path, answer) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: answer) as daemon:
        assert offered("voiceauth", "verify", "", socket=daemon.path) == ("words", [])
    assert offered("voiceauth", "verify", "") == ("words", [])  # no daemon


def test_a_daemon_that_does_not_answer_is_waited_for_a_moment_only(tmp_path) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: iter(lambda: time.sleep(5), 1)) as daemon:
        began = time.monotonic()
        assert offered("voiceauth", "verify", "", socket=daemon.path) == ("words", [])
    assert time.monotonic() - began < 3.0


def test_a_name_cannot_control_the_terminal(tmp_path) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: [done(profiles=[{"name": "a\x1b[2J\nb\tc"}])]) as daemon:
        result = voiceauth_here("completion", "words", stdin=b"voiceauth\0verify\0\0", socket=daemon.path)
    assert result.stdout == "words\na\ufffd[2J\ufffdb\ufffdc\t\n"


def test_every_argument_that_names_a_voice_is_marked() -> None:
    about_voices = {command.name for command in COMMANDS if command.group == PEOPLE} | {"verify"}
    for line, parser in all_parsers():
        if line[1:2] and line[1] in about_voices:
            for argument in positionals_of(parser):
                assert (argument.placeholder in {"NAME", "OLD"}) == (argument.offer.kind is Kind.PROFILES), line


@pytest.mark.parametrize("stdin", [b"", b"voiceauth", b"voiceauth\0", b"voiceauth\0ver"])
def test_words_without_a_command_line_are_a_mistake(stdin) -> None:
    result = voiceauth_here("completion", "words", stdin=stdin)
    assert result.returncode == ExitCode.USAGE
    assert "NUL" in result.stderr
    assert result.stderr.count("\n") == 1
