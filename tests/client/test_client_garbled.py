"""The client takes nothing for an answer that is not one."""

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
    b"null\0",
    b"junk\0",
    b'{"parameters":[]}\0',
    b'{"parameters":{},"error":7}\0',
    b'{"parameters":{},"continues":true}\0',
    b'{"parameters":{"a":NaN}}\0',
    b'{"parameters":{}',
    b'{"parameters":{}}\n',
    b"\xff\0",
    b"x" * (MAX_REPLY + 1),
]


class TestGarbledAnswers:
    @pytest.mark.parametrize("answer", GARBLED, ids=range(len(GARBLED)))
    def test_what_is_no_answer_is_an_error(self, path, answer):
        with Scripted(path, answer), pytest.raises((WireError, NoAnswerError)) as caught:
            Client(path).call("Info")
        assert caught.value.exit_code != ExitCode.OK

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=100))
    def test_no_bytes_whatever_verify_anybody(self, path, answer):
        with Scripted(path, answer), pytest.raises(VoiceauthError):
            Client(path).verify("ann")

    def test_an_answer_cut_anywhere_verifies_nobody(self, path):
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

    def test_an_answer_that_dribbles_in_ends_at_the_deadline_too(self, path):
        ours, theirs = socket.socketpair()
        stop = threading.Event()

        def dribble() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    theirs.sendall(b"x")

        dribbling = threading.Thread(target=dribble)
        dribbling.start()
        client = Client(path, timeout=0.3)
        client._connect = lambda deadline: ours  # the connection is made; the daemon behind it is not right
        client._socket = ours
        try:
            with pytest.raises(NoAnswerError, match="in time"):
                client.call("Info")
        finally:
            stop.set()
            dribbling.join()
            theirs.close()

    def test_after_a_failure_no_late_answer_is_taken_for_the_next_calls(self, path):
        late = reply(parameters={"changed": ["late"]})
        right = reply(parameters={"changed": ["right"]})
        with Scripted(path, late[:-3], right), Client(path) as client:
            with pytest.raises(NoAnswerError):
                client.call("Reload")
            assert client.call("Reload") == {"changed": ["right"]}

    def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_calls(self, path):
        first = reply(parameters={"changed": ["first"]})
        stray = reply(parameters={"changed": ["stray"]})
        with Scripted(path, first + stray, reply(parameters={"changed": ["second"]})), Client(path) as client:
            assert client.call("Reload") == {"changed": ["first"]}
            assert client.call("Reload") == {"changed": ["second"]}

    def test_what_cannot_be_said_is_not_sent(self, path):
        for value in (float("nan"), "\ud800", object(), "x" * 70_000):
            with pytest.raises(WireError):
                Client(path).call("Verify", name=value)
