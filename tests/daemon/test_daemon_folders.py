"""Whose state it is: a daemon never creates or changes that of another user, and doctor finds what others left."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest
from daemon_process import DaemonProcess, start_stub
from fake_daemon import voiceauth_here
from other_users import OWNER, require_other_users

from voiceauthd.config.schema import Config
from voiceauthd.errors import ExitCode, StorageError
from voiceauthd.service import own_folders
from voiceauthd.service.own_folders import require_own_folders


@pytest.fixture(autouse=True)
def _root() -> None:
    require_other_users()


def doctor(daemon: DaemonProcess, **environment: str) -> tuple[int, dict[str, dict]]:
    result = voiceauth_here("doctor", "--json", socket=str(daemon.socket), environment=environment)
    return result.returncode, {check["id"]: check for check in json.loads(result.stdout)["checks"]}


def test_root_leaves_the_state_of_another_user_alone(folder: Path) -> None:
    state = folder / "state"
    state.mkdir(mode=0o700)
    os.chown(state, pwd.getpwnam(OWNER).pw_uid, -1)
    settings = {"state": str(state), "profiles": str(state / "profiles")}
    daemon = start_stub(folder, settings, with_audio=False)
    assert daemon.wait() == ExitCode.STORAGE
    assert list(state.iterdir()) == []
    log = daemon.log.read_text()
    assert f"belongs to {OWNER}, and this is root" in log
    assert f"sudo -u {OWNER}" in log
    assert "damaged" not in log
    assert "locked" not in log


@pytest.mark.parametrize("missing", ["state", "profiles"])
def test_a_missing_folder_belongs_to_whom_the_folder_above_it_belongs_to(folder: Path, missing: str) -> None:
    theirs = folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, pwd.getpwnam(OWNER).pw_uid, -1)
    folders = {"state": folder / "own", "profiles": folder / "own" / "profiles", missing: theirs / "a" / "b"}
    with pytest.raises(StorageError, match=f"the {missing} folder .* belongs to {OWNER}"):
        require_own_folders(Config(**folders))
    assert list(theirs.iterdir()) == []


def test_the_system_s_state_is_kept_for_the_service_before_its_first_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_folders, "SYSTEM_STATE", folder / "lib" / "voiceauthd")
    config = Config(state=folder / "lib" / "voiceauthd", profiles=folder / "lib" / "voiceauthd" / "profiles")
    require_own_folders(config)  # nobody is named so on a machine without the service
    monkeypatch.setattr(own_folders, "SERVICE_USER", OWNER)
    with pytest.raises(StorageError, match=f"belongs to {OWNER}"):
        require_own_folders(config)


def test_a_first_start_reports_no_damage_and_locks_nobody(stub_at) -> None:
    daemon = stub_at()
    log = daemon.log.read_text()
    assert not [line for line in log.splitlines() if "ERROR" in line], log
    assert "damaged" not in log


def test_doctor_names_what_belongs_to_another_user_and_the_fix(stub_at) -> None:
    daemon = stub_at()
    daemon.ask("Status")
    state = daemon.folder
    os.chown(state / "audit", pwd.getpwnam(OWNER).pw_uid, -1)
    code, checks = doctor(daemon)
    owner = checks["state.owner"]
    assert (owner["state"], code) == ("fail", ExitCode.STORAGE)
    assert f"{state / 'audit'} belongs to {OWNER}, not to root" in owner["found"]
    assert f"chown -R root: {state}" in owner["fix"]
    os.chown(state / "audit", 0, -1)
    assert doctor(daemon)[1]["state.owner"]["state"] == "ok"


def test_doctor_audit_and_config_look_at_the_running_daemon_s_files_not_at_the_caller_s(stub_at, tmp_path) -> None:
    daemon = stub_at()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("no: such key\n")
    _, checks = doctor(daemon, VOICEAUTHD_CONFIG=str(wrong))
    assert checks["config"]["state"] == "ok"
    assert str(daemon.config) in checks["config"]["found"]
    assert "of the running daemon (user root)" in checks["config"]["found"]
    assert str(daemon.profiles) in checks["profiles.folder"]["found"]
    here = {"VOICEAUTHD_CONFIG": str(wrong)}
    path = voiceauth_here("config", "path", "--json", socket=str(daemon.socket), environment=here)
    assert json.loads(path.stdout)["file"] == str(daemon.config)
    audit = voiceauth_here("audit", "--json", socket=str(daemon.socket), environment=here)
    assert json.loads(audit.stdout.splitlines()[0])["event"] == "start"
    assert audit.stderr == ""


def test_without_a_daemon_they_say_what_they_looked_at(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "VOICEAUTHD_CONFIG": str(tmp_path / "c.yaml")}
    (tmp_path / "c.yaml").write_text(f"state: {tmp_path}\nprofiles: {tmp_path}/profiles\n")
    checks = json.loads(voiceauth_here("doctor", "--json", environment=home).stdout)["checks"]
    config = next(check for check in checks if check["id"] == "config")
    assert str(tmp_path / "c.yaml") in config["found"]
    assert "no daemon answers" in config["found"]
    audit = voiceauth_here("audit", environment=home)
    assert f"the log {tmp_path / 'audit'} of root; no daemon answers" in audit.stderr


def test_the_settings_of_the_command_line_and_the_environment_are_the_daemon_s_too(folder: Path) -> None:
    from voiceauthd.terminal.daemon_config import config_in_use

    settings = {"model": {"cache": "~/models"}}  # the daemon's home, whoever asks
    with start_stub(folder, settings, environment={"VOICEAUTHD_VERIFY__SPEECH": "3.5"}) as daemon:
        daemon.await_ready()
        found = config_in_use(str(daemon.socket))
        here = {"HOME": "/nowhere"}
        shown = voiceauth_here("config", "show", "--json", socket=str(daemon.socket), environment=here)
    assert found.config.verify.speech == 3.5
    assert found.config.audio.source == "-"
    assert found.file == daemon.config
    assert found.config.profiles == daemon.profiles
    assert found.config.model.cache == Path.home() / "models"
    assert json.loads(shown.stdout)["values"]["model.cache"]["value"] == str(Path.home() / "models")
    assert json.loads(shown.stdout)["values"]["verify.speech"]["value"] == 3.5
