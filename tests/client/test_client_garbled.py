"""The client accepts only well-formed answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from client_parts import Scripted, decision, reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voiceauthd.client import Client, NoAnswerError
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.protocol.wire import MAX_REPLY, WireError

GARBLED = [
    b"",
    b"\0",
    b"{}",
    b"junk\0",
    b'{"parameters":{},"error":7}\0',
    b'{"parameters":{},"continues":true}\0',
    b'{"parameters":{}}\n',
    b"\xff\0",
    b"x" * (MAX_REPLY + 1),
]


class TestGarbledAnswers:
    @pytest.mark.parametrize("answer", GARBLED, ids=range(len(GARBLED)))
    def test_a_malformed_answer_is_an_error(self, path, answer):
        with Scripted(path, answer), pytest.raises((WireError, NoAnswerError)) as caught:
            Client(path).call("Info")
        assert caught.value.exit_code != ExitCode.OK

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=100))
    def test_random_bytes_verify_nobody(self, path, answer):
        with Scripted(path, answer), pytest.raises(VoiceauthError):
            Client(path).verify("ann")

    def test_an_answer_truncated_anywhere_verifies_nobody(self, path):
        whole = reply(parameters=decision())
        for cut in range(0, len(whole), 7):
            with Scripted(path, whole[:cut]), pytest.raises(NoAnswerError):
                Client(path).verify("ann", nonce="n")

    def test_silence_ends_at_the_deadline(self, path):
        with Scripted(path, b"", hang=True), Client(path, timeout=0.2) as client:
            began = time.monotonic()
            with pytest.raises(NoAnswerError, match="in time"):
                client.call("Info")
            assert 0.15 < time.monotonic() - began < 2.0

    def test_an_answer_sent_slowly_also_ends_at_the_deadline(self, path):
        ours, theirs = socket.socketpair()
        stop = threading.Event()

        def send_slowly() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    theirs.sendall(b"x")

        sender = threading.Thread(target=send_slowly)
        sender.start()
        client = Client(path, timeout=0.3)
        client._connect = lambda deadline: ours  # a connection to a faulty daemon
        client._socket = ours
        try:
            with pytest.raises(NoAnswerError, match="in time"):
                client.call("Info")
        finally:
            stop.set()
            sender.join()
            theirs.close()

    def test_a_late_answer_is_not_taken_for_that_of_the_next_call(self, path):
        late = reply(parameters={"changed": ["late"]})
        right = reply(parameters={"changed": ["right"]})
        with Scripted(path, late[:-3], right), Client(path) as client:
            with pytest.raises(NoAnswerError):
                client.call("Reload")
            assert client.call("Reload") == {"changed": ["right"]}

    def test_an_unexpected_answer_is_not_taken_for_that_of_the_next_call(self, path):
        first = reply(parameters={"changed": ["first"]})
        stray = reply(parameters={"changed": ["stray"]})
        with Scripted(path, first + stray, reply(parameters={"changed": ["second"]})), Client(path) as client:
            assert client.call("Reload") == {"changed": ["first"]}
            assert client.call("Reload") == {"changed": ["second"]}

    def test_values_that_cannot_be_encoded_are_not_sent(self, path):
        for value in (float("nan"), "\ud800", object(), "x" * 70_000):
            with pytest.raises(WireError):
                Client(path).call("Verify", name=value)
