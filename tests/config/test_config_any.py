"""Property tests: any input either loads to values within their bounds, or is refused with a `ConfigError`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from config_files import NOWHERE
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.config.keys import keys, value_of
from voiceauthd.config.load import load_config
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError


def assert_within_bounds(config: Config) -> None:
    for key in keys().values():
        value = value_of(config, key)
        if value is None:
            assert key.optional
            continue
        assert type(value) in key.types or (Path in key.types and isinstance(value, Path))
        if key.setting.choices:
            assert value in key.setting.choices
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert math.isfinite(value)
            assert key.setting.low is None or key.setting.low <= value
            assert key.setting.high is None or value <= key.setting.high
        if isinstance(value, str):
            assert value
            assert "\0" not in value
        if isinstance(value, Path):
            assert value.is_absolute()
    assert config.speech.first <= config.speech.window
    assert config.verify.speech <= config.verify.max_speech


def assert_loads_or_refuses(folder: Path, data: bytes) -> None:
    file = folder / "config.yaml"
    file.write_bytes(data)
    try:
        config = load_config(file, environment=NOWHERE)
    except ConfigError as error:
        assert str(error).startswith(str(file))  # noqa: PT017  both outcomes are right
        return
    assert_within_bounds(config)


@pytest.fixture(scope="module")
def any_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SECTIONS = sorted({key.section for key in keys().values()} - {""})
NAMES = sorted({key.name for key in keys().values()})
LIKELY = ANYTHING | st.sampled_from(
    ["campplus", "auto", "fast", "0666", 0o666, 1, 2, 3.0, 1.5, True, "~/x", "-", "./x"]
)
DOCUMENTS = st.dictionaries(
    st.sampled_from([*SECTIONS, "profiles"]) | st.text(max_size=5),
    st.dictionaries(st.sampled_from(NAMES), LIKELY, max_size=6) | LIKELY,
    max_size=5,
)
WORDS = [
    "audio:",
    "speech:",
    "\n  ",
    "window: ",
    ".5",
    "- ",
    "? ",
    ": ",
    "&a ",
    "*a",
    "!t ",
    "%YAML",
    "---",
    "...",
    "<<",
]
SNIPPETS = st.sampled_from([*WORDS, *"1e{}[],'\"\\|>#~@`\t\n\u2028\x85é"])


@settings(max_examples=150, deadline=None)
@given(document=DOCUMENTS)
def test_any_document_loads_within_bounds_or_is_refused(any_folder: Path, document: object) -> None:
    assert_loads_or_refuses(any_folder, yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(max_examples=250, deadline=None)
@given(data=st.lists(SNIPPETS, max_size=30).map(lambda parts: "".join(parts).encode()) | st.binary(max_size=60))
def test_any_bytes_load_within_bounds_or_are_refused(any_folder: Path, data: bytes) -> None:
    assert_loads_or_refuses(any_folder, data)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(sorted(keys())), text=st.text(max_size=30) | st.floats().map(str) | st.integers().map(str))
def test_any_override_loads_within_bounds_or_is_refused(path: str, text: str) -> None:
    try:
        config = load_config(None, [f"{path}={text}"], NOWHERE)
    except ConfigError as error:
        assert "command line" in str(error)  # noqa: PT017  both outcomes are right
        return
    assert_within_bounds(config)
