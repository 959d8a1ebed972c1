"""Writing configuration files for tests, and reading the errors about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceauthd.config.load import load_config
from voiceauthd.errors import ConfigError, ExitCode

NOWHERE: dict[str, str] = {"HOME": "/home/nobody"}


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refusal(file: Path | None, *overrides: str, environment: dict[str, str] | None = None) -> list[str]:
    """The lines of the error message, without the folder of the file."""
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides, NOWHERE if environment is None else environment)
    assert caught.value.exit_code is ExitCode.CONFIG
    prefix = f"{file.parent}/" if file is not None else "\0"
    return [line.removeprefix(prefix) for line in str(caught.value).split("\n")]
