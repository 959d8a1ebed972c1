"""Fuzzing what stands between a client's bytes and a call. What a client makes of a daemon's is in test_fuzz_replies.

A failure prints the case: `Maker(seed).case(number)` of fuzz_parts makes the same bytes again.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fuzz_parts import Case, Maker
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.protocol.interface import VARLINK, VOICEAUTHD, MismatchError, load
from voiceauthd.protocol.wire import (
    LINE,
    MAX_DEPTH,
    MAX_MESSAGE,
    NUL,
    Decoder,
    Reply,
    Request,
    WireError,
    encode,
    encode_reply,
    parse_request,
)
from voiceauthd.server.call import Call
from voiceauthd.server.dispatch import Dispatcher
from voiceauthd.server.peer import Peer

LONGEST = 0.1
"""Seconds of processor time for one message, of 64 KiB at most. Ten times what the worst one takes here."""

GROWTH = 256 * 1024
"""Bytes that may be allocated and kept while 10,000 messages go by: a cache of the standard library that still fills.
One kept message in ten would be over it."""

ERROR_LENGTH = 300
"""Characters of what is said about a message, at most, whatever is in it."""

PEER = Peer(uid=0, gid=0, pid=1, user="root")


@dataclass
class Tally:
    """What has gone through."""

    mutated: int = 0
    read: int = 0
    calls: int = 0
    slowest: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)


class Door:
    """From bytes to a `Call`, and from what is raised to an answer: all that the daemon does but the method itself."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._dispatcher = Dispatcher(self._handle)
        self._calls: list[Call] = []
        self._replies: list[Reply] = []

    def try_case(self, case: Case) -> None:
        """Sends a case through. Raises `AssertionError` that names it."""
        self.tally.mutated += case.mutated
        try:
            decoder = Decoder()
            messages = [message for chunk in case.chunks for message in decoder.feed(chunk)] + decoder.finish()
            if case.number % 8 == 0:
                at_once = Decoder()
                assert messages == at_once.feed(case.whole) + at_once.finish(), "it matters how the stream is cut"
                assert (at_once.delimiter, at_once.overflowed) == (decoder.delimiter, decoder.overflowed)
            for message in messages:
                self.try_message(message)
        except Exception as problem:
            raise AssertionError(f"{type(problem).__name__}: {problem}\n{case}") from problem

    def try_message(self, message: bytes) -> None:
        assert len(message) <= MAX_MESSAGE
        self.tally.read += 1
        seconds = self._timed(message)
        if seconds > LONGEST / 2:  # once more: the processor may have been taken away in the middle
            seconds = min(seconds, *(self._timed(message) for _ in range(3)))
        assert seconds < LONGEST, f"{seconds:.3f} s for {message[:200]!r}"
        self.tally.slowest = max(self.tally.slowest, seconds)

    def _timed(self, message: bytes) -> float:
        began = time.thread_time()
        try:
            request = parse_request(message)
        except WireError as problem:
            seconds = time.thread_time() - began
            require_presentable(problem)
            self.tally.errors["MalformedMessage"] += 1
            return seconds
        self._calls.clear()
        self._replies.clear()
        step = self._dispatcher.answer(request, PEER, self._send)
        with contextlib.suppress(StopIteration):
            step.send(None)  # nothing in it ever waits, so it needs no event loop
            raise AssertionError("the dispatcher waits for something")
        seconds = time.thread_time() - began
        self._check(request)
        return seconds

    def _check(self, request: Request) -> None:
        """A request says what was sent and nothing else; it is answered once, by a declared reply or error."""
        again = encode(request._asdict(), NUL, limit=4 * MAX_MESSAGE)[:-1]
        assert parse_request(again) == request, "what was read is not what is written"
        assert len(self._replies) == (0 if request.oneway else 1)
        if self._calls:
            [call] = self._calls
            interface, _, name = call.method.rpartition(".")
            assert interface == VOICEAUTHD
            assert set(call.parameters) == set(load().methods[name].parameters.fields)
            assert load().check_call(name, call.parameters) == call.parameters
            self.tally.calls += 1
        for reply in self._replies:
            encode_reply(reply, NUL)
            if reply.error is not None:
                interface, _, error = reply.error.rpartition(".")
                load(interface).check_error(error, reply.parameters)
                assert error != "Internal"
                self.tally.errors[error] += 1

    async def _handle(self, call: Call) -> None:
        self._calls.append(call)
        await call.reply({})

    async def _send(self, reply: Reply) -> None:
        self._replies.append(reply)


def require_presentable(problem: Exception) -> None:
    """What is said about a hostile message must be fit for a terminal, and for a line of a log."""
    text = str(problem)
    assert text.isprintable(), f"not for a terminal: {text!r}"
    assert len(text) <= ERROR_LENGTH, f"{len(text)} characters: {text[:200]!r}"


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def fuzz_door(seed: int, requests: int) -> Tally:
    """Until so many mutated messages were sent."""
    door, maker, number = Door(), Maker(seed), 0
    while door.tally.mutated < requests:
        door.try_case(maker.case(number))
        number += 1
    return door.tally


def require_variety(tally: Tally) -> None:
    """The fuzzing has gone everywhere: else it shows nothing."""
    assert tally.calls > tally.read // 20, "hardly a call got through"
    assert tally.errors["MalformedMessage"] > tally.read // 4
    for error in ("MethodNotFound", "InterfaceNotFound", "InvalidParameter", "ExpectedMore"):
        assert tally.errors[error] > 0, error


class TestRequests:
    def test_mutated_requests_become_calls_or_declared_errors(self) -> None:
        tally = fuzz_door(seed=1, requests=30_000)
        require_variety(tally)
        assert tally.errors["InvalidParameter"] > 500

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("seed", [2, 3, 4, 5])
    def test_a_million_mutated_requests_become_calls_or_declared_errors_in_flat_memory(self, seed: int) -> None:
        """Four times 250,000. Resident memory may grow by 8 MiB: 32 bytes a message, where the average has 700."""
        fuzz_door(seed, 20_000)
        gc.collect()
        before = resident()
        tally = fuzz_door(seed + 10, 250_000)
        gc.collect()
        grown = resident() - before
        require_variety(tally)
        assert grown < 8 * 2**20

    def test_nothing_of_a_message_is_kept(self) -> None:
        maker = Maker(6)
        door = Door()
        for number in range(200):
            door.try_case(maker.case(number))
        cases = [maker.case(number) for number in range(200, 2200)]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            read = door.tally.read
            for case in cases:
                door.try_case(case)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert door.tally.read - read > 8000
        assert grown < GROWTH

    def test_no_client_writes_lines_of_its_own_into_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """A call that fails is told of in the log, with words from the call."""
        maker, door = Maker(7), Door()
        with caplog.at_level(logging.DEBUG, "voiceauthd"):
            for number in range(800):
                door.try_case(maker.case(number))
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) > 100
        for line in lines:
            assert line.isprintable(), f"not one line: {line!r}"
            assert len(line) <= 2 * ERROR_LENGTH

    @pytest.mark.parametrize(
        ("unit", "around"),
        [
            (b"[", b'{"method":"a","parameters":%s'),
            (b"[]", b'{"method":"a","parameters":{"x":[%s0]}}'),
            (b'{"a":', b'{"method":"a","parameters":%s'),
            (b"[[],", b'{"method":"a","parameters":{"x":%s'),
            (b"\\", b'{"method":"%s"}'),
            (b'\\"', b'{"method":"%s"}'),
            (b'"', b"%s"),
            (b'"[', b"%s"),
            (b"\\u00e9", b'{"method":"%s"}'),
            (b"\\ud800", b'{"method":"%s"}'),
            (b"\\ud83d\\ude00", b'{"method":"%s"}'),
            (b"\xf0\x9f\x98\x80", b'{"method":"%s"}'),
            (b"\xff", b"%s"),
            (b" ", b'{"method":%s"a"}'),
            (b"\t", b"%sx"),
            (b"9", b'{"method":"a","parameters":{"x":%s}}'),
            (b"9", b'{"method":"a","parameters":{"x":0.%s}}'),
            (b"9", b'{"method":"a","parameters":{"x":%s.5e-9999}}'),
            (b"0", b'{"method":"a","parameters":{"x":1e%s}}'),
            (b"9" * 4300 + b",", b'{"method":"a","parameters":{"x":[%s0]}}'),
            (b"1.5,", b'{"method":"a","parameters":{"x":[%s0]}}'),
            (b'"a":1,', b'{"method":"a","parameters":{%s"b":0}}'),
            (b'"a":1,', b'{"method":"org.voiceauthd.Info",%s"b":0}'),
            (b"a.", b'{"method":"%s"}'),
            (b"A", b'{"method":"org.voiceauthd.%s"}'),
            (b"e\xcc\x81", b'{"method":"org.voiceauthd.Verify","parameters":{"name":"%s"}}'),
            (b"x", b'{"method":"org.voiceauthd.Verify","parameters":{"%s":1}}'),
            (b"A", b'{"method":"org.voiceauthd.SendAudio","parameters":{"claim":"","pcm":"%s"}}'),
        ],
    )
    def test_no_message_of_full_length_takes_long(self, unit: bytes, around: bytes) -> None:
        room = MAX_MESSAGE - len(around) + 2
        door = Door()
        door.try_message(around.replace(b"%s", unit * (room // len(unit))))
        assert door.tally.slowest < LONGEST

    @pytest.mark.parametrize("end", [NUL, LINE])
    @pytest.mark.parametrize(
        "filler", [b"x", b" ", b"\n", b"\xef\xbb\xbf\n", b"x\n", b" \n", b"x" + b" " * 100 + b"\n"]
    )
    def test_a_stream_that_comes_byte_by_byte_costs_no_more_than_its_length(self, end: bytes, filler: bytes) -> None:
        stream = filler * (MAX_MESSAGE // len(filler)) + end
        began = time.thread_time()
        decoder = Decoder()
        for value in stream:
            decoder.feed(bytes((value,)))
        assert time.thread_time() - began < 1.0  # 65,536 calls; if each looked at all before it, this would be minutes

    @given(
        st.fixed_dictionaries(
            {
                "method": st.sampled_from(
                    [f"{VOICEAUTHD}.{name}" for name in load().methods] + [f"{VARLINK}.GetInfo", "x.Y"]
                )
            },
            optional={
                "parameters": st.dictionaries(
                    st.sampled_from(["name", "timeout", "uid", "interface", "mode", "a\nb"]) | st.text(max_size=50),
                    st.recursive(
                        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                        lambda inner: (
                            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
                        ),
                        max_leaves=6,
                    ),
                    max_size=4,
                ),
                "more": st.booleans() | st.none(),
                "oneway": st.booleans() | st.integers(),
                "upgrade": st.booleans(),
            },
        )
    )
    def test_any_parameters_become_a_call_or_a_declared_error(self, message: dict) -> None:
        """Python writes NaN and Infinity; JSON has no such numbers, and they are refused."""
        Door().try_message(json.dumps(message).encode())

    @given(st.text(max_size=200))
    def test_a_mismatch_is_told_in_one_line_whatever_the_parameter_is_called(self, name: str) -> None:
        with pytest.raises(MismatchError) as caught:
            load().check_call("Info", {name: 1})
        require_presentable(caught.value)
        assert name.startswith(caught.value.parameter)

    def test_the_depth_that_is_allowed_is_what_the_checks_bear(self) -> None:
        inner = "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2)
        Door().try_message(f'{{"method":"{VOICEAUTHD}.Info","parameters":{{"x":{inner}}}}}'.encode())


def test_the_same_case_is_made_every_time() -> None:
    """Else a failure could not be had again."""
    assert Maker(1).case(17) == Maker(1).case(17)
    assert len({Maker(seed).case(number).whole for seed in range(3) for number in range(30)}) > 80


def test_every_method_is_asked_for() -> None:
    """By its whole name, as a call that is in order."""
    found = set()
    for number in range(400):
        for message in Maker(1).case(number).whole.replace(NUL, LINE).split(LINE):
            with contextlib.suppress(WireError):
                found.add(parse_request(message).method)
    for interface in (load(VOICEAUTHD), load(VARLINK)):
        assert {f"{interface.name}.{name}" for name in interface.methods} <= found
