"""The committed config.yaml and the manual match the schema, and printed configurations can be read back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.config.document import describe, render
from voiceauthd.config.keys import Value, allowed, build, keys, quoted, sections, value_of
from voiceauthd.config.load import load_config
from voiceauthd.config.regenerate import checkout_config, with_table
from voiceauthd.config.resolve import changed_keys
from voiceauthd.config.schema import Config

ROOT = Path(__file__).parents[2]
OUT_OF_DATE = "run `python -m voiceauthd.config.regenerate`"


def test_every_field_of_the_schema_is_a_key() -> None:
    config = Config()
    inside = {
        f"{section.name}.{field.name}"
        for section in fields(config)
        if is_dataclass(holder := getattr(config, section.name))
        for field in fields(holder)
    }
    assert set(keys()) == inside | {"profiles", "scoring", "state"}
    assert set(sections()) == {path.partition(".")[0] for path in inside}


def test_every_key_is_described_in_sentences() -> None:
    for path, key in keys().items():
        description = key.setting.help
        assert re.fullmatch(r"[A-Z`].{30,}\.", description), path
        assert 1 <= len(re.findall(r"[.;?](?: |$)", description)) <= 6, path


def test_every_number_has_bounds_or_choices_that_include_its_default() -> None:
    for path, key in keys().items():
        setting = key.setting
        if {int, float} & set(key.types):
            assert setting.choices or (setting.low is not None and setting.high is not None), path
            if isinstance(key.default, int | float) and not setting.choices:
                assert setting.low is not None
                assert setting.high is not None
                assert setting.low <= key.default <= setting.high, path
        if setting.choices:
            assert key.default in setting.choices, path


def test_the_commented_file_explains_every_key() -> None:
    page = checkout_config()
    for path, key in keys().items():
        indent = "  " if key.section else ""
        part = page[page.index(f"\n{key.section}:\n") :] if key.section else page
        written = re.search(rf"((?:^{indent}# .*\n)+)^{indent}{key.name}: \S", part, re.MULTILINE)
        assert written is not None, path
        comment = " ".join(line.strip().removeprefix("# ") for line in written[1].splitlines())
        assert key.setting.help in comment, path
        assert f"Allowed: {allowed(key)}. Default: " in comment, path


def test_the_committed_config_yaml_matches_the_schema() -> None:
    assert (ROOT / "config.yaml").read_text(encoding="utf-8") == checkout_config(), OUT_OF_DATE


def test_the_table_in_the_manual_matches_the_schema() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == with_table(page), OUT_OF_DATE
    for path, key in keys().items():
        assert f"| `{key.name}` |" in page, path


def test_the_committed_config_yaml_has_the_defaults_and_the_profiles_of_the_checkout() -> None:
    config = load_config(ROOT / "config.yaml", environment={})
    assert changed_keys(Config(), config) == ["profiles"]
    assert config.profiles == ROOT / "profiles"


def test_the_printed_defaults_are_a_valid_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(render(), encoding="utf-8")
    assert replace(load_config(file, environment={}), file=None) == Config()


def test_the_commented_file_means_the_same_to_a_standard_yaml_reader() -> None:
    read = yaml.safe_load(render())
    assert list(read) == ["profiles", "scoring", "state", *sections()]
    for path, key in keys().items():
        found = read[key.section][key.name] if key.section else read[key.name]
        assert found == key.default, path


def test_no_line_of_the_commented_file_is_over_110_columns() -> None:
    assert max(len(line) for line in render().splitlines()) <= 110


def test_describe_prints_each_value_and_where_it_was_set(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("audio:\n  device: USB Mic\nsocket:\n  mode: 0660\n", encoding="utf-8")
    shown = describe(load_config(file, ["audio.stall=2"], {"VOICEAUTHD_QUEUE__WINDOWS": "3"}))
    lines = {re.sub(r" +", " ", line.strip()) for line in shown.splitlines()}
    assert lines >= {
        f"# {file}",
        f'device: "USB Mic" # {file}:2',
        f"mode: 0660 # {file}:4",
        "stall: 2.0 # command line",
        "windows: 3 # environment variable VOICEAUTHD_QUEUE__WINDOWS",
        "pace: realtime # default",
    }
    assert describe(Config()).startswith("# no configuration file: the built-in defaults\n")


@pytest.mark.parametrize("printed", [render, describe])
def test_a_printed_configuration_is_read_back_unchanged(printed: Callable[[Config], str], tmp_path: Path) -> None:
    values: dict[str, Value] = {
        "profiles": Path("/srv/a b: c"),
        "scoring": Path("/srv/numbers"),
        "model.name": "/models/#1",
        "audio.device": 'a "quoted" \\ device: 2 — é \u2028\U0001f3a4',
        "audio.source": "-",
        "audio.always_on": True,
        "speech.frame_ms": 30,
        "decision.threshold": -0.125,
        "socket.mode": 0o700,
        "access.monitor_group": "no",
    }
    config = build(values)
    assert set(changed_keys(Config(), config)) == set(values)
    file = tmp_path / "config.yaml"
    file.write_text(printed(config), encoding="utf-8")
    assert changed_keys(config, load_config(file, environment={})) == []


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_quoted_text_is_read_back_unchanged(text: str) -> None:
    assert yaml.safe_load(f"key: {quoted(text)}") == {"key": text}


def test_a_key_is_found_by_its_path() -> None:
    assert value_of(Config(), keys()["socket.mode"]) == 0o666
    assert [key.path for key in keys().values()] == list(keys())
