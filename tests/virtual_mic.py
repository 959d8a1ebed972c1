"""A microphone without audio hardware: PulseAudio with null sinks, whose monitors are the microphones.

Used as the fixture `virtual_mic`. Programs under test must run as child processes with `virtual_mic.env`, in which
PortAudio finds the devices "default" and "pulse", and one named after each sink.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
LIBRARIES = (Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu*"))


class VirtualMic:
    """A separate PulseAudio in its own runtime folder. Its default source is the monitor of the sink `vmic`.

    env     the environment for child processes
    server  the PulseAudio process
    """

    def __init__(self) -> None:
        self.runtime = Path(tempfile.mkdtemp(prefix="vmic-"))
        self.runtime.chmod(0o700)
        self.env = os.environ | {"XDG_RUNTIME_DIR": str(self.runtime), "HOME": str(self.runtime / "home")}
        for name in ("PULSE_SERVER", "PULSE_RUNTIME_PATH", "XDG_CONFIG_HOME", "ALSA_CONFIG_PATH"):
            self.env.pop(name, None)
        (self.runtime / "home").mkdir()
        self._modules: dict[str, str] = {}
        self._players: list[subprocess.Popen[bytes]] = []
        self._write_asoundrc()
        self.server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--load=module-native-protocol-unix"],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._await_server()
            self.add_sink("vmic")
            self.set_default("vmic")
        except BaseException:
            self.close()
            raise

    def play(self, path: Path | str, sink: str = "vmic") -> None:
        """Play a WAV, FLAC or OGG file to its end."""
        subprocess.run(self._player(path, sink), env=self.env, check=True, timeout=120)

    def play_async(self, path: Path | str, sink: str = "vmic") -> subprocess.Popen[bytes]:
        """Start playing a file. The player ends with the file, or with the virtual microphone."""
        player = subprocess.Popen(self._player(path, sink), env=self.env)
        self._players.append(player)
        return player

    def add_sink(self, name: str, rate: int = 48000, channels: int = 1) -> None:
        """Plug in a microphone. PortAudio lists it under `name` when it is next initialised."""
        # Without norewinds a null sink buffers 2 s ahead, so that audio is recorded up to 2 s late.
        self._modules[name] = self._pactl(
            "load-module",
            "module-null-sink",
            f"sink_name={name}",
            f"rate={rate}",
            f"channels={channels}",
            "norewinds=1",
        )
        self._write_asoundrc()

    def remove_sink(self, name: str = "vmic") -> None:
        """Unplug a microphone: programs that record from it lose the stream."""
        self._pactl("unload-module", self._modules.pop(name))
        self._write_asoundrc()

    def set_default(self, name: str) -> None:
        """Make it the microphone that is used when none is named."""
        self._pactl("set-default-source", f"{name}.monitor")

    def close(self) -> None:
        """End the processes that this object started."""
        for process in (*self._players, self.server):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _player(self, path: Path | str, sink: str) -> list[str]:
        return ["paplay", f"--device={sink}", "--latency-msec=50", str(path)]

    def _pactl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pactl", *arguments], env=self.env, check=True, timeout=10, capture_output=True, encoding="utf-8"
        )
        return done.stdout.strip()

    def _await_server(self) -> None:
        deadline = time.monotonic() + 15
        while subprocess.run(["pactl", "info"], env=self.env, check=False, capture_output=True).returncode != 0:
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("pulseaudio does not start")
            time.sleep(0.05)

    def _write_asoundrc(self) -> None:
        lines = ["pcm.!default { type pulse }", "ctl.!default { type pulse }"]
        lines += [
            f'pcm.{name} {{ type pulse device "{name}.monitor" hint {{ show on description "{name}" }} }}'
            for name in self._modules
        ]
        new = self.runtime / "home" / "asoundrc.new"
        new.write_text("\n".join(lines) + "\n")
        new.rename(new.with_name(".asoundrc"))


def what_is_missing() -> str | None:
    """Return why there is no virtual microphone on this machine, and what to install; None if there is one."""
    for program, package in (
        ("pulseaudio", "pulseaudio"),
        ("pactl", "pulseaudio-utils"),
        ("paplay", "pulseaudio-utils"),
    ):
        if shutil.which(program) is None:
            return f"no virtual microphone: {program} is missing (apt install {package})"
    if ctypes.util.find_library("portaudio") is None:
        return "no virtual microphone: PortAudio is missing (apt install libportaudio2)"
    if not any((folder / PLUGIN).exists() for folder in LIBRARIES):
        return "no virtual microphone: ALSA's plugin for PulseAudio is missing (apt install libasound2-plugins)"
    return None


@pytest.fixture
def virtual_mic():
    """A `VirtualMic` for one test. Skips the test on a machine without the programs."""
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    mic = VirtualMic()
    yield mic
    mic.close()
