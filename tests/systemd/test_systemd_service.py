"""The shipped units under a real systemd: socket activation, watchdog, restart, reload and stop.

A recording replaces the microphone, a stub the model, and the watchdog's timeout is shorter than in the shipped unit.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from container import Container
from installed import CONFIG, PYTHON, SECONDS_TO_READY, SERVICE, SOCKET, STUB, boot, call_as, wait_active
from installed import call as call_at
from waiting import wait_until

from voiceauthd.errors import ExitCode

SOCKET_PATH = "/run/voiceauthd/socket"

WATCHDOG_SECONDS = 4

PLAIN_UID = 1
"""A user that is neither root nor the daemon's: Debian's `daemon`."""

RECORDING = "/opt/checkout/daemon/voiceauthd/demo/voices/ralph-1.flac"
"""Replaces the microphone, which a container does not have."""


def settings(margin: str = "0.05") -> str:
    return f"model: {{name: campplus}}\naudio: {{source: {RECORDING}}}\ndecision: {{margin: {margin}}}\n"


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A booted container in which the daemon is not started yet."""
    container = boot(tmp_path_factory.mktemp("system"), settings(), f"WatchdogSec={WATCHDOG_SECONDS}\n{STUB}")
    try:
        yield container
    finally:
        container.close()


def call(container: Container, method: str, **parameters: object) -> dict[str, Any] | None:
    return call_at(container, SOCKET_PATH, method, **parameters)


def main_pid(container: Container) -> str:
    return container.show(SERVICE, "MainPID")


def journal(container: Container) -> str:
    return container.run("journalctl", "--no-pager", "--output=cat", f"--unit={SERVICE}")


def journal_of_manager(container: Container) -> str:
    return container.run("journalctl", "--no-pager", "--output=cat", f"UNIT={SERVICE}")


@pytest.fixture
def running(container: Container) -> str:
    """The process id of a ready daemon, in the container."""
    container.write(CONFIG, settings())
    container.run("systemctl", "reset-failed", SERVICE, SOCKET)
    container.run("systemctl", "start", SOCKET, SERVICE)
    return wait_active(container)


def restarted(container: Container, before: str, seconds: float) -> str:
    """Wait until another process than `before` is ready, and return its id."""

    def probe() -> bool:
        return container.show(SERVICE, "ActiveState") == "active" and main_pid(container) not in {"0", before}

    wait_until("the service is restarted", probe, seconds)
    return main_pid(container)


def test_what_root_runs_before_the_first_start_leaves_the_service_s_state_alone(container):
    def as_root(*words: str) -> subprocess.CompletedProcess[str]:
        environment = ("PYTHONPATH=/opt/checkout/daemon:/opt/packages", "LD_LIBRARY_PATH=/opt/python/lib")
        command = container.inside("env", *environment, PYTHON, "-m", "voiceauthd.cli.main", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd="/")

    def state() -> str:
        return container.run("find", "/var/lib/voiceauthd", "-not", "-path", "*/models*", "-printf", "%p %u\n")

    before = state()
    assert before.split() == ["/var/lib/voiceauthd", "voiceauthd"]
    followed = as_root("run", RECORDING, "--pace", "fast")
    assert followed.returncode == 0, followed.stderr
    assert "unknown" in followed.stdout
    served = as_root("run", "--source", "-")
    assert served.returncode == ExitCode.STORAGE
    assert "belongs to voiceauthd, and this is root: run this as voiceauthd" in served.stderr
    assert "locked" not in followed.stderr + served.stderr
    assert "damaged" not in followed.stderr + served.stderr
    assert state() == before


def test_the_socket_exists_before_the_daemon_and_the_first_call_starts_it(container):
    assert container.show(SOCKET, "ActiveState") == "active"
    assert container.path(SOCKET_PATH).is_socket()
    assert container.path(SOCKET_PATH).stat().st_mode & 0o777 == 0o666
    assert container.path(SOCKET_PATH).parent.stat().st_uid == 0
    assert container.show(SERVICE, "ActiveState") == "inactive"

    answer = call(container, "Info")
    assert answer is not None
    assert answer["parameters"]["version"]

    assert wait_active(container) != "0"
    assert container.show(SERVICE, "NotifyAccess") == "main"
    assert "spectrum" in container.show(SERVICE, "StatusText")
    assert call(container, "Status")["parameters"]["ready"] is True


def test_the_daemon_runs_as_its_own_user_without_privileges(container, running):
    facts = dict(
        line.split(":\t", 1)
        for line in container.path(f"/proc/{running}/status").read_text().splitlines()
        if ":\t" in line
    )
    user = container.run("id", "--user", "voiceauthd").strip()
    audio = container.run("getent", "group", "audio").split(":")[2]
    assert set(facts["Uid"].split()) == {user}
    assert user != "0"
    assert audio in facts["Groups"].split()
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    assert {int(facts[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}

    state = container.path("/var/lib/voiceauthd")
    assert state.stat().st_mode & 0o777 == 0o700
    assert state.stat().st_uid == int(user)
    as_it_sees = container.path(f"/proc/{running}/root")
    assert not list((as_it_sees / "root").iterdir())
    with pytest.raises(OSError, match="Read-only"):
        (as_it_sees / "etc/voiceauthd/written").touch()


def test_the_daemon_distinguishes_its_callers(container, running):
    assert call(container, "DeleteProfile", name="nobody-here")["error"] == "org.voiceauthd.NotEnrolled"
    assert str(call_as(container, PLAIN_UID, SOCKET_PATH, "Reload")["error"]).endswith(".PermissionDenied")
    assert call_as(container, PLAIN_UID, SOCKET_PATH, "Info")["parameters"]["version"]


def test_a_reload_changes_the_configuration_of_the_same_process(container, running):
    container.write(CONFIG, settings(margin="0.07"))
    container.run("systemctl", "reload", SERVICE)
    wait_until("the change is applied", lambda: "reloaded: decision.margin" in journal(container), 10)

    container.write(CONFIG, settings(margin="much"))
    container.run("systemctl", "reload", SERVICE)
    wait_until("the broken change is refused", lambda: "not reloaded" in journal(container), 10)
    assert main_pid(container) == running
    assert container.show(SERVICE, "ActiveState") == "active"
    assert call(container, "Status")["parameters"]["ready"] is True


def test_a_daemon_that_hangs_is_killed_and_restarted(container, running):
    restarts = int(container.show(SERVICE, "NRestarts"))
    container.run("kill", "-STOP", running)
    restarted(container, running, WATCHDOG_SECONDS + SECONDS_TO_READY)
    assert int(container.show(SERVICE, "NRestarts")) == restarts + 1
    assert "Watchdog timeout" in journal_of_manager(container)
    assert call(container, "Status")["parameters"]["ready"] is True


def test_a_daemon_that_makes_progress_is_not_killed(container, running):
    began = int(container.show(SERVICE, "ActiveEnterTimestampMonotonic")) / 1e6
    long_enough = began + 1.5 * WATCHDOG_SECONDS
    wait_until("a hanging daemon would have been killed", lambda: time.monotonic() > long_enough, 30)
    assert main_pid(container) == running


def test_a_crash_is_followed_by_a_restart_and_the_socket_stays(container, running):
    inode = container.path(SOCKET_PATH).stat().st_ino
    container.run("kill", "-KILL", running)
    restarted(container, running, SECONDS_TO_READY)
    assert container.path(SOCKET_PATH).stat().st_ino == inode
    assert call(container, "Status")["parameters"]["ready"] is True


def test_the_daemon_stops_within_two_seconds_and_the_next_call_starts_it_again(container, running):
    began = time.monotonic()
    container.run("systemctl", "stop", SERVICE)
    took = time.monotonic() - began
    assert took < 2.0
    assert container.show(SERVICE, "Result") == "success"
    assert container.show(SERVICE, "ExecMainStatus") == "0"
    assert container.path(SOCKET_PATH).is_socket()
    assert call(container, "Info")["parameters"]["version"]
    wait_active(container)


def test_the_service_is_not_restarted_with_a_refused_configuration(container, running):
    container.run("systemctl", "stop", SERVICE)
    container.write(CONFIG, settings(margin="much"))
    restarts = container.show(SERVICE, "NRestarts")
    assert call(container, "Info") is None
    wait_until("the service has failed", lambda: container.show(SERVICE, "ActiveState") == "failed", SECONDS_TO_READY)
    assert container.show(SERVICE, "ExecMainStatus") == "9"
    assert container.show(SERVICE, "NRestarts") == restarts
    assert "decision.margin" in journal(container)
    assert container.show(SOCKET, "ActiveState") == "active"

    container.write(CONFIG, settings())
    assert call(container, "Info")["parameters"]["version"]


def test_stopping_the_socket_unit_removes_the_socket(container):
    container.run("systemctl", "stop", SERVICE)
    container.run("systemctl", "start", SOCKET)
    assert container.path(SOCKET_PATH).is_socket()
    container.run("systemctl", "stop", SOCKET)
    assert os.listdir(container.path(SOCKET_PATH).parent) == []
