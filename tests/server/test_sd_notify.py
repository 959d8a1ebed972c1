"""The interface to the service manager: status messages, and the socket that it passes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from voiceauthd.errors import ConfigError
from voiceauthd.server import sd_notify, socket_activation


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket in place of the service manager's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(2)
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def received(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())


def test_each_state_is_reported_in_one_datagram(manager):
    assert sd_notify.ready("3 profiles")
    assert received(manager) == {"READY": "1", "STATUS": "3 profiles"}
    assert sd_notify.status("listening")
    assert received(manager) == {"STATUS": "listening"}
    assert sd_notify.watchdog()
    assert received(manager) == {"WATCHDOG": "1"}
    assert sd_notify.stopping()
    assert received(manager) == {"STOPPING": "1", "STATUS": "stopping"}


def test_a_reload_reports_its_monotonic_start_time(manager):
    before = time.monotonic_ns() // 1000
    assert sd_notify.reloading()
    fields = received(manager)
    assert fields["RELOADING"] == "1"
    assert before <= int(fields["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("text", ["a\nREADY=1", "a\u2028b", "é \ud800 x"])
def test_a_status_cannot_inject_another_field(manager, text):
    assert sd_notify.status(text)
    assert list(received(manager)) == ["STATUS"]


def test_an_abstract_address_works(monkeypatch):
    name = f"voiceauthd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(2)
        listener.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert sd_notify.ready()
        assert received(listener)["READY"] == "1"


@pytest.mark.parametrize("address", [None, "", "/nobody/listens/here", "/" + "x" * 300, "vsock:2:1"])
def test_without_a_listening_manager_nothing_happens(monkeypatch, address):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert sd_notify.ready() is False
    assert sd_notify.watchdog() is False


def test_a_manager_that_does_not_read_cannot_block_the_daemon(manager):
    deadline = time.monotonic() + 5
    while sd_notify.watchdog():
        assert time.monotonic() < deadline, "the manager's queue never filled"
    began = time.monotonic()
    assert sd_notify.watchdog() is False
    assert time.monotonic() - began < 4 * sd_notify.SEND_TIMEOUT


@pytest.mark.parametrize(
    ("microseconds", "pid", "interval"),
    [
        ("30000000", None, 15.0),
        ("30000000", "self", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_interval_is_half_of_the_managers_timeout(monkeypatch, microseconds, pid, interval):
    for variable, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, str(os.getpid()) if value == "self" else value)
    assert sd_notify.watchdog_interval() == interval


CHILD = """
import json, os, sys
os.environ["LISTEN_PID"] = sys.argv[1] if sys.argv[1] != "self" else str(os.getpid())
from voiceauthd.errors import ConfigError
from voiceauthd.server.socket_activation import VARIABLES, inherited_socket
try:
    listener = inherited_socket()
    found = None if listener is None else [listener.fileno(), listener.getsockname(), listener.get_inheritable()]
except ConfigError as error:
    found = str(error)
print(json.dumps([found, [name for name in VARIABLES if name in os.environ]]))
"""


def activated(descriptor: int | None, pid: str = "self", count: str = "1") -> tuple[object, list[str]]:
    """Return what a new process finds if `descriptor` is passed to it as systemd does, as descriptor 3."""

    def place() -> None:
        if descriptor is None:
            os.closerange(3, 10)
        else:
            os.dup2(descriptor, 3, inheritable=True)

    child = subprocess.run(
        [sys.executable, "-c", CHILD, pid],
        env={**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": "voiceauthd"},
        preexec_fn=place,
        close_fds=False,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    found, left = json.loads(child.stdout)
    return found, left


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield listener


def test_a_passed_socket_is_used_and_hidden_from_child_processes(listening):
    found, left = activated(listening.fileno())
    assert found == [3, listening.getsockname(), False]
    assert left == []


@pytest.mark.parametrize(("pid", "count"), [("1", "1"), ("self", "0"), ("self", "many")])
def test_sockets_for_another_process_are_ignored(listening, pid, count):
    found, left = activated(listening.fileno(), pid, count)
    assert found is None
    assert left == []


def test_an_unusable_socket_is_refused_with_advice(tmp_path, listening):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as network,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as idle,
        (tmp_path / "file").open("w") as file,
    ):
        idle.bind(str(tmp_path / "idle"))
        assert "AF_UNIX stream" in str(activated(network.fileno())[0])
        assert "AF_UNIX stream" in str(activated(datagram.fileno())[0])
        assert "does not listen" in str(activated(idle.fileno())[0])
        assert "not a socket" in str(activated(file.fileno())[0])
    assert "single ListenStream=" in str(activated(listening.fileno(), count="2")[0])
    assert "not a socket" in str(activated(None)[0])


def test_without_activation_there_is_no_socket(monkeypatch):
    for variable in socket_activation.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert socket_activation.inherited_socket() is None


def test_a_refusal_removes_the_variables(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "7")
    with pytest.raises(ConfigError):
        socket_activation.inherited_socket()
    assert "LISTEN_FDS" not in os.environ
