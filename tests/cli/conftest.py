"""Speech, a model and the command in this process, for the tests of `voiceauth calibrate` and `voiceauth cohort`."""

from __future__ import annotations

import shutil

import pytest
from calibrate_parts import Ended, configure, own_folder, write_speech
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
def heard(tmp_path_factory):
    """The cache of what was heard, for all tests."""
    return tmp_path_factory.mktemp("heard")


@pytest.fixture(scope="session")
def model(wavlm):
    from voiceauthd.config.schema import ModelConfig
    from voiceauthd.embed.load import load_embedder

    return load_embedder(ModelConfig(name=str(wavlm))).model


@pytest.fixture
def config(tmp_path, wavlm, heard, monkeypatch):
    """A configuration of this test's own."""
    return configure(tmp_path, wavlm, heard, monkeypatch)


@pytest.fixture
def command(config, capsys):
    """The command, which must end with `code`."""

    def run(*arguments, code=ExitCode.OK):
        capsys.readouterr()
        returned = main([str(argument) for argument in arguments])
        ended = Ended(*capsys.readouterr())
        assert returned == code, ended.stderr
        return ended

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory, speech, wavlm, heard):
    """What the command made of the speech, once: the folder with cohort and calibration."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        configure(folder, wavlm, heard, patch)
        assert main(["calibrate", str(speech), "--output", str(folder / "made")]) == ExitCode.OK
    return folder / "made"


@pytest.fixture
def calibrated(config, model, made):
    """The same where the daemon looks."""
    own = own_folder(config, model)
    shutil.copytree(made, own)
    return own
