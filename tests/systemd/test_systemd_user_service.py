"""A desktop user's own daemon under the user's systemd, with the sound server as its microphone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import Container
from installed import PYTHON, SERVICE, SOCKET, Caller, boot, call_as
from waiting import wait_until

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


def as_ann(container: Container, *command: str, check: bool = True) -> str:
    return container.run("env", f"XDG_RUNTIME_DIR={RUNTIME}", f"HOME={HOME}", *command, check=check, uid=UID)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A booted container with a manager for the user `ann`, whose units are enabled."""
    container = boot(tmp_path_factory.mktemp("user"), "model: {name: campplus}\n", files=FILES)
    try:
        container.run("mkdir", "-p", f"{HOME}/.cache/voiceauthd")
        container.run("cp", "-r", "/var/lib/voiceauthd/models", f"{HOME}/.cache/voiceauthd/models")
        container.run("cp", "/root/asoundrc", f"{HOME}/.asoundrc")
        container.run("chown", "-R", "ann:ann", HOME)
        container.run("systemctl", "start", f"user@{UID}.service")
        yield container
    finally:
        container.close()


def test_the_first_call_starts_the_daemon_as_that_user(container):
    assert container.path(SOCKET_PATH).stat().st_mode & 0o777 == 0o600
    assert as_ann(container, "systemctl", "--user", "is-active", SERVICE, check=False).strip() == "inactive"
    assert call_as(container, UID, SOCKET_PATH, "Info")["parameters"]["version"]
    pid = as_ann(container, "systemctl", "--user", "show", "--value", "--property=MainPID", SERVICE).strip()
    assert container.path(f"/proc/{pid}").stat().st_uid == UID
    wait_until(
        "the daemon is ready",
        lambda: call_as(container, UID, SOCKET_PATH, "Status")["parameters"]["ready"] or None,
        seconds=60,
    )
    assert container.path(f"{HOME}/.local/state/voiceauthd/profiles").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(shutil.which("pulseaudio") is None, reason="needs pulseaudio and pulseaudio-utils, to speak into")
@pytest.mark.skipif(not Path("/usr/share/alsa/alsa.conf").exists(), reason="needs ALSA's configuration")
def test_the_daemon_receives_speech_through_the_sound_server(container):
    as_ann(
        container,
        "pulseaudio",
        "-n",
        "--daemonize=yes",
        "--exit-idle-time=-1",
        "--realtime=no",
        "--high-priority=no",
        "--load=module-native-protocol-unix",
        "--load=module-null-sink sink_name=vmic rate=48000 channels=1",
    )
    as_ann(container, "pactl", "set-default-source", "vmic.monitor")
    listener = Caller(container, SOCKET_PATH)
    try:
        listener.send("Monitor", more=True)
        events = (reply["parameters"]["event"] for reply in iter(listener.receive, None))
        opened = next(event for event in events if event["kind"] == "source" and event["detail"].startswith("open:"))
        assert "microphone" in opened["detail"]
        as_ann(container, "paplay", "--device=vmic", RECORDING)
        window = next(event for event in events if event["kind"] == "window")
        assert window["decision"] == "unknown"  # nobody is enrolled
        assert window["quality"]["net_speech"] > 1.0
    finally:
        listener.close()
        as_ann(container, "pulseaudio", "--kill", check=False)


def test_the_daemon_stops_and_its_socket_stays(container):
    as_ann(container, "systemctl", "--user", "stop", SERVICE)
    result = as_ann(container, "systemctl", "--user", "show", "--value", "--property=Result", SERVICE).strip()
    assert result == "success"
    assert container.path(SOCKET_PATH).is_socket()


def test_the_service_command_installs_starts_and_stops_it_for_this_user(container):
    voiceauth = ("env", "PYTHONPATH=/opt/checkout/daemon:/opt/packages", "LD_LIBRARY_PATH=/opt/python/lib", PYTHON)
    voiceauth += ("-m", "voiceauthd.cli.main", "service")
    as_ann(container, "systemctl", "--user", "stop", SOCKET, SERVICE)
    assert "started (user: as asked for)" in as_ann(container, *voiceauth, "start", "--user")
    assert as_ann(container, "systemctl", "--user", "is-enabled", SOCKET).strip() == "enabled"
    unit = container.path(f"{HOME}/.config/systemd/user/{SERVICE}").read_text()
    assert f"ExecStart={PYTHON} -m voiceauthd.service.main\n" in unit
    assert call_as(container, UID, SOCKET_PATH, "Info")["parameters"]["version"]
    assert "ann" in as_ann(container, *voiceauth, "status")
    assert "stopped the user service" in as_ann(container, *voiceauth, "stop")
    assert as_ann(container, "systemctl", "--user", "is-active", SOCKET, check=False).strip() == "inactive"
    assert "no daemon listens" in container.run(
        "sh", "-c", "exec 2>&1; " + " ".join([*voiceauth, "stop"]), check=False, uid=UID
    )
