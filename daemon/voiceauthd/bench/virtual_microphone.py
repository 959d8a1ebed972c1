"""A microphone without sound hardware: a private PulseAudio server, with a null sink whose monitor is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

import soundfile

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.bench.child_daemon import stop_process
from voiceauthd.bench.report import NotMeasuredError

SINK_NAME = "bench"

START_LIMIT = 15.0
"""Seconds for PulseAudio to answer."""

_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class VirtualMicrophone:
    """The default microphone of every program that runs with `environment`, inside the `with` block.

    It runs at 48 kHz, so that the daemon resamples, as it does for most real microphones.
    """

    def __init__(self, folder: Path) -> None:
        """folder: for PulseAudio's files; created if missing. Raises `NotMeasuredError` if a program is missing."""
        for program in ("pulseaudio", "pactl", "paplay"):
            if shutil.which(program) is None:
                raise NotMeasuredError(f"{program} is not installed (Debian: pulseaudio, pulseaudio-utils)")
        self._folder = folder
        self._home = folder / "home"
        replaced = ("PULSE_SERVER", "PULSE_RUNTIME_PATH", "XDG_CONFIG_HOME", "ALSA_CONFIG_PATH")
        kept = {key: value for key, value in os.environ.items() if key not in replaced}
        self.environment = kept | {"XDG_RUNTIME_DIR": str(folder), "HOME": str(self._home)}
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> VirtualMicrophone:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.mkdir(exist_ok=True)
        (self._home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self._server = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--load=module-native-protocol-unix",
                # Without norewinds a null sink fills 2 s ahead.
                f"--load=module-null-sink sink_name={SINK_NAME} rate=48000 channels=1 norewinds=1",
            ],
            env=self.environment,
            start_new_session=True,
            **_QUIET,  # type: ignore[call-overload]  # mypy cannot match a mapping with overloads
        )
        try:
            self._wait_for_server()
        except BaseException:
            stop_process(self._server)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            stop_process(self._server)

    def play_to_end(self, samples: Samples) -> None:
        """Play 16 kHz samples into the microphone, in real time."""
        player = self.play(samples)
        try:
            player.wait(len(samples) / RATE + START_LIMIT)
        except subprocess.TimeoutExpired:
            raise NotMeasuredError("PulseAudio does not play") from None
        finally:
            stop_process(player)

    def play(self, samples: Samples) -> subprocess.Popen[bytes]:
        """Start playing 16 kHz samples into the microphone. End it with `stop_process`."""
        file = self._folder / "played.wav"
        soundfile.write(file, samples, RATE, subtype="PCM_16")
        player: subprocess.Popen[bytes] = subprocess.Popen(
            ["paplay", f"--device={SINK_NAME}", "--latency-msec=500", str(file)],
            env=self.environment,
            start_new_session=True,
            **_QUIET,  # type: ignore[call-overload]  # as above
        )
        return player

    def _wait_for_server(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while True:
            command = ["pactl", "set-default-source", f"{SINK_NAME}.monitor"]
            result = subprocess.run(
                command, env=self.environment, check=False, timeout=START_LIMIT, capture_output=True
            )
            if result.returncode == 0:
                return
            if (self._server is not None and self._server.poll() is not None) or time.monotonic() > deadline:
                raise NotMeasuredError("PulseAudio does not start here")
            time.sleep(0.05)
