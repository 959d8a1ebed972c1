"""The commands that need no daemon: config, model, run."""

from __future__ import annotations

import json

import pytest
from fake_daemon import voiceauth, voiceauth_here

from voiceauthd.errors import ExitCode


@pytest.fixture
def home(tmp_path):
    """An environment with an empty home: no configuration, no models, no profiles."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""}


def test_the_default_configuration_is_valid(tmp_path, home):
    file = tmp_path / "config.yaml"
    file.write_text(voiceauth_here("config", "default").stdout)
    result = voiceauth_here("config", "check", str(file), environment=home)
    assert (result.returncode, result.stdout) == (0, f"{file}: valid\n")


def test_every_error_in_a_configuration_is_one_line(tmp_path, home):
    file = tmp_path / "config.yaml"
    file.write_text("model:\n  nme: campplus\nspeech:\n  hop: -1\n")
    result = voiceauth_here("config", "check", str(file), "--set", "queue.windows=none", "--json", environment=home)
    lines = result.stderr.splitlines()
    assert result.returncode == ExitCode.CONFIG
    assert len(lines) == 3
    assert all(line.startswith("voiceauth: ") for line in lines)
    assert f"{file}:2" in result.stderr
    assert json.loads(result.stdout)["error"]["reason"] == "config"


def test_the_path_is_the_one_that_the_daemon_would_use(tmp_path, home):
    file = tmp_path / "mine.yaml"
    result = voiceauth_here("config", "path", "--json", environment={**home, "VOICEAUTHD_CONFIG": str(file)})
    assert json.loads(result.stdout)["file"] == str(file)
    assert "no daemon answers" in json.loads(result.stdout)["whose"]
    missing = voiceauth_here("config", "check", environment={**home, "VOICEAUTHD_CONFIG": str(file)})
    assert missing.returncode == ExitCode.CONFIG


def test_show_prints_where_each_value_was_set(tmp_path, home):
    file = tmp_path / "config.yaml"
    file.write_text("model:\n  name: campplus\n")
    environment = {**home, "VOICEAUTHD_SPEECH__HOP": "1.0"}
    words = ("config", "show", str(file), "--set", "queue.batch=2")
    values = json.loads(voiceauth_here(*words, "--json", environment=environment).stdout)["values"]
    assert values["model.name"] == {"value": "campplus", "origin": f"{file}:2"}
    assert values["speech.hop"] == {"value": 1.0, "origin": "environment variable VOICEAUTHD_SPEECH__HOP"}
    assert values["queue.batch"] == {"value": 2, "origin": "command line"}
    assert values["queue.windows"]["origin"] == "default"
    assert "# command line" in voiceauth_here(*words, environment=environment).stdout


def test_an_empty_model_cache_says_how_to_fill_it(tmp_path, home):
    result = voiceauth_here("model", "list", "--cache", str(tmp_path / "none"), environment=home)
    assert result.returncode == 0
    assert "model fetch" in result.stdout
    as_json = voiceauth_here("model", "list", "--cache", str(tmp_path / "none"), "--json", environment=home)
    assert json.loads(as_json.stdout) == {"folder": str(tmp_path / "none"), "models": []}


def test_the_configured_cache_is_the_one_that_is_listed(tmp_path, home):
    result = voiceauth_here(
        "model", "list", "--json", environment={**home, "VOICEAUTHD_MODEL__CACHE": str(tmp_path / "c")}
    )
    assert json.loads(result.stdout)["folder"] == str(tmp_path / "c")


def test_a_torn_model_is_listed_with_its_problem(tmp_path, home):
    folder = tmp_path / "cache" / "campplus@x"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    result = voiceauth_here("model", "list", "--cache", str(tmp_path / "cache"), "--json", environment=home)
    (model,) = json.loads(result.stdout)["models"]
    assert model["name"] == "campplus"
    assert model["verified"] is False
    assert model["problem"]


def test_removing_a_missing_model_is_an_error(tmp_path, home):
    result = voiceauth_here("model", "remove", "campplus", "--cache", str(tmp_path), environment=home)
    assert result.returncode == ExitCode.MODEL
    assert "model list" in result.stderr


def test_fetching_an_invalid_name_is_refused_without_a_network(tmp_path, home):
    result = voiceauth_here("model", "fetch", "../x", "--cache", str(tmp_path / "cache"), environment=home)
    assert result.returncode in {ExitCode.MODEL, ExitCode.USAGE}
    assert "Traceback" not in result.stderr


def test_run_refuses_a_missing_model_and_a_bad_setting(tmp_path, home):
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


def test_the_short_options_of_run_are_settings_with_any_text():
    from voiceauthd.config.load import load_config
    from voiceauthd.config.short_options import with_short_options

    name = "it's: a # [strange] name.flac"
    options = {"audio.source": name, "audio.pace": "fast", "socket.path": "/run/x"}
    config = load_config(None, with_short_options(["queue.batch=2"], options), {})
    assert config.audio.source.endswith(name)
    assert (config.audio.pace, config.queue.batch, str(config.socket.path)) == ("fast", 2, "/run/x")
