"""Doctor's checks of the audio hardware: PortAudio, the microphone, and who may open it."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import ExitCode, SourceError
from voiceauthd.users import user_name

LISTEN_SECONDS = 0.5
"""Seconds of audio that are measured."""


def check_portaudio(_machine: Machine) -> Check:
    """PortAudio loads and can list devices."""
    from voiceauthd.audio.portaudio import INSTALL_HINT, PORTAUDIO

    try:
        devices = PORTAUDIO.devices()
    except SourceError as problem:
        return failed("portaudio", problem, INSTALL_HINT, ExitCode.NO_MICROPHONE)
    return Check("portaudio", OK, f"loads, and lists {len(devices)} devices that can record")


def check_listed(machine: Machine) -> Check:
    """The configured microphone exists."""
    from voiceauthd.audio.portaudio import PORTAUDIO, choose_device

    if machine.config.audio.source != "microphone":
        return Check("microphone.listed", OK, f"not used: audio.source is {machine.config.audio.source!r}")
    if machine.of_another_user:
        return _as_the_daemon_says("microphone.listed", machine)
    try:
        device = choose_device(PORTAUDIO.devices(), machine.config.audio.device)
    except SourceError as problem:
        fix = "connect a microphone, start the sound server, or set audio.device"
        return failed("microphone.listed", problem, fix, ExitCode.NO_MICROPHONE)
    found = f"{device.index} {device.name!r} ({device.host}), {device.channels} channels at {device.rate} Hz"
    return Check("microphone.listed", OK, found)


def check_flows(machine: Machine) -> Check:
    """The microphone delivers audio that is neither silent nor clipped."""
    name = "microphone.flows"
    audio = machine.config.audio
    if audio.source != "microphone":
        return Check(name, OK, f"not used: audio.source is {audio.source!r}")
    if machine.of_another_user:
        return _as_the_daemon_says(name, machine)
    if machine.status is not None and machine.status["source"]["state"] == "open":
        return Check(name, OK, f"the daemon listens to {machine.status['source']['description']}")
    from voiceauthd.audio.level import CHANNEL_FIX, MAX_CLIPPING, MUTED_DBFS, measure_level
    from voiceauthd.audio.microphone import Microphone

    microphone = Microphone(audio.device, audio.block_ms, audio.stall)
    try:
        level = measure_level(microphone, LISTEN_SECONDS)
    except SourceError as problem:
        fix = "see microphone.listed and audio.group; another program may hold the device"
        return failed(name, problem, fix, ExitCode.NO_MICROPHONE)
    found = f"{microphone.description}: {level.average:.0f} dBFS over {LISTEN_SECONDS} s"
    if level.average < MUTED_DBFS:
        return Check(name, WARN, f"{found}: dead silence", "unmute the microphone, and raise its recording level")
    if level.clipping > MAX_CLIPPING:
        return Check(name, WARN, f"{found}: {level.clipping:.0%} clipped", "lower the recording level")
    if level.channels is not None:
        return Check(name, WARN, f"{found}: {level.channels}", CHANNEL_FIX)
    return Check(name, OK, found)


def _as_the_daemon_says(name: str, machine: Machine) -> Check:
    """The microphone of a daemon that runs as another user, which this user may not be able to open."""
    assert machine.status is not None
    source = machine.status["source"]
    if source["state"] == "lost":
        fix = "connect a microphone, start the sound server, or set audio.device"
        return failed(name, source.get("problem") or source["description"], fix, ExitCode.NO_MICROPHONE)
    user = user_name(machine.runs_as or 0)
    found = f"{source['description']}, {source['state']}, says the daemon of {user}"
    return Check(name, OK, f"{found}; `sudo -u {user} voiceauth doctor` tries it")


def check_audio_group(machine: Machine) -> Check:
    """This user may open sound devices: as root, through a sound server, or as a member of the group `audio`."""
    name = "audio.group"
    if machine.of_another_user:
        return Check(name, OK, f"not needed by this user: the daemon of {user_name(machine.runs_as or 0)} records")
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
