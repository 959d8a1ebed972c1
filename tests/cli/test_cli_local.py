"""The commands that need no daemon: config, model, doctor."""

from __future__ import annotations

import json
import os
import socket

import pytest
from fake_daemon import FakeDaemon, done, refusal, voiceauth

from voiceauthd.errors import ExitCode

IDS = [
    "python",
    "packages",
    "config",
    "torch.threads",
    "vad",
    "model.cached",
    "scoring",
    "portaudio",
    "microphone.listed",
    "microphone.flows",
    "audio.group",
    "profiles.folder",
    "profiles.refused",
    "profiles.key",
    "audit.chain",
    "socket.path",
    "daemon.running",
    "daemon.ready",
    "daemon.owner",
    "systemd.unit",
    "pam.services",
]


@pytest.fixture
def home(tmp_path):
    """A home of its own: no configuration, no models, no profiles."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""}


def test_the_default_configuration_is_accepted_by_the_check(tmp_path, home):
    file = tmp_path / "config.yaml"
    file.write_text(voiceauth("config", "default").stdout)
    result = voiceauth("config", "check", str(file), environment=home)
    assert (result.returncode, result.stdout) == (0, f"{file}: right\n")


def test_all_that_is_wrong_in_a_configuration_is_told_a_line_each(tmp_path, home):
    file = tmp_path / "config.yaml"
    file.write_text("model:\n  nme: campplus\nspeech:\n  hop: -1\n")
    result = voiceauth("config", "check", str(file), "--set", "queue.windows=none", "--json", environment=home)
    lines = result.stderr.splitlines()
    assert result.returncode == ExitCode.CONFIG
    assert len(lines) == 3
    assert all(line.startswith("voiceauth: ") for line in lines)
    assert f"{file}:2" in result.stderr
    assert json.loads(result.stdout)["error"]["reason"] == "config"


def test_the_path_is_the_one_that_the_daemon_would_take(tmp_path, home):
    file = tmp_path / "mine.yaml"
    assert voiceauth("config", "path", "--json", environment={**home, "VOICEAUTHD_CONFIG": str(file)}).stdout == (
        json.dumps({"file": str(file)}) + "\n"
    )
    missing = voiceauth("config", "check", environment={**home, "VOICEAUTHD_CONFIG": str(file)})
    assert missing.returncode == ExitCode.CONFIG


def test_show_tells_where_each_value_was_set(tmp_path, home):
    file = tmp_path / "config.yaml"
    file.write_text("model:\n  name: campplus\n")
    environment = {**home, "VOICEAUTHD_SPEECH__HOP": "1.0"}
    words = ("config", "show", str(file), "--set", "queue.batch=2")
    values = json.loads(voiceauth(*words, "--json", environment=environment).stdout)["values"]
    assert values["model.name"] == {"value": "campplus", "origin": f"{file}:2"}
    assert values["speech.hop"] == {"value": 1.0, "origin": "environment variable VOICEAUTHD_SPEECH__HOP"}
    assert values["queue.batch"] == {"value": 2, "origin": "command line"}
    assert values["queue.windows"]["origin"] == "default"
    assert "# command line" in voiceauth(*words, environment=environment).stdout


def test_an_empty_model_cache_says_how_to_fill_it(tmp_path, home):
    result = voiceauth("model", "list", "--cache", str(tmp_path / "none"), environment=home)
    assert result.returncode == 0
    assert "model fetch" in result.stdout
    as_json = voiceauth("model", "list", "--cache", str(tmp_path / "none"), "--json", environment=home)
    assert json.loads(as_json.stdout) == {"folder": str(tmp_path / "none"), "models": []}


def test_the_configured_cache_is_the_one_that_is_listed(tmp_path, home):
    result = voiceauth("model", "list", "--json", environment={**home, "VOICEAUTHD_MODEL__CACHE": str(tmp_path / "c")})
    assert json.loads(result.stdout)["folder"] == str(tmp_path / "c")


def test_a_torn_model_is_listed_with_what_is_wrong(tmp_path, home):
    folder = tmp_path / "cache" / "campplus@x"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    result = voiceauth("model", "list", "--cache", str(tmp_path / "cache"), "--json", environment=home)
    (model,) = json.loads(result.stdout)["models"]
    assert model["name"] == "campplus"
    assert model["verified"] is False
    assert model["problem"]


def test_removing_a_model_that_is_not_there_is_an_error(tmp_path, home):
    result = voiceauth("model", "remove", "campplus", "--cache", str(tmp_path), environment=home)
    assert result.returncode == ExitCode.MODEL
    assert "model list" in result.stderr


def test_a_name_that_is_no_model_is_refused_without_a_network(tmp_path, home):
    result = voiceauth("model", "fetch", "../x", "--cache", str(tmp_path / "cache"), environment=home)
    assert result.returncode in {ExitCode.MODEL, ExitCode.USAGE}
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    """Doctor's answer on a machine without anything."""
    folder = tmp_path_factory.mktemp("doctor")
    environment = {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": "",
        "XDG_CACHE_HOME": "",
        "XDG_STATE_HOME": "",
        "VOICEAUTHD_PROFILES": str(folder / "profiles"),
        "VOICEAUTHD_MODEL__CACHE": str(folder / "models"),
    }
    result = voiceauth("doctor", "--json", socket=str(folder / "socket"), environment=environment)
    return result, {check["id"]: check for check in json.loads(result.stdout)["checks"]}


def test_doctor_checks_everything_under_stable_names(examined):
    _, checks = examined
    assert list(checks) == IDS
    assert {check["state"] for check in checks.values()} <= {"ok", "warn", "fail"}


def test_doctor_finds_what_is_there_and_what_is_missing(examined):
    _, checks = examined
    for name in ("python", "packages", "config", "torch.threads", "vad", "profiles.folder"):
        assert checks[name]["state"] == "ok", checks[name]
    for name in ("model.cached", "socket.path", "daemon.running"):
        assert checks[name]["state"] == "fail"
        assert checks[name]["fix"]
    assert "model fetch" in checks["model.cached"]["fix"]


def test_doctor_ends_with_the_code_of_the_first_failure(examined):
    result, checks = examined
    first = next(check["id"] for check in checks.values() if check["state"] == "fail")
    assert first == "model.cached"
    assert result.returncode == ExitCode.MODEL
    assert json.loads(result.stdout)["ok"] is False


def test_a_check_that_breaks_is_a_failure_and_does_not_hide_the_others(monkeypatch, capsys):
    from voiceauthd.cli import doctor
    from voiceauthd.cli.main import main
    from voiceauthd.doctor.check import OK, Check

    def check_odd(_machine):
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "CHECKS", (check_odd, lambda _: Check("last", OK, "reached")))
    monkeypatch.setenv("VOICEAUTHD_SOCKET", "/nonexistent/socket")
    monkeypatch.delenv("VOICEAUTHD_CONFIG", raising=False)
    assert main(["doctor", "--json"]) == ExitCode.INTERNAL
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [(check["id"], check["state"]) for check in checks[-2:]] == [("odd", "fail"), ("last", "ok")]


def machine(path, **changes):
    from pathlib import Path

    from voiceauthd.config.schema import Config
    from voiceauthd.doctor.check import Machine

    return Machine(changes.pop("config", Config()), Path("x"), str(path))._replace(**changes)


STATUS = {
    "ready": True,
    "state": "ready",
    "uptime": 3.0,
    "memory_mib": 300.0,
    "model": {"name": "campplus"},
    "source": {"description": "microphone 'x'", "state": "open"},
}


def test_doctor_sees_who_owns_the_socket_and_what_it_says(tmp_path):
    from voiceauthd.doctor import check_daemon, check_sound

    profile = {"name": "bob", "usable": False, "problem": "torn"}

    def answer(request):
        if request["method"].endswith("Status"):
            return [done(**STATUS)]
        return [done(profiles=[profile])]

    with FakeDaemon(tmp_path / "s", answer):
        seen = check_daemon.ask_daemon(machine(tmp_path / "s"))
        assert (seen.daemon_uid, seen.daemon_pid) == (os.geteuid(), os.getpid())
        assert check_daemon.check_running(seen).state == "ok"
        assert check_daemon.check_ready(seen).state == "ok"
        assert check_daemon.check_owner(seen).state == "ok"
        assert check_daemon.check_owner(seen._replace(daemon_uid=4_000_000)).code == ExitCode.DENIED
        assert "microphone 'x'" in check_sound.check_flows(seen).found


def test_doctor_believes_no_daemon_that_answers_badly(tmp_path):
    from voiceauthd.doctor import check_daemon

    for index, reply in enumerate(([refusal("Internal", detail="x")], [b"garbage\0"])):
        with FakeDaemon(tmp_path / f"s{index}", lambda _, reply=reply: reply):
            seen = check_daemon.ask_daemon(machine(tmp_path / f"s{index}"))
            assert check_daemon.check_running(seen).code == ExitCode.NOT_RUNNING


def test_doctor_names_a_model_that_did_not_load(tmp_path):
    from voiceauthd.doctor import check_daemon

    status = {**STATUS, "ready": False, "state": "degraded", "problem": "no weights"}
    check = check_daemon.check_ready(machine(tmp_path, status=status))
    assert (check.state, check.code) == ("fail", ExitCode.MODEL)
    assert "no weights" in check.found


def test_doctor_tells_a_stale_socket_from_something_else_in_its_place(tmp_path):
    from voiceauthd.doctor import check_daemon

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "stale"))
    stale = check_daemon.ask_daemon(machine(tmp_path / "stale"))
    assert check_daemon.check_socket(stale).state == "ok"
    assert check_daemon.check_running(stale).state == "fail"
    (tmp_path / "file").write_text("")
    assert check_daemon.check_socket(machine(tmp_path / "file")).state == "fail"


def test_doctor_refuses_a_profile_folder_that_others_may_read(tmp_path):
    from voiceauthd.config.schema import Config
    from voiceauthd.doctor.check_machine import check_profiles_folder

    folder = tmp_path / "profiles"
    folder.mkdir(mode=0o700)
    assert check_profiles_folder(machine(tmp_path, config=Config(profiles=folder))).state == "ok"
    folder.chmod(0o755)
    check = check_profiles_folder(machine(tmp_path, config=Config(profiles=folder)))
    assert (check.state, check.code, check.fix) == ("fail", ExitCode.STORAGE, f"chmod 700 {folder}")


def test_run_refuses_what_it_cannot_start_with_and_says_so(tmp_path, home):
    environment = {**home, "VOICEAUTHD_MODEL__CACHE": str(tmp_path / "models")}
    own = ("--set", "model.name=campplus", "--set", f"state={tmp_path / 'state'}", "--socket", str(tmp_path / "s"))
    words = ("run", *own, "--source", "talk.flac", "--json")
    result = voiceauth(*words, environment=environment)
    assert result.returncode == ExitCode.MODEL
    assert "model fetch" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["error"]["reason"] == "model"
    wrong = voiceauth("run", "--set", "audio.pase=fast", environment=home)
    assert wrong.returncode == ExitCode.CONFIG
    assert "pace" in wrong.stderr


def test_the_short_forms_of_run_are_settings_of_any_text():
    import argparse

    from voiceauthd.cli.run import overrides
    from voiceauthd.config.load import load_config

    name = "it's: a # [strange] name.flac"
    arguments = argparse.Namespace(settings=["queue.batch=2"], source=name, pace="fast", socket="/run/x")
    config = load_config(None, overrides(arguments), {})
    assert config.audio.source.endswith(name)
    assert (config.audio.pace, config.queue.batch, str(config.socket.path)) == ("fast", 2, "/run/x")
