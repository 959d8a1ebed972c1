"""`voiceauth backup` and `voiceauth restore` as commands: files, passphrases, exit codes and what they print."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fake_daemon import voiceauth_here
from machine_parts import PASSPHRASE, everything, machine, scoring_files, used_machine, voices

from voiceauthd.backup.places import Places
from voiceauthd.errors import ExitCode


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(f"{PASSPHRASE}\n")
    return str(file)


def environment_of(places: Places) -> dict[str, str]:
    """Return the environment of a user of that machine, whose daemon has its state in the home folder."""
    assert places.config is not None
    folder = str(places.config.parent)
    return {
        "HOME": folder,
        "XDG_CONFIG_HOME": folder,
        "STATE_DIRECTORY": str(places.state),
        "VOICEAUTHD_CONFIG": str(places.config),
    }


def voiceauth(places: Places, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    return voiceauth_here(*words, environment=environment_of(places), stdin=stdin)


def test_a_backup_and_a_restore_say_what_they_have_done(here: Places, tmp_path: Path, secret: str) -> None:
    there, file = machine(tmp_path / "b"), tmp_path / "voices.vab"
    made = voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    assert made.returncode == ExitCode.OK, made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for part in ("Anna (tiny), of nobody", "ben (tiny)", "cohort and calibration of tiny-", "the configuration file"):
        assert part in made.stdout
    done = voiceauth(there, "restore", str(file), "--passphrase-file", secret)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "profile     Anna, of nobody" in done.stdout
    assert "voiceauth model fetch tiny" in done.stdout
    assert "voiceauth service start" in done.stdout
    assert voices(there) == voices(here)
    assert scoring_files(there) == scoring_files(here)
    for text in (made, done):
        lines = [line for line in text.stdout.splitlines() if str(tmp_path) not in line]
        assert max(map(len, lines)) <= 80


def test_with_json_both_print_one_object(here: Places, tmp_path: Path, secret: str) -> None:
    there, file = machine(tmp_path / "b"), tmp_path / "voices.vab"
    made = json.loads(voiceauth(here, "backup", str(file), "--passphrase-file", secret, "--json").stdout)
    assert [each["name"] for each in made["profiles"]] == ["Anna", "ben"]
    assert (len(made["keys"]), made["config"], made["unreadable"]) == (1, True, [])
    assert [name.rpartition("/")[2] for name in made["scoring"]] == ["cohort.safetensors", "calibration.json"]
    done = json.loads(voiceauth(there, "restore", str(file), "--passphrase-file", secret, "--json").stdout)
    assert done["state"] == str(there.state)
    assert done["key"] == made["keys"][0]
    assert done["config"] == str(there.config)
    assert [each["name"] for each in done["profiles"]] == ["Anna", "ben"]


def test_a_backup_passes_through_a_pipe(here: Places, tmp_path: Path, secret: str) -> None:
    there = machine(tmp_path / "b")
    command = [sys.executable, "-m", "voiceauthd.cli.main", "backup", "-", "--passphrase-file", secret]
    piped = subprocess.run(command, capture_output=True, check=True, env={**os.environ, **environment_of(here)})
    assert piped.stderr == b""
    done = voiceauth(there, "restore", "-", "--passphrase-file", secret, stdin=piped.stdout)
    assert done.returncode == ExitCode.OK, done.stderr
    assert voices(there) == voices(here)
    assert voiceauth(here, "backup", "-", "--passphrase-file", secret, "--json").returncode == ExitCode.USAGE


def test_a_file_that_exists_is_not_replaced_unasked(here: Places, tmp_path: Path, secret: str) -> None:
    file = tmp_path / "voices.vab"
    file.write_text("mine")
    refused = voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    assert refused.returncode == ExitCode.USAGE
    assert "--force" in refused.stderr
    assert file.read_text() == "mine"
    assert voiceauth(here, "backup", str(file), "--passphrase-file", secret, "--force").returncode == ExitCode.OK
    assert file.read_bytes().startswith(b"voiceauthd-machine-backup 1 ")


def test_a_wrong_passphrase_or_a_damaged_file_changes_nothing(here: Places, tmp_path: Path, secret: str) -> None:
    there, file, wrong = machine(tmp_path / "b"), tmp_path / "voices.vab", tmp_path / "wrong"
    wrong.write_text("another passphrase\n")
    voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    torn = tmp_path / "torn.vab"
    torn.write_bytes(file.read_bytes()[:-1])
    for words, said in (((str(file), str(wrong)), "another passphrase"), ((str(torn), secret), "damaged")):
        result = voiceauth(there, "restore", words[0], "--passphrase-file", words[1])
        assert result.returncode == ExitCode.STORAGE
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_the_configuration_is_replaced_only_when_asked(here: Places, tmp_path: Path, secret: str) -> None:
    there, file = used_machine(tmp_path / "b", seed=9), tmp_path / "voices.vab"
    assert there.config is not None
    old = there.config.read_text()
    there.config.chmod(0o640)
    voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    words = ("restore", str(file), "--passphrase-file", secret)
    assert voiceauth(there, *words).returncode == ExitCode.USAGE, "a cohort is there"
    kept = voiceauth(there, *words, "--replace", "--keep-config")
    assert kept.returncode == ExitCode.OK, kept.stderr
    assert "left as it was" in kept.stdout
    assert there.config.read_text() == old
    assert voiceauth(there, *words, "--replace").returncode == ExitCode.OK
    assert "seed 0" in there.config.read_text()
    assert stat.S_IMODE(there.config.stat().st_mode) == 0o640


def test_a_configuration_that_is_not_valid_there_is_refused_before_anything_is_written(
    here: Places, tmp_path: Path, secret: str
) -> None:
    there, file = machine(tmp_path / "b"), tmp_path / "voices.vab"
    voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    there.config.parent.mkdir()
    words = ("restore", str(file), "--passphrase-file", secret)
    environment = {**environment_of(there), "VOICEAUTHD_LOG__LEVEL": "nonsense"}
    refused = voiceauth_here(*words, environment=environment)
    assert refused.returncode == ExitCode.CONFIG
    assert "--keep-config" in refused.stderr
    assert everything(tmp_path / "b") == {}


def test_a_backup_goes_where_the_given_configuration_says(here: Places, tmp_path: Path, secret: str) -> None:
    there, file = machine(tmp_path / "b"), tmp_path / "voices.vab"
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(f"profiles: {there.profiles}\nscoring: {there.scoring}\n")
    voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    done = voiceauth(here, "restore", str(file), "--passphrase-file", secret, "--config", str(elsewhere))
    assert done.returncode == ExitCode.OK, done.stderr
    assert voices(there) == voices(here)
    again = tmp_path / "again.vab"
    made = voiceauth(here, "backup", str(again), "--passphrase-file", secret, "--config", str(elsewhere), "--json")
    assert [each["name"] for each in json.loads(made.stdout)["profiles"]] == ["Anna", "ben"]


def test_an_unreadable_profile_stops_the_backup_unless_it_may_be_left_out(
    here: Places, tmp_path: Path, secret: str
) -> None:
    file, torn = tmp_path / "voices.vab", here.profiles / "ben.profile"
    torn.write_bytes(torn.read_bytes()[:-1])
    refused = voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    assert refused.returncode == ExitCode.STORAGE
    assert "--skip-unreadable" in refused.stderr
    assert not file.exists()
    made = voiceauth(here, "backup", str(file), "--passphrase-file", secret, "--skip-unreadable")
    assert made.returncode == ExitCode.OK
    assert "left out    ben:" in made.stdout
    assert "Anna" in made.stdout


def test_each_kind_of_backup_names_the_command_that_reads_it(here: Places, tmp_path: Path, secret: str) -> None:
    file = tmp_path / "voices.vab"
    voiceauth(here, "backup", str(file), "--passphrase-file", secret)
    refused = voiceauth(here, "profiles", "import", str(file), "--passphrase-file", secret)
    assert refused.returncode == ExitCode.STORAGE
    assert "voiceauth restore" in refused.stderr
