"""The socket server with a small handler behind it: real sockets, real clients, and all ways a client can misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import varlink
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from voiceauthd.config.schema import SocketConfig
from voiceauthd.errors import AlreadyRunningError, BusyError, ConfigError, NotEnrolledError, VoiceauthError
from voiceauthd.protocol.wire import MAX_MESSAGE
from voiceauthd.service import connection as connection_module
from voiceauthd.service.events import MAX_DROPPED, EventQueue, SlowSubscriberError
from voiceauthd.service.listener import MAX_PATH, adopt, listen
from voiceauthd.service.requests import Call, CallError
from voiceauthd.service.server import Server

DEADLINE = 5.0
"""Seconds after which something that should have happened has not."""

IDENTITY = {
    "state": "decided", "decision": "unknown", "identity": None, "reason": None, "advice": None, "net_speech": 1.0,
    "net_speech_needed": 1.0, "score": None, "margin": None, "calibrated": None,
}  # fmt: skip
LISTENING = IDENTITY | {"state": "listening", "decision": None}


class Daemon:
    """A server with a handler that behaves as the profile's name in the call asks for."""

    def __init__(self, path: Path, config: SocketConfig | None = None, listener=None) -> None:
        self.path = path
        self.calls: list[Call] = []
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.reloaded = threading.Event()
        self._listener = listener
        self._config = config or SocketConfig()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Daemon:
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()

    def connections(self) -> int:
        return self.server.connections

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self.server = Server(self._config, self.handle, check_replies=True)
        await self.server.start(self._listener or listen(self.path, 0o666))
        self._ready.set()
        await self._stopped.wait()
        await self.server.stop(1.0)

    async def handle(self, call: Call) -> None:
        self.calls.append(call)
        method = getattr(self, call.name.lower())
        await method(call)

    async def exportprofile(self, call: Call) -> None:
        name = call.parameters["name"]
        match name:
            case "slow":
                await asyncio.sleep(0.2)
            case "big":
                await call.reply({"document": "x" * 500_000})
                return
            case "nobody":
                raise NotEnrolledError("nobody is enrolled as 'nobody'")
            case "busy":
                raise BusyError("uid 7 verifies")
            case "named":
                raise CallError("ProfileUnusable", {"name": name, "detail": "torn"})
            case "bug":
                raise KeyError("secret")
            case "silent":
                return
            case "nan":
                await call.reply({"document": float("nan")})
            case "wrong":
                await call.reply({"paper": "x"})
            case "strange":
                raise VoiceauthError("strange")
        await call.reply({"document": name})

    async def identify(self, call: Call) -> None:
        """Streams, and listens for as long as the call says."""
        await call.reply(LISTENING, continues=True)
        self.started.set()
        try:
            await asyncio.sleep(call.parameters["timeout"] or 0)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await call.reply(IDENTITY)

    async def monitor(self, call: Call) -> None:
        """Publishes faster than anybody reads."""
        queue: EventQueue[dict] = EventQueue(self._config.events_queued)
        self.started.set()
        sequence = 0
        try:
            while True:
                for _ in range(50):
                    sequence += 1
                    queue.put(event(sequence))
                dropped, one = await queue.get()
                if dropped:
                    await call.reply({"event": event(0, kind="dropped", count=dropped)}, continues=True)
                await call.reply({"event": one}, continues=True)
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()

    async def reload(self, call: Call) -> None:
        self.reloaded.set()
        await call.reply({"changed": []})


def event(sequence: int, kind: str = "window", **fields) -> dict:
    return {"kind": kind, "sequence": sequence, "time": 0.0, "detail": "x" * 200} | fields


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "socket") as running:
        yield running


@pytest.fixture
def connect(daemon):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(plug(daemon))


def plug(daemon: Daemon) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(DEADLINE)
    client.connect(str(daemon.path))
    return client


def message(method: str, end: bytes = b"\n", flags: dict | None = None, **parameters) -> bytes:
    name = method if "." in method else f"org.voiceauthd.{method}"
    return json.dumps({"method": name, "parameters": parameters} | (flags or {})).encode() + end


def export(name: str, end: bytes = b"\n") -> bytes:
    return message("ExportProfile", end, name=name)


def read(client: socket.socket, count: int = 1, end: bytes = b"\n") -> list[dict]:
    """The next `count` answers, which must be all that has come."""
    data = b""
    while data.count(end) < count:
        piece = client.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    assert data.endswith(end)
    return [json.loads(part) for part in data.split(end)[:-1]]


def read_all(client: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            data += piece
    return data


def errors(answers: list[dict]) -> list[str | None]:
    return [answer["error"].rpartition(".")[2] if "error" in answer else None for answer in answers]


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class TestDialects:
    @pytest.mark.parametrize("end", [b"\0", b"\n"])
    def test_an_answer_ends_as_the_call_did(self, connect, end):
        client = connect()
        client.sendall(export("ann", end) + export("bob", end))
        assert [answer["parameters"] for answer in read(client, 2, end)] == [{"document": "ann"}, {"document": "bob"}]

    def test_a_call_may_come_byte_by_byte(self, connect):
        client = connect()
        for byte in export("ann"):
            client.sendall(bytes([byte]))
        assert read(client)[0]["parameters"] == {"document": "ann"}

    def test_the_reference_client_introspects_calls_and_streams(self, daemon):
        with varlink.Client(f"unix:{daemon.path}") as client:
            assert set(client.get_interfaces()) == {"org.varlink.service", "org.voiceauthd"}
            info = client.open("org.varlink.service").GetInfo()
            assert info["product"] == "voiceauthd"
            with client.open("org.voiceauthd") as ours:
                assert ours.ExportProfile("ann") == {"document": "ann"}
                assert [one["state"] for one in ours.Identify(0.0, _more=True)] == ["listening", "decided"]
                assert ours.Identify()["state"] == "decided"
                with pytest.raises(varlink.VarlinkError) as caught:
                    ours.ExportProfile("nobody")
                assert caught.value.error() == "org.voiceauthd.NotEnrolled"
                assert caught.value.parameters()["name"] == "nobody"
                ours.Reload(_oneway=True)
                assert daemon.reloaded.wait(DEADLINE)
                assert ours.ExportProfile("bob") == {"document": "bob"}
            with client.open("org.voiceauthd") as monitor:
                events = monitor.Monitor(_more=True)
                assert next(events)["event"]["kind"] in ("window", "dropped")
        assert daemon.cancelled.wait(DEADLINE)

    def test_the_reference_client_reads_the_description_of_the_standard_interface(self, daemon):
        with varlink.Client(f"unix:{daemon.path}") as client, client.open("org.varlink.service") as service:
            description = service.GetInterfaceDescription("org.varlink.service")["description"]
            assert "method GetInfo" in description
            with pytest.raises(varlink.InterfaceNotFound):
                service.GetInterfaceDescription("org.example")

    @pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
    @pytest.mark.parametrize("line", [export("ann"), export("ann").strip(), b"\n\r\n" + export("ann")])
    def test_a_shell_user_asks_with_socat(self, daemon, line):
        run = subprocess.run(
            ["socat", "-", f"UNIX:{daemon.path}"], input=line, capture_output=True, timeout=DEADLINE, check=True
        )
        assert json.loads(run.stdout) == {"parameters": {"document": "ann"}}

    @pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
    def test_a_stream_goes_on_after_the_shell_user_has_finished_typing(self, daemon):
        line = message("Identify", flags={"more": True}, timeout=0.8)
        run = subprocess.run(
            ["socat", "-t5", "-", f"UNIX:{daemon.path}"], input=line, capture_output=True, timeout=DEADLINE, check=True
        )
        states = [json.loads(one)["parameters"]["state"] for one in run.stdout.splitlines()]
        assert states == ["listening", "decided"]


class TestCalls:
    def test_a_caller_without_more_gets_the_final_reply_only(self, connect):
        client = connect()
        client.sendall(message("Identify"))
        assert read(client) == [{"parameters": IDENTITY}]

    def test_the_handler_knows_who_calls_and_what(self, daemon, connect):
        client = connect()
        client.sendall(message("Identify"))
        read(client)
        [call] = daemon.calls
        assert (call.method, call.name, call.more) == ("org.voiceauthd.Identify", "Identify", False)
        assert call.parameters == {"timeout": None}
        assert (call.peer.uid, call.peer.gid, call.peer.pid) == (os.getuid(), os.getgid(), os.getpid())
        assert call.peer.groups == frozenset(os.getgroups())

    @pytest.mark.parametrize(
        ("call", "error", "parameters"),
        [
            (export("nobody"), "org.voiceauthd.NotEnrolled", {"name": "nobody"}),
            (export("busy"), "org.voiceauthd.Busy", {"holder": "uid 7 verifies"}),
            (export("named"), "org.voiceauthd.ProfileUnusable", {"name": "named", "detail": "torn"}),
            (message("Nonsense"), "org.varlink.service.MethodNotFound", {"method": "org.voiceauthd.Nonsense"}),
            (message("org.example.M"), "org.varlink.service.InterfaceNotFound", {"interface": "org.example"}),
            (b'{"method":"Info"}\n', "org.varlink.service.MethodNotFound", {"method": "Info"}),
            (message("ExportProfile"), "org.varlink.service.InvalidParameter", {"parameter": "name"}),
            (message("ExportProfile", name=1), "org.varlink.service.InvalidParameter", {"parameter": "name"}),
            (message("Reload", force=True), "org.varlink.service.InvalidParameter", {"parameter": "force"}),
            (message("Monitor"), "org.varlink.service.ExpectedMore", {}),
            (
                message("Reload", flags={"upgrade": True}),
                "org.varlink.service.InvalidParameter",
                {"parameter": "upgrade"},
            ),
        ],
    )
    def test_an_error_has_its_name_and_its_parameters(self, connect, call, error, parameters):
        client = connect()
        client.sendall(call + export("ann"))
        refused, answered = read(client, 2)
        assert refused == {"error": error, "parameters": parameters}
        assert answered["parameters"] == {"document": "ann"}

    @pytest.mark.parametrize("defect", ["bug", "silent", "nan", "wrong", "strange"])
    def test_a_defect_is_answered_and_tells_nothing(self, connect, caplog, defect):
        client = connect()
        client.sendall(export(defect) + export("ann"))
        refused, answered = read(client, 2)
        assert refused["error"] == "org.voiceauthd.Internal"
        assert "secret" not in json.dumps(refused)
        assert answered["parameters"] == {"document": "ann"}
        assert any(record.exc_info for record in caplog.records)

    def test_answers_come_in_the_order_of_the_calls(self, connect):
        client = connect()
        client.sendall(export("slow") + export("nobody") + message("Nonsense") + b"junk\n" + export("bob"))
        answers = read(client, 5)
        assert errors(answers) == [None, "NotEnrolled", "MethodNotFound", "MalformedMessage", None]
        assert answers[4]["parameters"] == {"document": "bob"}

    def test_too_many_calls_at_once_are_refused_and_the_others_answered(self, connect):
        client = connect()
        limit = SocketConfig().requests_in_flight
        client.sendall(export("slow") + export("ann") * (limit + 9))
        answers = read(client, limit + 10)
        assert errors(answers) == [None] * limit + ["TooManyRequests"] * 10
        assert answers[-1]["parameters"] == {"limit": limit}
        client.sendall(export("bob"))
        assert read(client)[0]["parameters"] == {"document": "bob"}

    def test_a_oneway_call_is_done_and_not_answered(self, daemon, connect):
        client = connect()
        oneway = {"oneway": True}
        client.sendall(message("Reload", flags=oneway) + message("Nonsense", flags=oneway) + export("ann"))
        assert read(client)[0]["parameters"] == {"document": "ann"}
        assert daemon.reloaded.is_set()

    def test_a_oneway_call_is_done_although_its_caller_has_left(self, daemon):
        with plug(daemon) as client:
            client.sendall(export("slow") + message("Reload", flags={"oneway": True}))
        assert daemon.reloaded.wait(DEADLINE)

    def test_nobody_opens_the_microphone_without_wanting_the_answer(self, daemon, connect):
        client = connect()
        client.sendall(message("Identify", flags={"oneway": True}) + export("ann"))
        read(client)
        assert [call.name for call in daemon.calls] == ["ExportProfile"]


class TestHostileInput:
    @pytest.mark.parametrize(
        "junk",
        [
            b"GET / HTTP/1.1\n",
            b"\xff\xfe\n",
            b"[1]\n",
            b'{"method":1}\n',
            b'{"method":"org.voiceauthd.Info","parameters":[]}\n',
            b"[" * 60000 + b"\n",
            b'{"method":"org.voiceauthd.Info","parameters":' + b'{"a":' * 10000 + b"\n",
            b'{"method":"org.voiceauthd.Info","parameters":{"a":NaN}}\n',
            b'{"method":"org.voiceauthd.\\ud800"}\n',
        ],
    )
    def test_malformed_calls_are_refused_and_the_connection_lives(self, connect, junk):
        client = connect()
        client.sendall(junk + export("ann"))
        refused, answered = read(client, 2)
        assert refused["error"] == "org.voiceauthd.MalformedMessage"
        assert refused["parameters"]["detail"]
        assert answered["parameters"] == {"document": "ann"}

    @pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 5_000_000])
    @pytest.mark.parametrize("first", [b"", export("ann")])
    def test_an_overlong_message_is_told_and_ends_the_connection(self, daemon, connect, size, first):
        client = connect()
        client.sendall(first)
        client.sendall(b"x" * size)
        raw = read_all(client)
        answers = [json.loads(part) for part in raw.replace(b"\0", b"").split(b"\n")[:-1]]
        assert errors(answers) == ([None] if first else []) + ["MalformedMessage"]
        client.close()
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_the_longest_message_is_read(self, connect):
        client = connect()
        filler = MAX_MESSAGE - len(export("", b""))
        client.sendall(export("x" * filler))
        assert len(read(client)[0]["parameters"]["document"]) == filler

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.binary(min_size=1, max_size=200) | st.sampled_from([b"\n", b"\0", b"{}", b'"']), max_size=8))
    def test_any_bytes_are_survived(self, daemon, chunks):
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
    def test_a_flood_does_not_keep_others_waiting(self, daemon, connect, piece):
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError), plug(daemon) as client:
                    client.settimeout(0.1)
                    client.sendall(piece * 100_000)

        flooding = threading.Thread(target=flood)
        client = connect()
        flooding.start()
        try:
            for _ in range(20):
                began = time.monotonic()
                client.sendall(export("ann"))
                read(client)
                assert time.monotonic() - began < 0.5
        finally:
            stop.set()
            flooding.join()

    def test_a_client_that_floods_is_turned_away_after_its_answers(self, daemon, connect):
        client = connect()
        client.sendall(export("slow"))
        with contextlib.suppress(BrokenPipeError):
            client.sendall(b"{}\n" * 100_000)
        answers = [json.loads(line) for line in read_all(client).splitlines()]
        in_flight = SocketConfig().requests_in_flight
        assert errors(answers[:in_flight]) == [None] + ["MalformedMessage"] * (in_flight - 1)
        refused = errors(answers[in_flight:])
        assert refused == ["TooManyRequests"] * (connection_module.MAX_REFUSED + 1)


class TestDisconnecting:
    @pytest.mark.parametrize("more", [True, False])
    def test_a_client_that_vanishes_frees_what_it_held(self, daemon, more):
        with plug(daemon) as client:
            client.sendall(message("Identify", flags={"more": more}, timeout=60))
            assert daemon.started.wait(DEADLINE)
        assert daemon.cancelled.wait(DEADLINE)
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_client_that_finished_sending_still_gets_its_answers(self, connect):
        client = connect()
        client.sendall(export("ann") + message("Identify", flags={"more": True}, timeout=0.3) + export("bob"))
        client.shutdown(socket.SHUT_WR)
        answers = [json.loads(line) for line in read_all(client).splitlines()]
        assert len(answers) == 4
        assert answers[2]["parameters"]["state"] == "decided"
        assert answers[3]["parameters"] == {"document": "bob"}

    def test_a_client_that_finished_sending_and_then_vanishes_frees_what_it_held(self, daemon):
        with plug(daemon) as client:
            client.sendall(message("Identify", timeout=60))
            client.shutdown(socket.SHUT_WR)
            assert daemon.started.wait(DEADLINE)
            assert not daemon.cancelled.wait(0.2)
        assert daemon.cancelled.wait(DEADLINE)

    def test_a_client_that_is_killed_frees_what_it_held(self, daemon):
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

    def test_a_call_that_is_cut_short_does_nothing(self, daemon):
        with plug(daemon) as client:
            client.sendall(export("ann", b"\0") + export("bob", b"")[:-1])
            read(client, 1, b"\0")
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")
        assert [call.parameters["name"] for call in daemon.calls] == ["ann"]

    def test_an_idle_client_that_leaves_is_forgotten(self, daemon):
        with plug(daemon):
            wait_until(lambda: daemon.connections() == 1, "the connection is not counted")
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")


class TestSlowClients:
    def test_a_client_that_never_reads_is_disconnected_and_slows_nobody(self, daemon, connect, monkeypatch):
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
            pytest.fail("the client could send for ever")
        wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_client_that_never_reads_the_end_is_disconnected(self, daemon, monkeypatch):
        monkeypatch.setattr(connection_module, "WRITE_STALL", 0.3)
        with plug(daemon) as client:
            client.sendall(export("big"))
            client.shutdown(socket.SHUT_WR)
            wait_until(lambda: daemon.connections() == 0, "the connection is still counted")

    def test_a_slow_reader_is_told_what_it_missed_and_then_disconnected(self, connect):
        client = connect()
        client.sendall(message("Monitor", flags={"more": True}))
        answers = [json.loads(line) for line in read_all(client).splitlines()]
        assert any(answer["parameters"]["event"]["kind"] == "dropped" for answer in answers[:-1])
        assert errors(answers[-1:]) == ["Cancelled"]


class TestEventQueue:
    def test_the_oldest_events_are_dropped_and_counted(self):
        async def scenario():
            queue = EventQueue(3)
            for number in range(5):
                queue.put(number)
            queue.close()
            return [await queue.get() for _ in range(4)], queue.dropped

        assert asyncio.run(scenario()) == ([(2, 2), (0, 3), (0, 4), None], 2)

    def test_a_subscriber_that_catches_up_may_fall_behind_again(self):
        async def scenario():
            queue = EventQueue(1)
            for _ in range(3):
                for number in range(MAX_DROPPED):
                    queue.put(number)
                await queue.get()
                waiting = asyncio.ensure_future(queue.get())
                await asyncio.sleep(0)
                queue.put(0)
                await waiting
            return queue.dropped

        assert asyncio.run(scenario()) == 3 * (MAX_DROPPED - 1)

    def test_a_subscriber_that_never_catches_up_is_given_up(self):
        async def scenario():
            queue = EventQueue(1)
            for number in range(MAX_DROPPED + 2):
                queue.put(number)
            await queue.get()

        with pytest.raises(SlowSubscriberError):
            asyncio.run(scenario())

    def test_an_event_wakes_who_waits(self):
        async def scenario():
            queue = EventQueue(1)
            waiting = asyncio.ensure_future(queue.get())
            await asyncio.sleep(0)
            queue.put("x")
            return await asyncio.wait_for(waiting, DEADLINE)

        assert asyncio.run(scenario()) == (0, "x")


class TestManyConnections:
    def test_of_a_hundred_connections_those_over_the_limit_are_told_so(self, daemon, connect):
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

    def test_one_who_is_turned_away_reads_why_although_it_spoke_first(self, tmp_path):
        config = SocketConfig(connections_per_user=1)
        with Daemon(tmp_path / "socket", config) as daemon, plug(daemon):
            wait_until(lambda: daemon.connections() == 1, "the first is not served")
            with varlink.Client(f"unix:{daemon.path}") as client:
                with pytest.raises(varlink.VarlinkError) as caught:
                    client.open("org.voiceauthd")
                assert caught.value.error() == "org.voiceauthd.TooManyConnections"
            assert daemon.calls == []

    def test_the_limit_of_all_connections_holds_too(self, tmp_path):
        config = SocketConfig(connections=2)
        with Daemon(tmp_path / "socket", config) as daemon, plug(daemon), plug(daemon):
            wait_until(lambda: daemon.connections() == 2, "the limit is not reached")
            with plug(daemon) as third:
                assert b"TooManyConnections" in read_all(third)

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
    def test_stopping_tells_those_who_wait_and_removes_the_socket(self, daemon):
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


class TestListening:
    def test_the_socket_has_its_mode_and_its_folder_whatever_the_umask(self, tmp_path):
        before = os.umask(0o077)
        try:
            listener = listen(tmp_path / "a" / "b" / "socket", 0o660)
        finally:
            os.umask(before)
        assert stat.S_IMODE(listener.path.stat().st_mode) == 0o660
        expected = 0o755 if os.geteuid() == 0 else 0o700
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected
        listener.close()
        private = listen(tmp_path / "c" / "socket", 0o600)
        assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700
        private.close()

    def test_a_stale_socket_is_replaced(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()
        with Daemon(path) as daemon, plug(daemon) as client:
            client.sendall(export("ann"))
            assert read(client)[0]["parameters"] == {"document": "ann"}

    def test_a_living_daemon_is_left_alone(self, daemon):
        with pytest.raises(AlreadyRunningError):
            listen(daemon.path, 0o666)
        with plug(daemon) as client:
            client.sendall(export("ann"))
            read(client)

    def test_a_living_socket_of_another_program_is_left_alone(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(0)
            with pytest.raises(AlreadyRunningError):
                listen(path, 0o666)
            with socket.socket(socket.AF_UNIX) as filler, socket.socket(socket.AF_UNIX) as more:
                for one in (filler, more):
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        one.connect(str(path))
                with pytest.raises(AlreadyRunningError):
                    listen(path, 0o666)
        assert path.exists()

    def test_a_datagram_socket_is_left_alone(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(path))
            with pytest.raises(AlreadyRunningError):
                listen(path, 0o666)
        assert path.exists()

    @pytest.mark.parametrize("kind", ["file", "folder", "link"])
    def test_what_is_no_socket_is_never_removed(self, tmp_path, kind):
        path = tmp_path / "socket"
        if kind == "file":
            path.write_text("precious")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError, match="no socket"):
            listen(path, 0o666)
        assert os.listdir(tmp_path) == ["socket"]

    def test_a_path_that_is_too_long_is_refused_in_words(self, tmp_path):
        path = tmp_path / ("x" * MAX_PATH)
        with pytest.raises(ConfigError, match=f"{MAX_PATH}"):
            listen(path, 0o666)
        assert os.listdir(tmp_path) == []

    def test_the_longest_path_works(self, tmp_path):
        path = tmp_path / ("x" * (MAX_PATH - len(os.fsencode(tmp_path)) - 1))
        listen(path, 0o666).close()

    def test_a_folder_that_cannot_be_made_is_refused_in_words(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="Not a directory"):
            listen(tmp_path / "file" / "socket", 0o666)

    def test_an_adopted_socket_is_served_and_not_removed(self, tmp_path):
        path = tmp_path / "socket"
        passed = socket.socket(socket.AF_UNIX)
        passed.bind(str(path))
        passed.listen()
        with Daemon(path, listener=adopt(passed)) as daemon, plug(daemon) as client:
            client.sendall(export("ann"))
            assert read(client)[0]["parameters"] == {"document": "ann"}
        assert path.exists()

    def test_a_socket_that_does_not_listen_is_not_adopted(self):
        with socket.socket(socket.AF_UNIX) as idle, pytest.raises(ConfigError):
            adopt(idle)
        with socket.socket(socket.AF_INET) as other, pytest.raises(ConfigError):
            adopt(other)

    def test_of_daemons_that_start_at_once_exactly_one_goes_on(self, tmp_path):
        path = tmp_path / "socket"
        code = (
            "import sys\n"
            "from voiceauthd.errors import AlreadyRunningError\n"
            "from voiceauthd.service.listener import listen\n"
            "print('loaded', flush=True)\n"
            "sys.stdin.readline()\n"
            "try:\n"
            "    listener = listen(sys.argv[1], 0o666)\n"
            "    print('listening', flush=True)\n"
            "except AlreadyRunningError:\n"
            "    print('already', flush=True)\n"
            "sys.stdin.readline()\n"
        )
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        try:
            for racer in racers:
                assert racer.stdout.readline() == "loaded\n"
            for racer in racers:
                racer.stdin.write("\n")
                racer.stdin.flush()
            ready = [racer.stdout.readline().strip() for racer in racers]
            assert sorted(ready) == ["already"] * 3 + ["listening"]
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        finally:
            for racer in racers:
                racer.communicate("\n", timeout=DEADLINE)

    def test_a_lock_that_nobody_holds_is_no_obstacle(self, tmp_path):
        (tmp_path / "socket.lock").write_text("")
        listener = listen(tmp_path / "socket", 0o666)
        listener.close()
        assert os.listdir(tmp_path) == []


def test_half_closing_and_vanishing_look_different_to_the_kernel():
    """What the server rests on: a watcher that asked for nothing hears of a hang-up, and of nothing less."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, select.epoll() as watcher:
        watcher.register(ours.fileno(), 0)
        theirs.sendall(b"x")
        theirs.shutdown(socket.SHUT_WR)
        assert watcher.poll(0) == []
        theirs.close()
        assert watcher.poll(0)[0][1] & select.EPOLLHUP
