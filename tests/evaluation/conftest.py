"""Fixtures of this folder: `voiceauth evaluate` in this process, a trial list, a shared cache."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest
from evaluation_parts import demo_list
from models import campplus_cache

from voiceauthd.cli.main import main
from voiceauthd.errors import ExitCode


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache folder for embedded recordings, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The demo's recordings as a trial list."""
    return demo_list(tmp_path_factory.mktemp("demo") / "list")


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(cache, tmp_path, monkeypatch, capsys):
    """Run the command in this process, where the model's packages are loaded only once."""
    for name in [name for name in os.environ if name.startswith("VOICEAUTHD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VOICEAUTHD_MODEL_CACHE", str(campplus_cache()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))  # no calibration fitted on this machine

    def run(*arguments, code=ExitCode.OK):
        capsys.readouterr()
        result = Result(main(["evaluate", *map(str, arguments)]), *capsys.readouterr())
        assert result.returncode == code, result.stderr
        return result

    return run
