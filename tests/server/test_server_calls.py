"""The socket server: calls, their answers and their order, in both dialects."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
import varlink
from server_parts import DEADLINE, IDENTITY, errors, export, message, plug, read

from voiceauthd.config.schema import SocketConfig


class TestDialects:
    @pytest.mark.parametrize("end", [b"\0", b"\n"])
    def test_an_answer_ends_as_the_call_did(self, connect, end):
        client = connect()
        client.sendall(export("ann", end) + export("bob", end))
        assert [answer["parameters"] for answer in read(client, 2, end)] == [{"document": "ann"}, {"document": "bob"}]

    def test_a_call_may_arrive_byte_by_byte(self, connect):
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
    @pytest.mark.parametrize("line", [export("ann").strip(), b"\n\r\n" + export("ann")])
    def test_a_call_with_socat_is_answered(self, daemon, line):
        run = subprocess.run(
            ["socat", "-", f"UNIX:{daemon.path}"], input=line, capture_output=True, timeout=DEADLINE, check=True
        )
        assert json.loads(run.stdout) == {"parameters": {"document": "ann"}}

    @pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
    def test_a_stream_continues_after_socats_input_has_ended(self, daemon):
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
    def test_a_defect_is_answered_without_details(self, connect, caplog, defect):
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

    def test_excess_calls_are_refused_and_the_others_answered(self, connect):
        client = connect()
        limit = SocketConfig().requests_in_flight
        client.sendall(export("slow") + export("ann") * (limit + 9))
        answers = read(client, limit + 10)
        assert errors(answers) == [None] * limit + ["TooManyRequests"] * 10
        assert answers[-1]["parameters"] == {"limit": limit}
        client.sendall(export("bob"))
        assert read(client)[0]["parameters"] == {"document": "bob"}

    def test_a_oneway_call_is_carried_out_and_not_answered(self, daemon, connect):
        client = connect()
        oneway = {"oneway": True}
        client.sendall(message("Reload", flags=oneway) + message("Nonsense", flags=oneway) + export("ann"))
        assert read(client)[0]["parameters"] == {"document": "ann"}
        assert daemon.reloaded.is_set()

    def test_a_oneway_call_is_carried_out_after_its_caller_has_disconnected(self, daemon):
        with plug(daemon) as client:
            client.sendall(export("slow") + message("Reload", flags={"oneway": True}))
        assert daemon.reloaded.wait(DEADLINE)

    def test_a_oneway_call_does_not_open_the_microphone(self, daemon, connect):
        client = connect()
        client.sendall(message("Identify", flags={"oneway": True}) + export("ann"))
        read(client)
        assert [call.name for call in daemon.calls] == ["ExportProfile"]
