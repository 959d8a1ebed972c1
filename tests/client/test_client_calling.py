"""The client calls, streams, and raises the daemon's errors."""

from __future__ import annotations

import asyncio
import threading

import pytest
from client_parts import DEADLINE, Real, Scripted, reply

from voiceauthd.client import CallFailedError, Client
from voiceauthd.config.schema import SocketConfig
from voiceauthd.errors import AudioError, BusyError, DeniedError, ExitCode, UsageError
from voiceauthd.server.call import Call


class TestCalling:
    def test_a_call_and_a_stream_on_the_real_server(self, path):
        async def handle(call: Call) -> None:
            if call.name == "Reload":
                await call.reply({"changed": ["log"]})
                return
            for number in range(3):
                await call.reply({"event": {"kind": "speech", "sequence": number, "time": 0.0}}, continues=number < 2)

        with Real(path, handle), Client(path) as client:
            assert client.call("Reload") == {"changed": ["log"]}
            assert [one["event"]["sequence"] for one in client.stream("Monitor")] == [0, 1, 2]
            assert client.call("org.varlink.service.GetInfo")["product"] == "voiceauthd"
            assert client.call("Reload") == {"changed": ["log"]}

    def test_leaving_a_stream_early_ends_it_at_the_daemon(self, path):
        ended = threading.Event()

        async def handle(call: Call) -> None:
            if call.name == "Reload":
                await call.reply({"changed": []})
                return
            try:
                await call.reply({"event": {"kind": "started", "sequence": 0, "time": 0.0}}, continues=True)
                await asyncio.sleep(60)
            finally:
                ended.set()

        with Real(path, handle), Client(path) as client:
            for _ in client.stream("Monitor"):
                break
            assert ended.wait(DEADLINE)
            assert client.call("Reload") == {"changed": []}

    def test_a_client_makes_one_call_at_a_time(self, path):
        first = reply(parameters={"event": {}}, continues=True)
        with Scripted(path, first, hang=True), Client(path) as client:
            stream = client.stream("Monitor")
            next(stream)
            with pytest.raises(UsageError, match="one at a time"):
                client.call("Info")
            stream.close()

    def test_a_client_survives_a_restart_of_the_daemon_between_calls(self, path):
        async def handle(call: Call) -> None:
            await call.reply({"changed": []})

        with Client(path) as client:
            for _ in range(2):
                with Real(path, handle):
                    assert client.call("Reload") == {"changed": []}

    def test_a_client_over_the_connection_limit_gets_that_error(self, path):
        async def handle(call: Call) -> None:
            await call.reply({"changed": []})

        with Real(path, handle, SocketConfig(connections_per_user=1)), Client(path) as first:
            first.call("Reload")
            for _ in range(10):
                with pytest.raises(BusyError, match="at most 1"), Client(path) as second:
                    second.call("Reload")

    @pytest.mark.parametrize(
        ("error", "parameters", "kind", "text"),
        [
            ("org.voiceauthd.Busy", {"holder": "uid 7 verifies"}, BusyError, "uid 7"),
            ("org.voiceauthd.EnrolmentIncomplete", {"reason": "noisy", "detail": "too noisy"}, AudioError, "too noisy"),
            ("org.varlink.service.PermissionDenied", {}, DeniedError, "may not"),
            ("org.voiceauthd.Internal", {"detail": "a defect"}, CallFailedError, "a defect"),
            ("org.example.Strange", {}, CallFailedError, "org.example.Strange"),
            ("", {}, CallFailedError, "answered"),
        ],
    )
    def test_an_error_of_the_daemon_is_raised_as_its_exception(self, path, error, parameters, kind, text):
        with Scripted(path, reply(error=error, parameters=parameters)), pytest.raises(kind, match=text) as caught:
            Client(path).call("Info")
        failed = caught.value if kind is CallFailedError else caught.value.__cause__
        assert isinstance(failed, CallFailedError)
        assert (failed.error, failed.parameters) == (error, parameters)
        assert caught.value.exit_code != ExitCode.OK
        if "reason" in parameters:
            assert caught.value.reason == parameters["reason"]
