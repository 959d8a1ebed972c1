"""`voiceauth setup`: from nothing to a verified voice, with the real commands, daemon and sound server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_process import without_service
from models import campplus_cache
from virtual_mic import VirtualMic, virtual_mic  # noqa: F401  a fixture is used by its name
from voices import DEMO
from waiting import wait_until

from voiceauthd.errors import ExitCode

RATE = 16_000
MINUTES = 4
"""Length of the speech that is played: more than setup takes on a busy machine."""


def speech(folder: Path, minutes: float) -> Path:
    """One person who talks on and on, with a pause after each sentence."""
    sentences = [soundfile.read(file, dtype="float32")[0] for file in sorted(DEMO.glob("ralph-?.flac"))]
    pause = np.random.default_rng(0).normal(0.0, 1e-4, RATE // 2).astype(np.float32)
    once = np.concatenate([part for sentence in sentences for part in (sentence, pause)])
    file = folder / "talk.wav"
    soundfile.write(file, np.tile(once, int(minutes * 60 * RATE / len(once)) + 1), RATE)
    return file


class Home:
    """An empty home, and commands that run in it."""

    def __init__(self, folder: Path, microphone: VirtualMic, models: Path) -> None:
        self.folder = folder
        self.env = without_service(os.environ) | {
            "HOME": microphone.env["HOME"],  # which has ALSA's way to the sound server
            "XDG_RUNTIME_DIR": microphone.env["XDG_RUNTIME_DIR"],
            "XDG_CONFIG_HOME": str(folder / "config"),
            "STATE_DIRECTORY": str(folder / "state"),
            "RUNTIME_DIRECTORY": str(folder / "run"),
            "VOICEAUTHD_SOCKET": str(folder / "run" / "socket"),
            "VOICEAUTHD_MODEL_CACHE": str(models),
        }

    def run(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "voiceauthd.cli.main", *words],
            env=self.env,
            capture_output=True,
            text=True,
            input=text if text is not None else "",
            timeout=240,
            check=False,
        )

    def end(self) -> None:
        self.run("service", "stop")


@pytest.fixture
def home(virtual_mic: VirtualMic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:  # noqa: F811
    made = Home(tmp_path_factory.mktemp("h"), virtual_mic, campplus_cache())
    yield made
    made.end()


def test_from_nothing_to_an_accepted_verification_without_a_question(
    home: Home,
    virtual_mic: VirtualMic,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    talking = virtual_mic.play_async(speech(home.folder, MINUTES))
    began = time.monotonic()
    ended = home.run("setup", "--yes", "--name", "ralph")
    seconds = time.monotonic() - began
    shown = ended.stdout + ended.stderr
    with capsys.disabled():
        sys.stdout.write(f"\nsetup, from nothing to an accepted verification: {seconds:.1f} s\n")
    assert ended.returncode == ExitCode.OK, shown
    for command in ("microphone test", "service start", "enroll ralph", "verify ralph"):
        assert f"$ voiceauth {command}" in ended.stdout
    assert "campplus (auto: campplus is in the model cache" in ended.stdout
    assert "PulseAudio belongs to" in ended.stdout
    assert "accepted" in ended.stdout
    assert "Next:" in ended.stdout
    # Again: what is done is not done again.
    again = home.run("setup", "--yes", "--name", "ralph")
    assert again.returncode == ExitCode.OK, again.stdout + again.stderr
    assert "ralph is already enrolled" in again.stdout
    assert "a daemon already answers" in again.stdout
    talking.send_signal(signal.SIGTERM)
    assert home.run("service", "status").stdout.count("process") == 1
    assert home.run("service", "stop").returncode == ExitCode.OK
    assert home.run("service", "stop").returncode == ExitCode.NOT_RUNNING
    log = home.folder / "state" / "voiceauthd.log"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_silent_microphone_ends_it_with_what_to_do(home: Home) -> None:
    ended = home.run("setup", "--yes", "--name", "ralph")
    assert ended.returncode == ExitCode.NO_MICROPHONE
    assert "delivers silence: unmute it" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_daemon_that_cannot_start_is_reported_with_its_own_reason(home: Home) -> None:
    (home.folder / "run").mkdir()
    (home.folder / "run" / "socket").write_text("precious")
    ended = home.run("service", "start", "--background")
    assert ended.returncode == ExitCode.CONFIG
    assert "is not a socket" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_microphone_list_and_test_work_alone(home: Home, virtual_mic: VirtualMic) -> None:  # noqa: F811
    listed = home.run("microphone", "list")
    assert listed.returncode == ExitCode.OK
    assert "vmic" in listed.stdout
    virtual_mic.play_async(speech(home.folder, 0.5))
    wait_until("sound flows", lambda: "good" in home.run("microphone", "test").stdout)
    assert home.run("config", "set", "audio.device", "vmic").returncode == ExitCode.OK
    assert "device: vmic" in (home.folder / "config" / "voiceauthd" / "config.yaml").read_text()
    assert "good" in home.run("microphone", "test").stdout
    missing = home.run("microphone", "test", "--device", "no such microphone")
    assert missing.returncode == ExitCode.NO_MICROPHONE


def test_without_a_terminal_it_asks_nothing_and_says_so(home: Home) -> None:
    ended = home.run("setup")
    assert ended.returncode == ExitCode.USAGE
    assert "--yes" in ended.stderr
