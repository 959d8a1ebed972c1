"""The command asks for the owner's password if the daemon wants it, and says what else can be done."""

from __future__ import annotations

import pytest
from fake_daemon import FakeDaemon, done, going

from voiceauthd.cli.main import main
from voiceauthd.errors import DeniedError, ExitCode, NotRunningError

PASSWORD, PROOF = "correct horse", "made by the daemon"
NEEDED = {"error": "org.voiceauthd.ProofNeeded", "parameters": {"name": "ann"}}
PROFILE = {
    "name": "ann", "usable": True, "exemplars": 5, "net_speech": 21.0, "conditions": ["default"],
    "rating": {"grade": "good", "advice": []},
}  # fmt: skip
PROGRESS = {"exemplars": 5, "exemplars_needed": 5, "net_speech": 21.0, "net_speech_needed": 20.0}

ENROLL = ("enroll", "ann")
DELETE = ("profiles", "delete", "ann", "--yes")
EXPORT = ("profiles", "export", "ann", "-", "--plain")
METHODS = {"enroll": "Enroll", "delete": "DeleteProfile", "export": "ExportProfile"}


def answer(request):
    method = request["method"].rpartition(".")[2]
    proof = request["parameters"].get("proof")
    if method in METHODS.values() and proof != PROOF:
        return [NEEDED]
    if method == "Enroll":
        listening = going(state="listening", **PROGRESS, claim="claim")
        return [listening, done(state="done", profile=PROFILE, **PROGRESS)]
    return [done(document="{}")] if method == "ExportProfile" else [done()]


@pytest.fixture
def daemon(tmp_path):
    (tmp_path / "proof").touch()  # the socket of the service that checks passwords
    with FakeDaemon(tmp_path / "socket", answer) as running:
        yield running


@pytest.fixture
def typed(monkeypatch):
    """A terminal on which `words` are typed as passwords. `asked`: the questions. `paths`: the sockets used."""
    asked = []
    words = [PASSWORD]

    def getpass(question, _stream):
        asked.append(question)
        if not words:
            raise EOFError
        return words.pop(0)

    monkeypatch.setattr("voiceauthd.terminal.typed_secret.getpass.getpass", getpass)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("voiceauthd.terminal.owner_proof.user_name", lambda _: "ann")

    def prove(password, path):
        prove.paths.append(path)
        if password != PASSWORD:
            raise DeniedError("wrong password", "wrong_password")
        return PROOF

    prove.paths = []
    monkeypatch.setattr("voiceauthd.client.owner_proof.prove", prove)
    return type("Typed", (), {"words": words, "asked": asked, "paths": prove.paths})


def sent(daemon, method):
    return [one["parameters"] for one in daemon.requests if one["method"].endswith(f".{method}")]


def run(daemon, words):
    return main([*words, "--socket", daemon.path])


@pytest.mark.parametrize("words", [ENROLL, DELETE, EXPORT], ids=METHODS)
def test_the_password_is_asked_for_once_and_the_call_repeated_with_the_proof(daemon, typed, capsys, words):
    assert run(daemon, words) == ExitCode.OK
    assert typed.asked == ["Password of ann: "]
    assert typed.paths == [daemon.path.replace("socket", "proof")]
    method = next(name for word, name in METHODS.items() if word in words)
    assert [call.get("proof") for call in sent(daemon, method)] == [None, PROOF]
    out, err = capsys.readouterr()
    assert PASSWORD not in out + err
    assert PROOF not in out + err


def test_recordings_are_sent_only_after_the_password(daemon, typed, tmp_path):
    import numpy as np
    import soundfile

    take = tmp_path / "take.wav"
    soundfile.write(take, np.zeros(16_000, np.float32), 16_000)
    assert run(daemon, (*ENROLL, str(take))) == ExitCode.OK
    methods = [one["method"].rpartition(".")[2] for one in daemon.requests]
    assert methods[:2] == ["Enroll", "Enroll"]
    assert set(methods[2:]) <= {"SendAudio"}


def test_three_wrong_passwords_end_the_command(daemon, typed, capsys):
    typed.words[:] = ["a", "b", "c", PASSWORD]
    assert run(daemon, DELETE) == ExitCode.DENIED
    assert len(typed.asked) == 3
    assert "wrong password, 3 times" in capsys.readouterr().err


def test_a_wrong_password_may_be_corrected(daemon, typed, capsys):
    typed.words.insert(0, "wrong")
    assert run(daemon, DELETE) == ExitCode.OK
    assert "wrong password, try again" in capsys.readouterr().err


@pytest.mark.parametrize("words", [ENROLL, DELETE, EXPORT], ids=METHODS)
def test_without_a_terminal_it_says_what_to_do_instead(daemon, typed, capsys, monkeypatch, words):
    monkeypatch.setattr("sys.stdin", type("Pipe", (), {"isatty": lambda _: False})())
    assert run(daemon, words) == ExitCode.DENIED
    (line,) = capsys.readouterr().err.splitlines()
    assert "in a terminal" in line
    assert "`sudo voiceauth " in line
    assert typed.asked == []


def test_an_end_of_input_is_not_a_password(daemon, typed):
    typed.words.clear()
    assert run(daemon, DELETE) == ExitCode.DENIED
    assert sent(daemon, "DeleteProfile") == [{"name": "ann"}]


def test_without_the_proof_service_it_names_the_command_for_an_administrator(daemon, typed, capsys, tmp_path):
    (tmp_path / "proof").unlink()
    assert run(daemon, (*ENROLL, "--replace")) == ExitCode.DENIED
    (line,) = capsys.readouterr().err.splitlines()
    assert "`sudo voiceauth enroll ann --replace`" in line
    assert typed.asked == []


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (DeniedError("uid 4711 has no account of its own here", "proof_refused"), ExitCode.DENIED),
        (DeniedError("somebody else listens there", "impostor"), ExitCode.DENIED),
        (NotRunningError("PAM could not be asked", "proof_unavailable"), ExitCode.NOT_RUNNING),
    ],
)
def test_a_problem_that_no_password_fixes_ends_the_command(daemon, typed, capsys, monkeypatch, problem, code):
    def prove(_password, _path):
        raise problem

    monkeypatch.setattr("voiceauthd.client.owner_proof.prove", prove)
    assert run(daemon, DELETE) == code
    assert str(problem) in capsys.readouterr().err
    assert len(typed.asked) == 1


def test_any_other_refusal_asks_for_no_password(tmp_path, typed):
    denied = {"error": "org.varlink.service.PermissionDenied", "parameters": {}}
    with FakeDaemon(tmp_path / "socket", lambda _: [denied]) as daemon:
        assert run(daemon, DELETE) == ExitCode.DENIED
    assert typed.asked == []


def test_a_refused_proof_is_not_tried_again(tmp_path, typed):
    (tmp_path / "proof").touch()
    with FakeDaemon(tmp_path / "socket", lambda _: [NEEDED]) as daemon:
        assert run(daemon, DELETE) == ExitCode.DENIED
        assert len(sent(daemon, "DeleteProfile")) == 2
    assert len(typed.asked) == 1
