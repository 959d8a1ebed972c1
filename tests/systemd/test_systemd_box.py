"""The shipped units under a real systemd: started by the first call, watched, restarted, reloaded, stopped.

The box runs this checkout with this Python. Only what a box cannot have differs from an installed system: the path of
the interpreter, a recording in place of the microphone, and less patience in the watchdog.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import BootError, Box, obstacle, wait_until
from voiceauthd.embed.cache import find

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICE, SOCKET = "voiceauthd.service", "voiceauthd.socket"
SOCKET_PATH = "/run/voiceauthd/socket"
CONFIG = "/etc/voiceauthd/config.yaml"

SECONDS_TO_READY = 60.0
"""Imports and the model, on a machine that has other things to do; 4 s on an idle one."""

WATCHDOG_SECONDS = 4

PLAIN_UID = 1
"""Some user that is neither root nor the daemon's: Debian's `daemon`."""

STAND_IN_CONFIG = """\
model: {{name: campplus}}
audio: {{source: {recording}}}
decision: {{margin: {margin}}}
"""

CALLER = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.makefile().readline())
"""


def settings(margin: str = "0.05") -> str:
    recording = "/opt/checkout/daemon/voiceauthd/cli/demo_voices/ralph-1.flac"
    return STAND_IN_CONFIG.format(recording=recording, margin=margin)


# The Python's own folder is bound at another place: homes, where it may live, are hidden from the service.
BASE = Path(sys.base_prefix).resolve()
BINDS = {CHECKOUT: "/opt/checkout", Path(sysconfig.get_path("purelib")): "/opt/packages"}
if not BASE.is_relative_to("/usr"):
    BINDS[BASE] = "/opt/python"
PYTHON = f"{BINDS.get(BASE, BASE)}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def furnish(box: Box) -> None:
    """Puts the units into the box as `make install` does, and the drop-in of this test."""
    for name in (SERVICE, SOCKET):
        box.write(f"/etc/systemd/system/{name}", (CHECKOUT / "systemd" / name).read_text())
    for kind in ("sysusers.d", "tmpfiles.d"):
        box.write(f"/etc/{kind}/voiceauthd.conf", (CHECKOUT / "systemd" / kind / "voiceauthd.conf").read_text())
    wants = box.folder / "etc/systemd/system/sockets.target.wants"
    wants.mkdir(parents=True)
    (wants / SOCKET).symlink_to(f"../{SOCKET}")
    box.write(
        f"/etc/systemd/system/{SERVICE}.d/box.conf",
        "[Service]\n"
        "Environment=PYTHONPATH=/opt/checkout/daemon:/opt/packages PYTHONDONTWRITEBYTECODE=1\n"
        "Environment=LD_LIBRARY_PATH=/opt/python/lib\n"
        f"ExecStart=\nExecStart={PYTHON} -m voiceauthd.service.main --config {CONFIG}\n"
        f"WatchdogSec={WATCHDOG_SECONDS}\n",
    )
    box.write(CONFIG, settings())


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A booted box in which nobody has called the daemon yet."""
    if reason := obstacle():
        pytest.skip(reason)
    model = find("campplus", None)
    if model is None:
        pytest.skip("needs the CAM++ model: voiceauth model fetch campplus")
    box = Box(tmp_path_factory.mktemp("systemd") / "box", BINDS)
    furnish(box)
    shutil.copytree(model, box.folder / "var/lib/voiceauthd/models" / model.name)
    try:
        box.boot()
    except BootError as problem:
        pytest.skip(f"a container does not boot here: {problem}")
    box.run("chown", "-R", "voiceauthd:", "/var/lib/voiceauthd")
    yield box
    box.close()


def call(box: Box, method: str, seconds: float = SECONDS_TO_READY, **parameters: object) -> dict[str, object] | None:
    """What the daemon answers to root; None if it hangs up without an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(box.path(SOCKET_PATH)))
        request = {"method": f"org.voiceauthd.{method}", "parameters": parameters}
        try:
            client.sendall(json.dumps(request).encode() + b"\n")
            line = client.makefile().readline()
        except ConnectionError:
            return None
    return json.loads(line) if line else None


def call_as(box: Box, uid: int, method: str, **parameters: object) -> dict[str, object]:
    request = json.dumps({"method": f"org.voiceauthd.{method}", "parameters": parameters})
    answer: dict[str, object] = json.loads(box.run(PYTHON, "-c", CALLER, SOCKET_PATH, request, uid=uid))
    return answer


def main_pid(box: Box) -> str:
    return box.show(SERVICE, "MainPID")


def wait_ready(box: Box) -> str:
    wait_until("the service is active", lambda: box.show(SERVICE, "ActiveState") == "active" or None, SECONDS_TO_READY)
    return main_pid(box)


def journal(box: Box) -> str:
    return box.run("journalctl", "--no-pager", "--output=cat", f"--unit={SERVICE}")


@pytest.fixture
def running(box: Box) -> str:
    """The process id, in the box, of a daemon that is ready."""
    box.write(CONFIG, settings())
    box.run("systemctl", "reset-failed", SERVICE, SOCKET)
    box.run("systemctl", "start", SOCKET, SERVICE)
    return wait_ready(box)


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

    assert wait_ready(box) != "0"
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
    answer = call_as(box, PLAIN_UID, "Reload")
    assert answer["error"] == "org.voiceauthd.PermissionDenied"
    assert call_as(box, PLAIN_UID, "Info")["parameters"]["version"]


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


def journal_of_manager(box: Box) -> str:
    return box.run("journalctl", "--no-pager", "--output=cat", f"UNIT={SERVICE}")


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
    wait_ready(box)


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


def test_with_its_unit_the_socket_goes(box, running):
    box.run("systemctl", "stop", SOCKET, SERVICE)
    assert not box.path(SOCKET_PATH).exists()
    assert os.listdir(box.path(SOCKET_PATH).parent) == []
