"""A desktop user's own daemon, under the user's own systemd: it hears the sound server, from inside its sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import Box, wait_until
from installed import SERVICE, Caller, boot, call_as

UID = 1000
RUNTIME = f"/run/user/{UID}"
SOCKET_PATH = f"{RUNTIME}/voiceauthd/socket"
HOME = "/home/ann"
RECORDING = "/opt/checkout/daemon/voiceauthd/demo/voices/susan-1.flac"

FILES = {
    "/etc/sysusers.d/ann.conf": f'u ann {UID} "Ann" {HOME} /bin/bash\n',
    "/etc/tmpfiles.d/ann.conf": f"d {HOME} 0700 ann ann\n",
    "/root/asoundrc": "pcm.!default { type pulse }\nctl.!default { type pulse }\n",
}


def as_ann(box: Box, *command: str, check: bool = True) -> str:
    return box.run("env", f"XDG_RUNTIME_DIR={RUNTIME}", f"HOME={HOME}", *command, check=check, uid=UID)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A booted box with the user `ann` logged in, whose own units are enabled."""
    box = boot(tmp_path_factory.mktemp("user"), "model: {name: campplus}\n", files=FILES)
    try:
        box.run("mkdir", "-p", f"{HOME}/.cache/voiceauthd")
        box.run("cp", "-r", "/var/lib/voiceauthd/models", f"{HOME}/.cache/voiceauthd/models")
        box.run("cp", "/root/asoundrc", f"{HOME}/.asoundrc")
        box.run("chown", "-R", "ann:ann", HOME)
        box.run("systemctl", "start", f"user@{UID}.service")
        yield box
    finally:
        box.close()


def test_the_first_call_starts_it_as_that_user(box):
    assert box.path(SOCKET_PATH).stat().st_mode & 0o777 == 0o600
    assert as_ann(box, "systemctl", "--user", "is-active", SERVICE, check=False).strip() == "inactive"
    assert call_as(box, UID, SOCKET_PATH, "Info")["parameters"]["version"]
    pid = as_ann(box, "systemctl", "--user", "show", "--value", "--property=MainPID", SERVICE).strip()
    assert box.path(f"/proc/{pid}").stat().st_uid == UID
    wait_until(
        "it is ready", lambda: call_as(box, UID, SOCKET_PATH, "Status")["parameters"]["ready"] or None, seconds=60
    )
    assert box.path(f"{HOME}/.local/state/voiceauthd/profiles").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(shutil.which("pulseaudio") is None, reason="needs pulseaudio and pulseaudio-utils, to speak into")
@pytest.mark.skipif(not Path("/usr/share/alsa/alsa.conf").exists(), reason="needs ALSA's configuration")
def test_it_hears_speech_through_the_sound_server(box):
    as_ann(
        box,
        "pulseaudio",
        "-n",
        "--daemonize=yes",
        "--exit-idle-time=-1",
        "--realtime=no",
        "--high-priority=no",
        "--load=module-native-protocol-unix",
        "--load=module-null-sink sink_name=vmic rate=48000 channels=1",
    )
    as_ann(box, "pactl", "set-default-source", "vmic.monitor")
    listener = Caller(box, SOCKET_PATH)
    try:
        listener.send("Monitor", more=True)
        events = (reply["parameters"]["event"] for reply in iter(listener.receive, None))
        opened = next(event for event in events if event["kind"] == "source" and event["detail"].startswith("open:"))
        assert "microphone" in opened["detail"]
        as_ann(box, "paplay", "--device=vmic", RECORDING)
        window = next(event for event in events if event["kind"] == "window")
        assert window["decision"] == "unknown"  # nobody is enrolled
        assert window["quality"]["net_speech"] > 1.0
    finally:
        listener.close()
        as_ann(box, "pulseaudio", "--kill", check=False)


def test_it_stops_and_its_socket_stays(box):
    as_ann(box, "systemctl", "--user", "stop", SERVICE)
    result = as_ann(box, "systemctl", "--user", "show", "--value", "--property=Result", SERVICE).strip()
    assert result == "success"
    assert box.path(SOCKET_PATH).is_socket()
