"""The layers of the configuration: which file is used, what overrides what, and where relative paths start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from config_files import NOWHERE, refusal, written

from voiceauthd.config.keys import keys
from voiceauthd.config.load import SYSTEM_CONFIG, find_config, load_config, variable_of
from voiceauthd.config.resolve import RESTART_KEYS, changed_keys, profiles_folder
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError


def test_the_environment_overrides_the_file_and_the_command_line_overrides_both(tmp_path: Path) -> None:
    file = written(tmp_path, "audio:\n  stall: 2\n  backoff: 2\n  backoff_limit: 20\n")
    environment = {"VOICEAUTHD_AUDIO__BACKOFF": "3", "VOICEAUTHD_AUDIO__BACKOFF_LIMIT": "30"}
    config = load_config(file, ["audio.backoff_limit=35", "audio.backoff_limit=40"], environment)
    assert (config.audio.stall, config.audio.backoff, config.audio.backoff_limit) == (2.0, 3.0, 40.0)
    assert dict(config.origins) == {
        "audio.stall": f"{file}:2",
        "audio.backoff": "environment variable VOICEAUTHD_AUDIO__BACKOFF",
        "audio.backoff_limit": "command line",
    }


def test_every_key_can_be_set_by_its_variable() -> None:
    names = {variable_of(path) for path in keys()}
    assert len(names) == len(keys())
    assert {"VOICEAUTHD_PROFILES", "VOICEAUTHD_AUDIO__DEVICE", "VOICEAUTHD_ENROLL__MIN_SNR_DB"} <= names
    assert load_config(None, environment={"VOICEAUTHD_PROFILES": "/srv/voices"}).profiles == Path("/srv/voices")


def test_an_unknown_variable_is_refused_by_name() -> None:
    lines = refusal(None, environment={"VOICEAUTHD_AUDIO__DEVISE": "1", "VOICEAUTHD_ADIO__DEVICE": "1"})
    assert lines == [
        'environment variable VOICEAUTHD_ADIO__DEVICE: unknown section or key "adio"; did you mean `audio`?',
        'environment variable VOICEAUTHD_AUDIO__DEVISE: unknown key "devise"; did you mean `device`?',
    ]


def test_variables_that_are_not_settings_are_ignored() -> None:
    others = {
        "VOICEAUTHD_CONFIG": "/x",
        "VOICEAUTHD_SOCKET": "/y",
        "VOICEAUTHD_MODEL_CACHE": "/z",
        "AUDIO__DEVICE": "1",
    }
    assert load_config(None, environment=others) == Config()


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("audio.devise=1", 'command line: audio.devise: unknown key "devise"; did you mean `device`?'),
        ("adio.device=1", "did you mean `audio`?"),
        ("audio=1", 'unknown section or key "audio"'),
        ("device=1", "`device` belongs under `model:` or `audio:`"),
        ("audio.device", "sets nothing; write --set section.key=value"),
        ("=1", "unknown section or key"),
        ("audio.stall=x", "command line: audio.stall: found x; allowed: a number"),
        ("audio.stall=", "found nothing"),
        ("audio.device='a' 'b'", "the quotes do not enclose the whole value"),
        ('audio.device="a', "the quotes do not enclose the whole value"),
        ("socket.mode=660", "write 0660"),
    ],
)
def test_a_mistake_on_the_command_line_is_refused(override: str, part: str) -> None:
    lines = refusal(None, override)
    assert len(lines) == 1
    assert lines[0].startswith("command line: ")
    assert part in lines[0]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("HDA Intel: ALC295 (hw:0,0) #2", "HDA Intel: ALC295 (hw:0,0) #2"),
        ("  padded ", "padded"),
        ('"3"', "3"),
        ("3", 3),
        ("'it''s'", "it's"),
        ("null", None),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_a_device_name_on_the_command_line_needs_no_yaml(text: str, device: object) -> None:
    assert load_config(None, [f"audio.device={text}"], NOWHERE).audio.device == device


def test_relative_paths_start_from_the_file_and_outside_of_it_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    text = "profiles: p\nmodel:\n  name: ./m\n  cache: ../c\nsocket:\n  path: s\naudio:\n  source: a.wav\n"
    written(tmp_path, text)
    config = load_config(Path("../config.yaml"), environment=NOWHERE)
    folder = current / ".."
    assert config.profiles == folder / "p"
    assert config.model.name == str(folder / "m")
    assert config.model.cache == folder / "../c"
    assert config.socket.path == folder / "s"
    assert config.audio.source == str(folder / "a.wav")
    config = load_config(tmp_path / "config.yaml", ["profiles=p", "audio.source=./x"], NOWHERE)
    assert config.profiles == current / "p"
    assert config.audio.source == str(current / "x")


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    file = written(tmp_path, "profiles: ~/voices\nmodel: {name: ~/model}\naudio: {source: ~/a.wav}\n")
    config = load_config(file, environment={"HOME": "/home/ada"})
    assert config.profiles == Path("/home/ada/voices")
    assert config.model.name == "/home/ada/model"
    assert config.audio.source == "/home/ada/a.wav"


def test_the_first_file_that_is_named_or_exists_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "voiceauthd" / "config.yaml"
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "VOICEAUTHD_CONFIG": "/named"}
    assert find_config(Path("/explicit"), environment) == Path("/explicit")
    assert find_config(None, environment) == Path("/named")
    environment.pop("VOICEAUTHD_CONFIG")
    system = SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None
    assert find_config(None, environment) == system
    own.parent.mkdir()
    own.touch()
    assert find_config(None, environment) == own
    assert find_config(None, {"HOME": str(tmp_path / "home")}) == system
    monkeypatch.setattr("voiceauthd.config.load.SYSTEM_CONFIG", own)
    assert find_config(None, {}) == own


def test_the_profiles_folder_comes_from_the_configuration_the_service_or_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explicit = load_config(None, ["profiles=/p"], NOWHERE)
    service = {"STATE_DIRECTORY": "/var/lib/voiceauthd:/var/lib/other", **NOWHERE}
    assert profiles_folder(explicit, service) == Path("/p")
    assert profiles_folder(Config(), service) == Path("/var/lib/voiceauthd/profiles")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert profiles_folder(Config(), NOWHERE) == Path("/var/lib/voiceauthd/profiles")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert profiles_folder(Config(), NOWHERE) == Path("/home/nobody/.local/state/voiceauthd/profiles")
    assert profiles_folder(Config(), {"XDG_STATE_HOME": "/state"}) == Path("/state/voiceauthd/profiles")
    with pytest.raises(ConfigError, match="no home folder"):
        profiles_folder(Config(), {})


def test_changed_keys_and_those_that_need_a_restart_are_known() -> None:
    new = load_config(None, ["socket.mode=0660", "audio.stall=2", "profiles=/p"], NOWHERE)
    assert changed_keys(Config(), new) == ["profiles", "audio.stall", "socket.mode"]
    assert changed_keys(new, new) == []
    assert set(keys()) >= RESTART_KEYS
