"""`voiceauth profiles export` and `import`, `unlock` and `rekey`, against a fake daemon."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from fake_daemon import FakeDaemon, done, refusal, voiceauth_here

from voiceauthd.errors import ExitCode
from voiceauthd.profiles.backup import BEGIN, is_backup, open_backup, seal_backup

DOCUMENT = 'voiceauthd-profile 1 00\n{"secret": 1}\n'
PASSPHRASE = "four words and more"
PROFILE = {"name": "alice", "exemplars": 5}


@pytest.fixture
def passphrase_file(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\nlater lines are ignored\n")
    return str(file)


@pytest.fixture(scope="module")
def backup() -> str:
    return seal_backup(DOCUMENT, PASSPHRASE)


def exporting(_request):
    return [done(document=DOCUMENT)]


def importing(_request):
    return [done(profile=PROFILE)]


def test_an_export_is_sealed_and_private_and_opens_with_its_passphrase(tmp_path, passphrase_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeDaemon(tmp_path / "s", exporting) as daemon:
        words = ("profiles", "export", "alice", "--passphrase-file", passphrase_file)
        result = voiceauth_here(*words, socket=daemon.path)
        again = voiceauth_here(*words, socket=daemon.path)
    assert result.returncode == 0, result.stderr
    assert again.returncode == ExitCode.USAGE
    written = tmp_path / "alice.backup"
    assert written.stat().st_mode & 0o777 == 0o600
    text = written.read_text()
    assert is_backup(text)
    assert "secret" not in text
    assert open_backup(text, PASSPHRASE) == DOCUMENT


def test_an_export_in_clear_must_be_requested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeDaemon(tmp_path / "s", exporting) as daemon:
        nobody = voiceauth_here("profiles", "export", "alice", socket=daemon.path)
        assert nobody.returncode == ExitCode.USAGE
        assert "--passphrase-file" in nobody.stderr
        assert daemon.requests == []
        plain = voiceauth_here("profiles", "export", "alice", "--plain", socket=daemon.path)
        assert plain.returncode == 0, plain.stderr
        both = voiceauth_here("profiles", "export", "alice", "--plain", "--passphrase-file", "x", socket=daemon.path)
        assert both.returncode == ExitCode.USAGE
    assert (tmp_path / "alice.profile.json").read_text() == DOCUMENT
    assert not (tmp_path / "alice.backup").exists()


def test_a_plain_export_loads_no_cryptography(tmp_path):
    code = (
        "import sys; from voiceauthd.cli.main import main; "
        "code = main(['profiles', 'export', 'alice', '-', '--plain', '--json']); "
        "print(code, sorted({'cryptography', 'numpy', 'msgspec'} & set(sys.modules)), file=sys.stderr)"
    )
    with FakeDaemon(tmp_path / "s", exporting) as daemon:
        environment = {**os.environ, "VOICEAUTHD_SOCKET": daemon.path}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
        )
    assert result.stderr.strip() == "0 []"
    assert json.loads(result.stdout) == {"name": "alice", "document": DOCUMENT}


@pytest.mark.parametrize("content", ["\n", "short\n", "x" * 5000])
def test_a_weak_passphrase_is_refused_before_the_export(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").write_text(content)
    with FakeDaemon(tmp_path / "s", exporting) as daemon:
        words = ("profiles", "export", "alice", "--passphrase-file", str(tmp_path / "p"))
        result = voiceauth_here(*words, socket=daemon.path)
        assert daemon.requests == []
    assert result.returncode == ExitCode.USAGE
    assert "passphrase" in result.stderr
    assert not (tmp_path / "alice.backup").exists()


def test_an_import_sends_the_opened_backup(tmp_path, backup, passphrase_file):
    mailed = "Hello,\r\n\r\n> " + backup.replace("\n", "  \r\n") + "\r\nYours\r\n"
    (tmp_path / "b").write_text(mailed.replace("> ", "", 1))
    with FakeDaemon(tmp_path / "s", importing) as daemon:
        words = ("--name", "bob", "--passphrase-file", passphrase_file)
        result = voiceauth_here("profiles", "import", str(tmp_path / "b"), *words, socket=daemon.path)
        piped = voiceauth_here("profiles", "import", "-", *words, socket=daemon.path, stdin=backup.encode())
        assert (result.returncode, piped.returncode) == (0, 0), result.stderr + piped.stderr
        assert [request["parameters"] for request in daemon.requests] == [{"document": DOCUMENT, "name": "bob"}] * 2


def test_a_wrong_passphrase_and_a_torn_backup_are_different_errors(tmp_path, backup, passphrase_file):
    (tmp_path / "wrong").write_text("another passphrase")
    (tmp_path / "whole").write_text(backup)
    (tmp_path / "torn").write_text(backup[: len(backup) // 2])
    (tmp_path / "changed").write_text(backup[:100] + ("A" if backup[100] != "A" else "B") + backup[101:])
    cases = [("whole", str(tmp_path / "wrong"), "wrong_passphrase"), ("torn", passphrase_file, "torn")]
    cases += [("changed", passphrase_file, "torn"), ("torn", "/nonexistent", "torn")]
    with FakeDaemon(tmp_path / "s", importing) as daemon:
        for file, passphrase, reason in cases:
            words = ("profiles", "import", str(tmp_path / file), "--passphrase-file", passphrase, "--json")
            result = voiceauth_here(*words, socket=daemon.path)
            assert result.returncode == ExitCode.STORAGE
            assert result.stderr.count("\n") == 1
            assert json.loads(result.stdout)["error"]["reason"] == reason, file
        assert daemon.requests == []


def test_importing_a_file_of_the_store_names_the_command_for_backups(tmp_path):
    (tmp_path / "alice.profile").write_bytes(b"voiceauthd-profile 2 00\n\xff\x00")
    result = voiceauth_here("profiles", "import", str(tmp_path / "alice.profile"))
    assert result.returncode == ExitCode.STORAGE
    assert "voiceauth profiles export" in result.stderr


def _typed(words: list[str], answers: list[str], cwd: Path) -> tuple[int, str]:
    """Run the command on a terminal where a person answers each question. Return exit code and screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execv(sys.executable, [sys.executable, "-m", "voiceauthd.cli.main", *words])
    shown = b""
    for answer in answers:
        before = len(shown)
        while b": " not in shown[before:]:
            shown += os.read(terminal, 4096)
        os.write(terminal, f"{answer}\n".encode())
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # on Linux, reading a terminal whose other side is closed ends with EIO
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_on_a_terminal_a_new_passphrase_is_asked_for_twice_and_never_shown(tmp_path):
    with FakeDaemon(tmp_path / "s", exporting) as daemon:
        words = ["profiles", "export", "alice", "--socket", daemon.path]
        code, shown = _typed(words, [PASSPHRASE, "something else"], tmp_path)
        assert (code, daemon.requests) == (ExitCode.USAGE, [])
        assert "differ" in shown
        code, shown = _typed(words, [PASSPHRASE, PASSPHRASE], tmp_path)
    assert code == 0, shown
    assert PASSPHRASE not in shown
    assert open_backup((tmp_path / "alice.backup").read_text(), PASSPHRASE) == DOCUMENT


def test_on_a_terminal_an_import_asks_once(tmp_path, backup):
    (tmp_path / "b").write_text(backup)
    with FakeDaemon(tmp_path / "s", importing) as daemon:
        code, shown = _typed(["profiles", "import", "b", "--socket", daemon.path], [PASSPHRASE], tmp_path)
        assert code == 0, shown
        assert daemon.requests[0]["parameters"] == {"document": DOCUMENT}


def test_the_marks_that_are_written_twice_are_the_same():
    from voiceauthd.profiles.document import MAGIC
    from voiceauthd.profiles.sealed import VERSION
    from voiceauthd.terminal.profile_backup import BACKUP_MARK
    from voiceauthd.terminal.secret_file import SEALED_PROFILE

    assert BACKUP_MARK == BEGIN
    assert SEALED_PROFILE == b"%s %d " % (MAGIC, VERSION)


def test_rekeying_prints_the_key_and_the_number_of_profiles(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done(key="0123456789abcdef", profiles=3)]) as daemon:
        result = voiceauth_here("profiles", "rekey", socket=daemon.path)
        as_json = voiceauth_here("profiles", "rekey", "--json", socket=daemon.path)
        assert [request["method"] for request in daemon.requests] == ["org.voiceauthd.Rekey"] * 2
    assert (result.returncode, as_json.returncode) == (0, 0)
    assert "3 profiles with the key 0123456789abcdef" in result.stdout
    assert json.loads(as_json.stdout) == {"key": "0123456789abcdef", "profiles": 3}


def test_unlocking_sends_the_name(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done()]) as daemon:
        assert voiceauth_here("profiles", "unlock", "alice", socket=daemon.path).returncode == 0
        (request,) = daemon.requests
    assert (request["method"], request["parameters"]) == ("org.voiceauthd.Unlock", {"name": "alice"})
    denied = {"error": "org.varlink.service.PermissionDenied", "parameters": {}}
    for answer, code in ((refusal("NotEnrolled", name="eve"), ExitCode.NOT_ENROLLED), (denied, ExitCode.DENIED)):
        with FakeDaemon(tmp_path / f"s{int(code)}", lambda _, answer=answer: [answer]) as daemon:
            assert voiceauth_here("profiles", "unlock", "eve", socket=daemon.path).returncode == code


def test_a_locked_profile_shows_for_how_long_and_how_to_unlock_it(tmp_path):
    profile = {
        "name": "alice",
        "usable": True,
        "exemplars": 5,
        "net_speech": 22.5,
        "conditions": ["default"],
        "locked_for": 241.3,
    }
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=profile)]) as daemon:
        locked = voiceauth_here("profiles", "show", "alice", socket=daemon.path).stdout
        profile["locked_for"] = None
        free = voiceauth_here("profiles", "show", "alice", socket=daemon.path).stdout
    assert "locked     for 241 s" in locked
    assert "voiceauth profiles unlock alice" in locked
    assert "locked" not in free
