"""Doctor's checks of the sound hardware: PortAudio, the microphone, who may open it."""

from __future__ import annotations

import grp
import math
import os
import time
from pathlib import Path

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import ExitCode, SourceError

LISTEN = 0.5
"""Seconds of sound that are measured."""

DEADLINE = 4.0
"""Seconds that the microphone has for it: a Bluetooth headset takes two to begin."""

QUIET_DBFS = -85.0
"""A level below this is no room that a microphone hears: it is muted, or nothing is plugged in."""


def check_portaudio(_machine: Machine) -> Check:
    """PortAudio loads and can list devices."""
    from voiceauthd.audio.portaudio import INSTALL, PORTAUDIO

    try:
        devices = PORTAUDIO.devices()
    except SourceError as problem:
        return failed("portaudio", problem, INSTALL, ExitCode.NO_MICROPHONE)
    return Check("portaudio", OK, f"loads, and lists {len(devices)} devices that can record")


def check_listed(machine: Machine) -> Check:
    """The configured microphone is there."""
    from voiceauthd.audio.portaudio import PORTAUDIO, choose

    if machine.config.audio.source != "microphone":
        return Check("microphone.listed", OK, f"not used: audio.source is {machine.config.audio.source!r}")
    try:
        device = choose(PORTAUDIO.devices(), machine.config.audio.device)
    except SourceError as problem:
        fix = "connect a microphone, start the sound server, or set audio.device"
        return failed("microphone.listed", problem, fix, ExitCode.NO_MICROPHONE)
    found = f"{device.index} {device.name!r} ({device.host}), {device.channels} channels at {device.rate} Hz"
    return Check("microphone.listed", OK, found)


def check_flows(machine: Machine) -> Check:
    """Sound comes out of the microphone, and it is neither dead silence nor clipped."""
    name = "microphone.flows"
    audio = machine.config.audio
    if audio.source != "microphone":
        return Check(name, OK, f"not used: audio.source is {audio.source!r}")
    if machine.status is not None and machine.status["source"]["state"] == "open":
        return Check(name, OK, f"the daemon listens to {machine.status['source']['description']}")
    import numpy as np

    from voiceauthd.audio.block import RATE, Samples
    from voiceauthd.audio.microphone import Microphone

    microphone = Microphone(audio.device, audio.block_ms, audio.stall)
    heard: list[Samples] = []
    limit = time.monotonic() + DEADLINE
    try:
        microphone.open()
        while sum(len(samples) for samples in heard) < LISTEN * RATE and time.monotonic() < limit:
            block = microphone.read(0.2)
            if block is not None:
                heard.append(block.samples)
    except SourceError as problem:
        fix = "see microphone.listed and audio.group; another program may hold the device"
        return failed(name, problem, fix, ExitCode.NO_MICROPHONE)
    finally:
        microphone.close()
    samples = np.concatenate(heard) if heard else np.zeros(0, dtype=np.float32)
    if len(samples) < LISTEN * RATE:
        return failed(name, f"no sound within {DEADLINE:.0f} s", "reconnect the microphone", ExitCode.NO_MICROPHONE)
    power = float(np.mean(samples.astype(np.float64) ** 2))
    level = 10.0 * math.log10(power) if power > 0 else -math.inf
    clipped = float(np.mean(np.abs(samples) >= 1.0))
    found = f"{microphone.description}: {level:.0f} dBFS over {LISTEN} s"
    if level < QUIET_DBFS:
        return Check(name, WARN, f"{found}: dead silence", "unmute the microphone, and raise its recording level")
    if clipped > 0.01:
        return Check(name, WARN, f"{found}: {clipped:.0%} clipped", "lower the recording level")
    return Check(name, OK, found)


def check_audio_group(_machine: Machine) -> Check:
    """This user may open sound devices: as root, through a sound server, or as a member of the group `audio`."""
    name = "audio.group"
    if os.geteuid() == 0:
        return Check(name, OK, "root may open every device")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))
    for server in ("pipewire-0", "pulse/native"):
        if (runtime / server).exists():
            return Check(name, OK, f"this user's sound server answers at {runtime / server}")
    try:
        group = grp.getgrnam("audio").gr_gid
    except KeyError:
        return Check(
            name, WARN, "no sound server of this user, and no group `audio` on this machine", "run a sound server"
        )
    if group in os.getgroups():
        return Check(name, OK, "this user is in the group `audio`")
    fix = "usermod -aG audio USER, and log in again; or run a sound server"
    return Check(name, WARN, "no sound server of this user, and not in the group `audio`", fix)
