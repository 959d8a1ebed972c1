"""`voiceauth config set`: one key changes, everything else in the file stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceauthd.config.document import render
from voiceauthd.config.edit import set_value
from voiceauthd.config.load import load_config
from voiceauthd.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "config.yaml"


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_a_file_that_is_not_there_is_made(file: Path) -> None:
    assert set_value(file, "audio.device", "USB Audio: front") == '"USB Audio: front"'
    assert load_config(file, environment={}).audio.device == "USB Audio: front"
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("audio:\n  device: old  # mine\n", "audio:\n  device: new  # mine\n"),
        ("audio:\n    # here\n    pace: fast\n", "audio:\n    # here\n    device: new\n    pace: fast\n"),
        ("audio: {pace: fast}\n", "audio: {device: new, pace: fast}\n"),
        ("audio:\n  device:\n", "audio:\n  device: new\n"),
        ("audio:\nlog:\n  level: info\n", "audio:\n  device: new\nlog:\n  level: info\n"),
        ("audio: {}\n", "audio: \n  device: new\n"),
        ("log:\n  level: info", "log:\n  level: info\n\naudio:\n  device: new\n"),
        ("", "\naudio:\n  device: new\n"),
    ],
)
def test_only_that_key_changes(file: Path, before: str, after: str) -> None:
    set_value(written(file, before), "audio.device", "new")
    assert file.read_text() == after
    assert load_config(file, environment={}).audio.device == "new"


def test_the_commented_default_keeps_every_comment(file: Path) -> None:
    before = render()
    set_value(written(file, before), "audio.device", "new")
    changed = [
        pair for pair in zip(before.splitlines(), file.read_text().splitlines(), strict=True) if len({*pair}) > 1
    ]
    assert changed == [("  device: null", "  device: new")]


def test_numbers_booleans_and_null_are_written_as_such(file: Path) -> None:
    set_value(file, "audio.device", "3")
    set_value(file, "audio.always_on", "true")
    set_value(file, "model.revision", "null")
    config = load_config(file, environment={})
    assert (config.audio.device, config.audio.always_on, config.model.revision) == (3, True, None)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("audio.devise", "x", "did you mean `device`"),
        ("model.device", "gpu", "allowed: auto, cpu, cuda, mps"),
        ("model.name", "", "found an empty text"),
        ("verify.timeout", "-1", "allowed: "),
    ],
)
def test_what_is_not_allowed_is_refused_and_nothing_changes(file: Path, path: str, value: str, said: str) -> None:
    written(file, "audio:\n  pace: fast\n")
    with pytest.raises(ConfigError, match=said):
        set_value(file, path, value)
    assert file.read_text() == "audio:\n  pace: fast\n"
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_file_that_is_wrong_already_is_not_touched(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml:2: "):
        set_value(written(file, "audio:\n  nonsense: 1\n"), "audio.device", "x")
    assert file.read_text() == "audio:\n  nonsense: 1\n"
