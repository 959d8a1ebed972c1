"""The wire format: any bytes are handled, however a stream is split, and only complete messages count."""

from __future__ import annotations

import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.protocol.wire import (
    BOTH_DELIMITERS,
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
    encode_request,
    parse_reply,
    parse_request,
)

CALL = b'{"method":"org.voiceauthd.Info"}'

json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | json_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_text, inner, max_size=4),
    max_leaves=20,
)
"""JSON values within the wire format's limits."""

pieces = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([CALL, NUL, LINE, b"\r\n", b"\xef\xbb\xbf", b" ", b"x" * 40, b"{}"]),
    ),
    max_size=20,
)


def decoded(decoder: Decoder, *chunks: bytes) -> list[bytes]:
    messages = [message for chunk in chunks for message in decoder.feed(chunk)]
    return messages + decoder.finish()


class TestFraming:
    def test_varlink_is_answered_in_varlink(self):
        decoder = Decoder()
        assert decoder.feed(CALL + NUL) == [CALL]
        assert decoder.delimiter == NUL

    def test_lines_are_answered_in_lines(self):
        decoder = Decoder()
        assert decoder.feed(CALL + LINE) == [CALL]
        assert decoder.delimiter == LINE

    def test_the_first_message_decides_for_the_whole_connection(self):
        decoder = Decoder()
        assert decoder.feed(CALL + NUL + b'{"a":\n1}' + NUL) == [CALL, b'{"a":\n1}']
        lines = Decoder()
        assert lines.feed(CALL + LINE + b"a\0b" + LINE) == [CALL, b"a\0b"]

    def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_ignored(self):
        decoder = Decoder()
        assert decoder.feed(b"\r\n\n\xef\xbb\xbf" + CALL + b"\r\n\r\n" + CALL + b"\r\n") == [CALL, CALL]
        assert decoder.delimiter == LINE

    def test_blank_lines_do_not_choose_the_dialect(self):
        decoder = Decoder()
        assert decoder.feed(b"\n\n" + CALL + NUL) == [CALL]
        assert decoder.delimiter == NUL

    def test_a_last_line_without_newline_counts_at_the_end_of_the_input(self):
        assert decoded(Decoder(), CALL) == [CALL]
        assert decoded(Decoder(), CALL + LINE, CALL) == [CALL, CALL]

    def test_a_truncated_varlink_message_does_not_count(self):
        assert decoded(Decoder(), CALL + NUL, CALL) == [CALL]

    def test_the_longest_message_is_read_and_one_byte_more_is_not(self):
        longest = b"x" * MAX_MESSAGE
        assert Decoder().feed(longest + NUL) == [longest]
        decoder = Decoder()
        assert decoder.feed(CALL + NUL + longest + b"x" + NUL + CALL + NUL) == [CALL]
        assert decoder.overflowed
        assert decoder.feed(CALL + NUL) == []

    @given(pieces, st.data())
    def test_messages_do_not_depend_on_how_the_stream_is_split(self, parts, data):
        stream = b"".join(parts)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        whole, split = Decoder(limit=64), Decoder(limit=64)
        assert decoded(whole, stream) == decoded(split, *chunks)
        assert (whole.delimiter, whole.overflowed) == (split.delimiter, split.overflowed)

    @given(st.lists(st.binary(max_size=400), max_size=20))
    def test_memory_is_bounded_for_any_input(self, chunks):
        decoder = Decoder(limit=100)
        for chunk in chunks:
            for message in decoder.feed(chunk):
                assert len(message) <= 100
            assert len(decoder._pending) <= 100

    def test_a_flood_of_newlines_takes_no_memory(self):
        decoder = Decoder()
        for _ in range(100):
            assert decoder.feed(b"\n" * 65536) == []
        assert not decoder.overflowed
        assert len(decoder._pending) == 0


class TestRequests:
    @given(st.binary(max_size=300))
    def test_any_bytes_are_parsed_or_refused_in_one_line(self, raw):
        for parse in (parse_request, parse_reply):
            try:
                parse(raw)
            except WireError as problem:
                text = str(problem)
            else:
                continue
            assert "\n" not in text

    @given(json_text, st.dictionaries(json_text, json_values, max_size=4), st.sampled_from([NUL, LINE]))
    def test_a_request_arrives_as_it_was_sent(self, method, parameters, delimiter):
        sent = Request(method, parameters, more=True)
        [raw] = decoded(Decoder(1 << 20), encode_request(sent, delimiter))
        assert parse_request(raw) == sent

    def test_flags_default_to_false_and_null_is_absence(self):
        assert parse_request(b'{"method":"a","parameters":null,"more":null}') == Request("a", {})

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"null",
            b"{",
            b"{}",
            b'{"method":1}',
            b'{"method":"a","parameters":[]}',
            b'{"method":"a","more":1}',
            b'{"method":"a","oneway":true,"more":true}',
            b'{"method":"a","oneway":true,"upgrade":true}',
            b'{"method":"a","parametres":{}}',
            b'{"method":"a"} {"method":"b"}',
            b'{"method":"\xff"}',
            b'\xef\xbb\xbf{"method":"a"}',
            b'{"method":"a","parameters":{"x":NaN}}',
            b'{"method":"a","parameters":{"x":1e999}}',
            b'{"method":"a","parameters":{"x":"\\ud800"}}',
            b'{"method":"a","parameters":{"x":' + b"1" * 5000 + b"}}",
            b"{'method':'a'}",
            b'{"method":"a\nb"}',
        ],
    )
    def test_invalid_calls_are_refused(self, raw):
        with pytest.raises(WireError):
            parse_request(raw)

    def test_a_whole_surrogate_pair_is_text(self):
        assert parse_request(rb'{"method":"\ud83d\ude00"}').method == "\U0001f600"

    def test_the_last_of_a_duplicate_key_counts(self):
        assert parse_request(b'{"method":"a","method":"b"}').method == "b"

    @pytest.mark.parametrize("bracket", ["[", '{"a":'])
    def test_deep_nesting_is_refused_without_recursion(self, bracket):
        deep = '{"method":"a","parameters":' + bracket * (MAX_MESSAGE // len(bracket) - 40)
        with pytest.raises(WireError, match="nested"):
            parse_request(deep.encode())

    def test_the_maximum_depth_is_accepted(self):
        inner = MAX_DEPTH - 2
        raw = '{"method":"a","parameters":{"x":' + "[" * inner + "]" * inner + "}}"
        assert parse_request(raw.encode()).method == "a"
        with pytest.raises(WireError, match="nested"):
            parse_request(raw.replace("[]", "[[]]").encode())

    def test_brackets_in_strings_do_not_count_as_nesting(self):
        text = '[{"\\' * 1000
        assert parse_request(json.dumps({"method": text}).encode()).method == text

    def test_brackets_side_by_side_do_not_count_as_nesting(self):
        raw = json.dumps({"method": "a", "parameters": {"x": [[]] * 5000}}).encode()
        assert len(parse_request(raw).parameters["x"]) == 5000


class TestReplies:
    def test_a_reply_arrives_as_it_was_sent(self):
        for reply in (Reply({}), Reply({"a": 1}, continues=True), Reply({"a": "ü"}, error="x.Y")):
            assert parse_reply(encode_reply(reply, NUL)[:-1]) == reply

    @pytest.mark.parametrize(
        "raw",
        [b'{"error":1}', b'{"error":"x.Y","continues":true}', b'{"continues":1}', b'{"parameters":[]}', b'{"a":1}'],
    )
    def test_invalid_replies_are_refused(self, raw):
        with pytest.raises(WireError):
            parse_reply(raw)

    def test_an_empty_error_name_is_still_an_error(self):
        assert parse_reply(b'{"error":""}').error is not None

    @pytest.mark.parametrize("value", [math.nan, "\ud800", b"x", object()])
    def test_values_that_json_cannot_represent_are_not_sent(self, value):
        with pytest.raises(WireError):
            encode({"parameters": {"x": value}}, NUL)

    def test_a_message_never_contains_its_own_delimiter(self):
        for delimiter in (NUL, LINE):
            assert encode({"a": "x\n\0\r\u2028y"}, delimiter).count(delimiter) == 1

    def test_a_message_that_is_too_long_is_not_sent(self):
        with pytest.raises(WireError, match="at most"):
            encode({"a": "x" * MAX_MESSAGE}, NUL)

    def test_a_message_nested_too_deep_for_python_is_not_sent(self):
        value: list[object] = []
        for _ in range(sys.getrecursionlimit() * 2):
            value = [value]
        with pytest.raises(WireError):
            encode({"a": value}, NUL)

    def test_an_answer_to_a_client_of_unknown_dialect_is_complete_in_both(self):
        raw = encode_reply(Reply({}, error="x.Y"), BOTH_DELIMITERS)
        assert json.loads(raw.partition(NUL)[0])["error"] == "x.Y"
        assert json.loads(raw.partition(LINE)[0])["error"] == "x.Y"
