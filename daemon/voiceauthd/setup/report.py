"""What `voiceauth service` and `voiceauth microphone` print."""

from __future__ import annotations

import os
from dataclasses import asdict, replace

from voiceauthd.config.load import find_config, load_config
from voiceauthd.doctor.service_kind import sound_access, suited
from voiceauthd.protocol.paths import find_socket
from voiceauthd.setup.microphone import measure_microphone, meter, recording_devices, verdict
from voiceauthd.setup.service import How, daemon_log, plan, running, socket_of, start
from voiceauthd.terminal.event_lines import counted
from voiceauthd.terminal.output import Output, plain
from voiceauthd.users import user_name


def show_service(output: Output) -> None:
    """Print which service suits this machine, and which daemon this user's programs find."""
    right, found = suited(sound_access()), running(find_socket())
    daemon = None if found is None else {"socket": found.socket, "pid": found.pid, "user": user_name(found.uid)}
    output.object({"suited": right.kind, "reason": right.reason, "owner": right.owner, "daemon": daemon})
    output.wrapped(f"suited   the {right.kind} service: {plain(right.reason)}", indent=9)
    text = "none" if found is None else f"{user_name(found.uid)}, process {found.pid}, on {found.socket}"
    output.line(f"running  {plain(text)}")


def start_and_show(wanted: How | None, output: Output) -> None:
    """Start the daemon unless it runs, and print how. Raises as `plan` and `start` do."""
    planned = plan(sound_access(), wanted)
    path = socket_of(planned.how)
    before = running(path)
    if before is None:
        start(planned.how)
    output.object({"started": before is None, "how": planned.how, "reason": planned.reason, "socket": path})
    if before is not None:
        output.line(f"a daemon already answers on {path}")
        return
    output.wrapped(f"started ({planned.how}: {planned.reason})", indent=2)
    log = f", its log is {daemon_log()}" if planned.how == "background" else ""
    output.wrapped(f"its socket is {path}{log}", indent=2)


def show_microphones(output: Output) -> None:
    """Print every device that can record. Raises `SourceError` if there is none."""
    for device in recording_devices():
        output.object(asdict(device))
        mark = "*" if device.default else " "
        channels = counted(device.channels, "channel")
        output.wrapped(f"{mark} {device.index:>3}  {plain(device.name)} ({plain(device.host)}, {channels})", indent=7)


def show_level(device: str | None, output: Output) -> None:
    """Record from the configured microphone, or from `device`, and print its level. Raises as `measure_microphone`."""
    audio = load_config(find_config(None, os.environ)).audio
    if device is not None:
        audio = replace(audio, device=int(device) if device.isdecimal() else device)
    level = measure_microphone(audio, lambda dbfs: output.progress(meter(dbfs)))
    output.clear()
    output.object(asdict(level))
    output.wrapped(f"level {meter(level.loudest)} at its loudest: {verdict(level)}")
