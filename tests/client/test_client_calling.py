"""The client calls, streams, and raises what an error of the daemon means."""

from __future__ import annotations

import asyncio
import threading

import pytest
from client_parts import DEADLINE, Real, Scripted, reply

from voiceauthd.client import CallFailedError, Client
from voiceauthd.config.schema import SocketConfig
from voiceauthd.errors import (
    AudioError,
    BusyError,
    ConfigError,
    DeniedError,
    ExitCode,
    ModelError,
    NotEnrolledError,
    SourceError,
    StorageError,
    UsageError,
)
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

    def test_leaving_a_stream_ends_it_at_the_daemon(self, path):
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

    def test_one_client_has_one_call_at_a_time(self, path):
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

    def test_one_who_is_turned_away_is_told_that_it_is_too_many(self, path):
        async def handle(call: Call) -> None:
            await call.reply({"changed": []})

        with Real(path, handle, SocketConfig(connections_per_user=1)), Client(path) as first:
            first.call("Reload")
            for _ in range(10):
                with pytest.raises(BusyError, match="at most 1"), Client(path) as second:
                    second.call("Reload")

    @pytest.mark.parametrize(
        ("error", "parameters", "kind", "says"),
        [
            ("org.voiceauthd.Busy", {"holder": "uid 7 verifies"}, BusyError, "uid 7"),
            ("org.voiceauthd.NotEnrolled", {"name": "ann"}, NotEnrolledError, "ann"),
            ("org.voiceauthd.NoSource", {"detail": "no microphone"}, SourceError, "no microphone"),
            ("org.voiceauthd.NotReady", {"detail": "loading"}, ModelError, "loading"),
            ("org.voiceauthd.StorageFailed", {"detail": "disk full"}, StorageError, "disk full"),
            ("org.voiceauthd.ConfigurationRefused", {"detail": "line 3"}, ConfigError, "line 3"),
            ("org.voiceauthd.EnrolmentIncomplete", {"reason": "noisy", "detail": "too noisy"}, AudioError, "too noisy"),
            ("org.varlink.service.PermissionDenied", {}, DeniedError, "may not"),
            ("org.varlink.service.InvalidParameter", {"parameter": "name"}, UsageError, "name"),
            ("org.voiceauthd.Internal", {"detail": "a defect"}, CallFailedError, "a defect"),
            ("org.example.Strange", {}, CallFailedError, "org.example.Strange"),
            ("", {}, CallFailedError, "answered"),
        ],
    )
    def test_an_error_of_the_daemon_is_raised_as_what_it_means(self, path, error, parameters, kind, says):
        with Scripted(path, reply(error=error, parameters=parameters)), pytest.raises(kind, match=says) as caught:
            Client(path).call("Info")
        failed = caught.value if kind is CallFailedError else caught.value.__cause__
        assert isinstance(failed, CallFailedError)
        assert (failed.error, failed.parameters) == (error, parameters)
        assert caught.value.exit_code != ExitCode.OK
        if "reason" in parameters:
            assert caught.value.reason == parameters["reason"]
