"""The socket server: disconnecting clients, connection limits, and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time

import pytest
import varlink
from server_parts import DEADLINE, Daemon, errors, export, message, plug, read, read_all, wait_until

from voiceauthd.config.schema import SocketConfig
from voiceauthd.server.call import Call


class TestDisconnecting:
    @pytest.mark.parametrize("more", [True, False])
    def test_a_client_that_disconnects_has_its_call_cancelled(self, daemon, more):
        with plug(daemon) as client:
            client.sendall(message("Identify", flags={"more": more}, timeout=60))
            assert daemon.started.wait(DEADLINE)
        assert daemon.cancelled.wait(DEADLINE)
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_client_that_has_finished_sending_still_gets_its_answers(self, connect):
        client = connect()
        client.sendall(export("ann") + message("Identify", flags={"more": True}, timeout=0.3) + export("bob"))
        client.shutdown(socket.SHUT_WR)
        answers = [json.loads(line) for line in read_all(client).splitlines()]
        assert len(answers) == 4
        assert answers[2]["parameters"]["state"] == "decided"
        assert answers[3]["parameters"] == {"document": "bob"}

    def test_a_client_that_finishes_sending_and_then_disconnects_has_its_call_cancelled(self, daemon):
        with plug(daemon) as client:
            client.sendall(message("Identify", timeout=60))
            client.shutdown(socket.SHUT_WR)
            assert daemon.started.wait(DEADLINE)
            assert not daemon.cancelled.wait(0.2)
        assert daemon.cancelled.wait(DEADLINE)

    def test_a_client_that_is_killed_has_its_call_cancelled(self, daemon):
        code = (
            "import socket, sys, time\n"
            "client = socket.socket(socket.AF_UNIX)\n"
            "client.connect(sys.argv[1])\n"
            "client.sendall(sys.argv[2].encode())\n"
            "time.sleep(60)\n"
        )
        line = message("Identify", flags={"more": True}, timeout=60).decode()
        with subprocess.Popen([sys.executable, "-c", code, str(daemon.path), line]) as client:
            assert daemon.started.wait(DEADLINE)
            client.kill()
        assert daemon.cancelled.wait(DEADLINE)

    def test_a_truncated_call_does_nothing(self, daemon):
        with plug(daemon) as client:
            client.sendall(export("ann", b"\0") + export("bob", b"")[:-1])
            read(client, 1, b"\0")
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")
        assert [call.parameters["name"] for call in daemon.calls] == ["ann"]

    def test_an_idle_client_that_disconnects_is_no_longer_counted(self, daemon):
        with plug(daemon):
            wait_until(lambda: daemon.connections() == 1, "the connection is not counted")
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")


class TestManyConnections:
    def test_of_a_hundred_connections_those_over_the_limit_get_an_error(self, daemon, connect):
        limit = SocketConfig().connections_per_user
        clients = [connect() for _ in range(100)]
        wait_until(lambda: daemon.connections() == limit, "the limit is not reached")
        served, refused = clients[:limit], clients[limit:]
        for client in served:
            client.sendall(export("ann"))
            assert read(client)[0]["parameters"] == {"document": "ann"}
        for client in refused:
            data = read_all(client)
            for part in (data.partition(b"\n")[0], data.partition(b"\0")[0]):
                assert json.loads(part) == {
                    "error": "org.voiceauthd.TooManyConnections",
                    "parameters": {"limit": limit},
                }
        for client in clients:
            client.close()
        wait_until(lambda: daemon.connections() == 0, "the connections are still counted")
        for _ in range(3 * limit):
            with plug(daemon) as client:
                client.sendall(export("ann"))
                read(client)
            wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_rejected_client_reads_the_reason_even_if_it_sends_first(self, tmp_path):
        config = SocketConfig(connections_per_user=1)
        with Daemon(tmp_path / "socket", config) as daemon, plug(daemon):
            wait_until(lambda: daemon.connections() == 1, "the first is not served")
            with varlink.Client(f"unix:{daemon.path}") as client:
                with pytest.raises(varlink.VarlinkError) as caught:
                    client.open("org.voiceauthd")
                assert caught.value.error() == "org.voiceauthd.TooManyConnections"
            assert daemon.calls == []

    def test_the_limit_of_all_connections_holds(self, tmp_path):
        config = SocketConfig(connections=2)
        with Daemon(tmp_path / "socket", config, privileged=frozenset()) as daemon, plug(daemon), plug(daemon):
            wait_until(lambda: daemon.connections() == 2, "the limit is not reached")
            with plug(daemon) as third:
                assert b"TooManyConnections" in read_all(third)

    def test_root_can_connect_however_many_connections_others_hold(self, tmp_path):
        config = SocketConfig(connections=2, connections_per_user=3)
        with Daemon(tmp_path / "socket", config) as daemon, plug(daemon), plug(daemon):
            wait_until(lambda: daemon.connections() == 2, "the limit is not reached")
            with plug(daemon) as third:
                third.sendall(export("ann"))
                assert read(third)[0]["parameters"] == {"document": "ann"}
                with plug(daemon) as fourth:  # the limit per user holds for root, too
                    assert b"TooManyConnections" in read_all(fourth)

    def test_running_out_of_descriptors_is_survived(self, tmp_path):
        resource = pytest.importorskip("resource")
        with Daemon(tmp_path / "socket") as daemon:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            top = max(int(name) for name in os.listdir("/proc/self/fd"))
            hoard = []
            try:
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(DEADLINE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (top + 8, hard))
                with contextlib.suppress(OSError):
                    while True:
                        hoard.append(os.dup(0))
                client.connect(str(daemon.path))
                time.sleep(0.05)
            finally:
                for descriptor in hoard:
                    os.close(descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with client:
                client.sendall(export("ann"))
                assert read(client)[0]["parameters"] == {"document": "ann"}


class TestStopping:
    def test_stopping_answers_waiting_clients_and_removes_the_socket(self, daemon):
        with plug(daemon) as waiting, plug(daemon) as idle:
            waiting.sendall(message("Identify", timeout=60) + export("ann"))
            assert daemon.started.wait(DEADLINE)
            began = time.monotonic()
            daemon.stop()
            assert time.monotonic() - began < 1.0
            assert errors([json.loads(line) for line in read_all(waiting).splitlines()]) == ["Cancelled"]
            assert read_all(idle) == b""
        assert daemon.cancelled.is_set()
        assert os.listdir(daemon.path.parent) == []

    def test_a_call_that_does_not_end_is_abandoned_at_the_deadline(self, tmp_path, caplog):
        class Stubborn(Daemon):
            async def identify(self, call: Call) -> None:
                self.started.set()
                end = time.monotonic() + 2 * DEADLINE
                while time.monotonic() < end and not self.cancelled.is_set():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.05)

        with Stubborn(tmp_path / "socket") as daemon, plug(daemon) as client:
            client.sendall(message("Identify"))
            assert daemon.started.wait(DEADLINE)
            began = time.monotonic()
            daemon.loop.call_soon_threadsafe(daemon._stopped.set)
            wait_until(lambda: not daemon.path.exists(), "the socket is still there")
            assert read_all(client) == b""
            assert 0.9 < time.monotonic() - began < 2.0
            daemon.cancelled.set()

    def test_a_socket_of_another_daemon_is_not_removed(self, daemon):
        daemon.path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(daemon.path))
            daemon.stop()
            assert daemon.path.exists()


def test_the_kernel_distinguishes_half_closing_from_disconnecting():
    """The server relies on this: a watcher registered for no events gets EPOLLHUP, and only that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, select.epoll() as watcher:
        watcher.register(ours.fileno(), 0)
        theirs.sendall(b"x")
        theirs.shutdown(socket.SHUT_WR)
        assert watcher.poll(0) == []
        theirs.close()
        assert watcher.poll(0)[0][1] & select.EPOLLHUP
