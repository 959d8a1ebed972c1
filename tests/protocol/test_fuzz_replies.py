"""Fuzz the client's reading of a daemon's bytes.

A failure prints the case; `Maker(seed, replies=True, texts=REPLY_TEXTS).case(number)` reproduces it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_parts import Maker

from voiceauthd.client import Client
from voiceauthd.client.errors import failure
from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.interface import VOICEAUTHD, load
from voiceauthd.protocol.wire import MAX_REPLY, NUL, Decoder, WireError, encode, parse_reply


class Impostor:
    """Sends `answer` once on each connection, whatever is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: tuple[bytes, ...] = ()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen(8)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for chunk in self.answer:
                    connection.sendall(chunk)


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    made = Impostor(tmp_path / "s")
    yield made
    made.close()


REPLY_TEXTS = {"name": ("ralph",), "nonce": ("n", "n", "m"), "reason": ("match", "no_match"), "policy": ("unlock",)}


def fuzz_replies(seed: int, replies: int) -> Counter[str]:
    """Count the results of reading mutated replies and errors: "reply", or the exception's name."""
    results: Counter[str] = Counter()
    maker, number = Maker(seed, replies=True, texts=REPLY_TEXTS), 0
    while results.total() < replies:
        case = maker.case(number)
        number += 1
        decoder = Decoder(MAX_REPLY, NUL)
        for message in (message for chunk in case.chunks for message in decoder.feed(chunk)):
            try:
                reply = parse_reply(message)
                error = None if reply.error is None else failure(reply.error, reply.parameters)
                results["reply" if error is None else type(error).__name__] += 1
            except WireError:
                results["WireError"] += 1
            except Exception as problem:
                raise AssertionError(f"{type(problem).__name__}: {problem}\n{case}") from problem
    return results


class TestReplies:
    def test_mutated_replies_are_read_or_refused(self) -> None:
        results = fuzz_replies(seed=21, replies=10_000)
        assert results["reply"] > 1000
        assert results["WireError"] > 2000
        assert results["LockedError"] > 5

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_two_hundred_thousand_mutated_replies_are_read_or_refused(self) -> None:
        assert fuzz_replies(seed=22, replies=200_000)["reply"] > 20_000

    @pytest.mark.parametrize("value", [10**400, 1.5, "x\ny", None, {"a": {}}], ids=lambda value: repr(value)[:9])
    def test_errors_with_fields_of_any_type_are_raised(self, value: object) -> None:
        for error, declared in load().errors.items():
            raised = failure(f"{VOICEAUTHD}.{error}", dict.fromkeys(declared.fields, value))
            assert isinstance(raised, VoiceauthError), error
            assert str(raised), error

    @pytest.mark.parametrize("error", [f"{VOICEAUTHD}.StorageFailed", f"{VOICEAUTHD}.TooOften", "x.Y\x1b[2J"])
    def test_a_daemons_error_text_cannot_control_the_terminal(self, error: str) -> None:
        raised = failure(error, {"detail": "\x1b[2Jfull\rfine\u202e"})
        assert str(raised).isprintable()

    def test_an_error_text_of_several_lines_keeps_them(self) -> None:
        assert str(failure(f"{VOICEAUTHD}.ConfigurationRefused", {"detail": "line 1\nline 2"})) == "line 1\nline 2"

    @pytest.mark.parametrize("key", ["expires", "score"])
    def test_a_decision_with_a_number_beyond_the_range_of_a_double_is_refused(
        self, impostor: Impostor, key: str
    ) -> None:
        decision = {"state": "decided", "outcome": "accept", "name": "ralph", "nonce": "n", "expires": 5.0}
        impostor.answer = (encode({"parameters": decision | {key: 10**400}}, NUL),)
        with Client(impostor.path, 5.0) as client, pytest.raises(WireError):
            client.verify("ralph", nonce="n")

    @pytest.mark.parametrize("count", [1500, pytest.param(30_000, marks=pytest.mark.slow)])
    @pytest.mark.timeout(600)
    def test_a_client_raises_only_documented_errors_whatever_a_daemon_sends(
        self, impostor: Impostor, count: int
    ) -> None:
        """And it accepts nothing that does not contain "accept"."""
        maker = Maker(23, replies=True, texts=REPLY_TEXTS)
        results: Counter[str] = Counter()
        for number in range(count):
            case = maker.case(number)
            impostor.answer = case.chunks
            with Client(impostor.path, 5.0) as client:
                try:
                    if number % 3:
                        result = client.verify("ralph", nonce="n", on_progress=(lambda _: None) if number % 2 else None)
                        results["decision"] += 1
                        assert not result.accepted or b"accept" in case.whole
                    else:
                        for _ in client.stream("Monitor"):
                            results["reply"] += 1
                except VoiceauthError as problem:
                    results[type(problem).__name__] += 1
                except Exception as problem:
                    raise AssertionError(f"{type(problem).__name__}: {problem}\n{case}") from problem
        assert results["WireError"] > count // 10
        assert results["reply"] > count // 30
