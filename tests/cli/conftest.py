"""Fixtures for the tests of `voiceauth calibrate` and `voiceauth cohort`, which run in this process."""

from __future__ import annotations

import shutil

import pytest
from calibrate_parts import Finished, configure, own_folder, write_speech
from models import tiny_wavlm

from voiceauthd.cli.main import main
from voiceauthd.errors import ExitCode


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    return write_speech(tmp_path_factory.mktemp("speech") / "people")


@pytest.fixture(scope="session")
def wavlm(tmp_path_factory):
    return tiny_wavlm(tmp_path_factory.mktemp("model") / "tiny-wavlm", seed=2)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The cache of embeddings, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def model(wavlm):
    from voiceauthd.config.schema import ModelConfig
    from voiceauthd.embed.load import load_embedder

    return load_embedder(ModelConfig(name=str(wavlm))).model


@pytest.fixture
def config(tmp_path, wavlm, cache, monkeypatch):
    """A configuration for this test alone."""
    return configure(tmp_path, wavlm, cache, monkeypatch)


@pytest.fixture
def command(config, capsys):
    """Runs the command, which must end with `code`."""

    def run(*arguments, code=ExitCode.OK):
        capsys.readouterr()
        returned = main([str(argument) for argument in arguments])
        finished = Finished(*capsys.readouterr())
        assert returned == code, finished.stderr
        return finished

    return run


@pytest.fixture(scope="session")
def calibration_folder(tmp_path_factory, speech, wavlm, cache):
    """A folder with a cohort and a calibration made from the speech."""
    folder = tmp_path_factory.mktemp("calibration")
    with pytest.MonkeyPatch.context() as patch:
        configure(folder, wavlm, cache, patch)
        assert main(["calibrate", str(speech), "--output", str(folder / "made")]) == ExitCode.OK
    return folder / "made"


@pytest.fixture
def calibrated(config, model, calibration_folder):
    """The same, where the daemon looks."""
    own = own_folder(config, model)
    shutil.copytree(calibration_folder, own)
    return own
