"""The shipped units under a real systemd: started by the first call, watched, restarted, reloaded, stopped.

A recording stands in for the microphone, and the watchdog has less patience than the shipped one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from box import Box, wait_until
from installed import CONFIG, SECONDS_TO_READY, SERVICE, SOCKET, boot, call_as, wait_active
from installed import call as call_at

SOCKET_PATH = "/run/voiceauthd/socket"

WATCHDOG_SECONDS = 4

PLAIN_UID = 1
"""Some user that is neither root nor the daemon's: Debian's `daemon`."""

RECORDING = "/opt/checkout/daemon/voiceauthd/demo/voices/ralph-1.flac"
"""In place of a microphone, which a box does not have."""


def settings(margin: str = "0.05") -> str:
    return f"model: {{name: campplus}}\naudio: {{source: {RECORDING}}}\ndecision: {{margin: {margin}}}\n"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A booted box in which nobody has called the daemon yet."""
    box = boot(tmp_path_factory.mktemp("system"), settings(), f"WatchdogSec={WATCHDOG_SECONDS}\n")
    try:
        box.run("chown", "-R", "voiceauthd:", "/var/lib/voiceauthd/models")
        yield box
    finally:
        box.close()


def call(box: Box, method: str, **parameters: object) -> dict[str, Any] | None:
    return call_at(box, SOCKET_PATH, method, **parameters)


def main_pid(box: Box) -> str:
    return box.show(SERVICE, "MainPID")


def journal(box: Box) -> str:
    return box.run("journalctl", "--no-pager", "--output=cat", f"--unit={SERVICE}")


def journal_of_manager(box: Box) -> str:
    return box.run("journalctl", "--no-pager", "--output=cat", f"UNIT={SERVICE}")


@pytest.fixture
def running(box: Box) -> str:
    """The process id, in the box, of a daemon that is ready."""
    box.write(CONFIG, settings())
    box.run("systemctl", "reset-failed", SERVICE, SOCKET)
    box.run("systemctl", "start", SOCKET, SERVICE)
    return wait_active(box)


def restarted(box: Box, before: str, seconds: float) -> str:
    """Waits until another process is ready in place of `before`."""

    def probe() -> bool:
        return box.show(SERVICE, "ActiveState") == "active" and main_pid(box) not in {"0", before}

    wait_until("the service is back with another process", probe, seconds)
    return main_pid(box)


def test_the_socket_is_there_before_the_daemon_and_the_first_call_starts_it(box):
    assert box.show(SOCKET, "ActiveState") == "active"
    assert box.path(SOCKET_PATH).is_socket()
    assert box.path(SOCKET_PATH).stat().st_mode & 0o777 == 0o666
    assert box.path(SOCKET_PATH).parent.stat().st_uid == 0
    assert box.show(SERVICE, "ActiveState") == "inactive"

    answer = call(box, "Info")
    assert answer is not None
    assert answer["parameters"]["version"]

    assert wait_active(box) != "0"
    assert box.show(SERVICE, "NotifyAccess") == "main"
    assert "campplus" in box.show(SERVICE, "StatusText")
    assert call(box, "Status")["parameters"]["ready"] is True


def test_the_daemon_is_a_user_of_its_own_without_privileges(box, running):
    facts = dict(
        line.split(":\t", 1) for line in box.path(f"/proc/{running}/status").read_text().splitlines() if ":\t" in line
    )
    user = box.run("id", "--user", "voiceauthd").strip()
    audio = box.run("getent", "group", "audio").split(":")[2]
    assert set(facts["Uid"].split()) == {user}
    assert user != "0"
    assert audio in facts["Groups"].split()
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    assert {int(facts[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}

    state = box.path("/var/lib/voiceauthd")
    assert state.stat().st_mode & 0o777 == 0o700
    assert state.stat().st_uid == int(user)
    as_it_sees = box.path(f"/proc/{running}/root")
    assert not list((as_it_sees / "root").iterdir())
    with pytest.raises(OSError, match="Read-only"):
        (as_it_sees / "etc/voiceauthd/written").touch()


def test_the_daemon_knows_who_calls(box, running):
    assert call(box, "DeleteProfile", name="nobody-here")["error"] == "org.voiceauthd.NotEnrolled"
    assert str(call_as(box, PLAIN_UID, SOCKET_PATH, "Reload")["error"]).endswith(".PermissionDenied")
    assert call_as(box, PLAIN_UID, SOCKET_PATH, "Info")["parameters"]["version"]


def test_a_reload_changes_the_configuration_of_the_same_process(box, running):
    box.write(CONFIG, settings(margin="0.07"))
    box.run("systemctl", "reload", SERVICE)
    wait_until("the change is in use", lambda: "reloaded: decision.margin" in journal(box), 10)

    box.write(CONFIG, settings(margin="much"))
    box.run("systemctl", "reload", SERVICE)
    wait_until("the broken change is refused", lambda: "not reloaded" in journal(box), 10)
    assert main_pid(box) == running
    assert box.show(SERVICE, "ActiveState") == "active"
    assert call(box, "Status")["parameters"]["ready"] is True


def test_a_daemon_that_hangs_is_killed_and_started_again(box, running):
    restarts = int(box.show(SERVICE, "NRestarts"))
    box.run("kill", "-STOP", running)
    restarted(box, running, WATCHDOG_SECONDS + SECONDS_TO_READY)
    assert int(box.show(SERVICE, "NRestarts")) == restarts + 1
    assert "Watchdog timeout" in journal_of_manager(box)
    assert call(box, "Status")["parameters"]["ready"] is True


def test_a_daemon_that_makes_progress_is_left_alone(box, running):
    began = int(box.show(SERVICE, "ActiveEnterTimestampMonotonic")) / 1e6
    long_enough = began + 1.5 * WATCHDOG_SECONDS
    wait_until("a silent daemon would be killed by now", lambda: time.monotonic() > long_enough, 30)
    assert main_pid(box) == running


def test_a_crash_is_followed_by_a_restart_and_the_socket_stays(box, running):
    inode = box.path(SOCKET_PATH).stat().st_ino
    box.run("kill", "-KILL", running)
    restarted(box, running, SECONDS_TO_READY)
    assert box.path(SOCKET_PATH).stat().st_ino == inode
    assert call(box, "Status")["parameters"]["ready"] is True


def test_it_stops_within_two_seconds_and_the_next_call_starts_it_again(box, running):
    began = time.monotonic()
    box.run("systemctl", "stop", SERVICE)
    took = time.monotonic() - began
    assert took < 2.0
    assert box.show(SERVICE, "Result") == "success"
    assert box.show(SERVICE, "ExecMainStatus") == "0"
    assert box.path(SOCKET_PATH).is_socket()
    assert call(box, "Info")["parameters"]["version"]
    wait_active(box)


def test_a_configuration_that_is_refused_is_not_tried_over_and_over(box, running):
    box.run("systemctl", "stop", SERVICE)
    box.write(CONFIG, settings(margin="much"))
    restarts = box.show(SERVICE, "NRestarts")
    assert call(box, "Info") is None
    wait_until("the service has failed", lambda: box.show(SERVICE, "ActiveState") == "failed", SECONDS_TO_READY)
    assert box.show(SERVICE, "ExecMainStatus") == "9"
    assert box.show(SERVICE, "NRestarts") == restarts
    assert "decision.margin" in journal(box)
    assert box.show(SOCKET, "ActiveState") == "active"

    box.write(CONFIG, settings())
    assert call(box, "Info")["parameters"]["version"]


def test_with_its_unit_the_socket_goes(box):
    box.run("systemctl", "stop", SERVICE)
    box.run("systemctl", "start", SOCKET)
    assert box.path(SOCKET_PATH).is_socket()
    box.run("systemctl", "stop", SOCKET)
    assert os.listdir(box.path(SOCKET_PATH).parent) == []
