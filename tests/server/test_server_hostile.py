"""The socket server against misbehaving clients: garbage, floods, and not reading."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_parts import DEADLINE, errors, export, message, plug, read, read_all, wait_until

from voiceauthd.config.schema import SocketConfig
from voiceauthd.protocol.wire import MAX_MESSAGE
from voiceauthd.server import connection as connection_module


class TestHostileInput:
    @pytest.mark.parametrize(
        "junk",
        [
            b"GET / HTTP/1.1\n",
            b"\xff\xfe\n",
            b'{"method":"org.voiceauthd.Info","parameters":[]}\n',
            b'{"method":"org.voiceauthd.Info","parameters":' + b'{"a":' * 10000 + b"\n",
            b'{"method":"org.voiceauthd.\\ud800"}\n',
        ],
    )
    def test_malformed_calls_are_refused_and_the_connection_continues(self, connect, junk):
        client = connect()
        client.sendall(junk + export("ann"))
        refused, answered = read(client, 2)
        assert refused["error"] == "org.voiceauthd.MalformedMessage"
        assert refused["parameters"]["detail"]
        assert answered["parameters"] == {"document": "ann"}

    @pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 5_000_000])
    @pytest.mark.parametrize("first", [b"", export("ann")])
    def test_an_overlong_message_is_refused_and_ends_the_connection(self, daemon, connect, size, first):
        client = connect()
        client.sendall(first)
        client.sendall(b"x" * size)
        raw = read_all(client)
        answers = [json.loads(part) for part in raw.replace(b"\0", b"").split(b"\n")[:-1]]
        assert errors(answers) == ([None] if first else []) + ["MalformedMessage"]
        client.close()
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_message_of_maximum_length_is_accepted(self, connect):
        client = connect()
        filler = MAX_MESSAGE - len(export("", b""))
        client.sendall(export("x" * filler))
        assert len(read(client)[0]["parameters"]["document"]) == filler

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.binary(min_size=1, max_size=200) | st.sampled_from([b"\n", b"\0", b"{}", b'"']), max_size=8))
    def test_random_bytes_do_no_harm(self, daemon, chunks):
        with plug(daemon) as garbage:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for chunk in chunks:
                    garbage.sendall(chunk)
                garbage.shutdown(socket.SHUT_WR)
            read_all(garbage)
        with plug(daemon) as client:
            client.sendall(export("ann"))
            assert read(client)[0]["parameters"] == {"document": "ann"}

    @pytest.mark.parametrize("piece", [b"{}\n", b'{"method":"org.voiceauthd.Info"}\n', b"\n"])
    def test_a_flood_does_not_delay_other_clients(self, daemon, connect, piece):
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError), plug(daemon) as client:
                    client.settimeout(0.1)
                    client.sendall(piece * 100_000)

        flooder = threading.Thread(target=flood)
        client = connect()
        flooder.start()
        try:
            for _ in range(20):
                began = time.monotonic()
                client.sendall(export("ann"))
                read(client)
                assert time.monotonic() - began < 0.5
        finally:
            stop.set()
            flooder.join()

    def test_a_flooding_client_is_disconnected_after_its_answers(self, daemon, connect):
        client = connect()
        client.sendall(export("slow"))
        with contextlib.suppress(BrokenPipeError):
            client.sendall(b"{}\n" * 100_000)
        answers = [json.loads(line) for line in read_all(client).splitlines()]
        in_flight = SocketConfig().requests_in_flight
        assert errors(answers[:in_flight]) == [None] + ["MalformedMessage"] * (in_flight - 1)
        refused = errors(answers[in_flight:])
        assert refused == ["TooManyRequests"] * (connection_module.MAX_REFUSED + 1)


class TestSlowClients:
    def test_a_client_that_never_reads_is_disconnected_and_delays_nobody(self, daemon, connect, monkeypatch):
        monkeypatch.setattr(connection_module, "WRITE_STALL", 0.3)
        stuck, client = connect(), connect()
        stuck.sendall(message("Monitor", flags={"more": True}))
        assert daemon.started.wait(DEADLINE)
        for _ in range(20):
            began = time.monotonic()
            client.sendall(export("ann"))
            read(client)
            assert time.monotonic() - began < 0.5
        assert daemon.cancelled.wait(DEADLINE)
        wait_until(lambda: daemon.connections() == 1, "the stuck connection is still counted")

    def test_a_client_that_only_sends_is_disconnected(self, daemon, monkeypatch):
        monkeypatch.setattr(connection_module, "WRITE_STALL", 0.3)
        with plug(daemon) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            deadline = time.monotonic() + DEADLINE
            while time.monotonic() < deadline:
                client.sendall(export("big") * 100)
            pytest.fail("the client was not disconnected")
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_client_that_does_not_read_its_last_answer_is_disconnected(self, daemon, monkeypatch):
        monkeypatch.setattr(connection_module, "WRITE_STALL", 0.3)
        with plug(daemon) as client:
            client.sendall(export("big"))
            client.shutdown(socket.SHUT_WR)
            wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_slow_reader_gets_dropped_events_and_is_then_disconnected(self, connect):
        client = connect()
        client.sendall(message("Monitor", flags={"more": True}))
        answers = [json.loads(line) for line in read_all(client).splitlines()]
        assert any(answer["parameters"]["event"]["kind"] == "dropped" for answer in answers[:-1])
        assert errors(answers[-1:]) == ["Cancelled"]


def test_invalid_calls_leave_no_lines_in_the_log(daemon, connect, caplog):
    """A user must not be able to flood the journal, which would push out lines about others."""
    caplog.set_level(logging.INFO)
    client = connect()
    for _ in range(20):
        client.sendall(message("Status", nonsense=1))
        assert errors(read(client)) == ["InvalidParameter"]
    assert caplog.records == []
