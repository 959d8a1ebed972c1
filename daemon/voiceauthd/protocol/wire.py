"""The wire format: splitting a byte stream into messages, and encoding and parsing them.

Two dialects share one socket. Varlink ends a message with a NUL byte; people and shell scripts end one with a newline.
The delimiter of the first message decides for the whole connection, and answers end with the same one.

All input is treated as hostile until it is parsed: sizes and depths are bounded here, and every refusal is a
`WireError` with one line that says what is wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from voiceauthd.errors import VoiceauthError

MAX_MESSAGE = 64 * 1024
"""Maximum bytes of one message to the daemon, without its delimiter."""

MAX_REPLY = 1024 * 1024
"""Maximum bytes of one message from the daemon: enough for a list of two thousand profiles."""

MAX_DEPTH = 32
"""Maximum nesting of objects and arrays. The interface nests four deep; the JSON parser recurses, so a bound is
needed."""

NUL = b"\0"
LINE = b"\n"
BOTH_DELIMITERS = b"\n\0"
"""The end of a message to a client that has not sent anything yet: complete in both dialects."""

_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"\s*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class WireError(VoiceauthError):
    """A message that the protocol does not allow. Its text is one line that can be shown to the sender."""

    reason = "malformed_message"


def presentable(text: str, max_length: int = 200) -> str:
    """Make a text safe for a terminal or a log line: escape unprintable characters, cut it at `max_length`.

    Text from the other side passes through here before it is shown, so that it can neither control a terminal nor forge
    a log line.
    """
    shown = text if len(text) <= max_length else f"{text[:max_length]}…"
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in shown)


class Request(NamedTuple):
    """A call as received. `method` is the full name; `parameters` have not been checked against the interface."""

    method: str
    parameters: dict[str, Any]
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


class Reply(NamedTuple):
    """An answer. `error` is None for success; `continues` means that more answers to the same call follow."""

    parameters: dict[str, Any]
    continues: bool = False
    error: str | None = None


class Decoder:
    """Splits a stream of bytes, received in any pieces, into messages. Buffers at most `limit` bytes.

    delimiter   NUL or LINE once a message has decided it, else None
    overflowed  a message was longer than `limit`; nothing more is decoded
    """

    def __init__(self, limit: int = MAX_MESSAGE, delimiter: bytes | None = None) -> None:
        self.delimiter = delimiter
        self.overflowed = False
        self._limit = limit
        self._pending = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the messages that `data` completes, in order. Blank lines are skipped unless NUL has been chosen."""
        data = bytes(data)
        messages: list[bytes] = []
        position = 0
        while position < len(data) and not self.overflowed:
            if not self._pending and self.delimiter != NUL:
                position = _BLANK.match(data, position).end()  # type: ignore[union-attr]  # always matches
            end = self._find_delimiter(data, position)
            stop = len(data) if end < 0 else end
            if len(self._pending) + stop - position > self._limit:
                self.overflowed = True
                self._pending.clear()
                break
            self._pending += data[position:stop]
            if end < 0:
                break
            position = end + 1
            message = self._complete(data[end:position])
            if message is not None:
                messages.append(message)
        return messages

    @property
    def has_partial_message(self) -> bool:
        """Whether part of a message is buffered."""
        return bool(self._pending)

    def finish(self) -> list[bytes]:
        """Return the message that the end of the input completes: a last line without a newline, as `printf` sends."""
        if self.overflowed or self.delimiter == NUL:
            return []
        message = self._complete(LINE)
        return [] if message is None else [message]

    def _find_delimiter(self, data: bytes, position: int) -> int:
        if self.delimiter is not None:
            return data.find(self.delimiter, position)
        line = data.find(LINE, position)
        nul = data.find(NUL, position, len(data) if line < 0 else line)
        return line if nul < 0 else nul

    def _complete(self, delimiter: bytes) -> bytes | None:
        message = bytes(self._pending)
        self._pending.clear()
        if delimiter == LINE:
            if self.delimiter is None:
                message = message.removeprefix(_BOM)
            message = message.strip()
            if not message:
                return None
        self.delimiter = delimiter
        return message


def encode(message: Mapping[str, Any], delimiter: bytes, limit: int = MAX_MESSAGE) -> bytes:
    """Encode one JSON object with its delimiter. Raises `WireError` if JSON cannot represent it or it exceeds `limit`
    bytes."""
    try:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise WireError(f"a message that JSON cannot represent: {problem}") from None
    if len(text) > limit:
        raise WireError(f"a message of {len(text)} bytes; at most {limit} are allowed")
    return text + delimiter


def encode_request(request: Request, delimiter: bytes = NUL) -> bytes:
    """Encode a call. Raises `WireError` as `encode` does."""
    message: dict[str, Any] = {"method": request.method}
    if request.parameters:
        message["parameters"] = request.parameters
    for flag in ("more", "oneway", "upgrade"):
        if getattr(request, flag):
            message[flag] = True
    return encode(message, delimiter)


def encode_reply(reply: Reply, delimiter: bytes) -> bytes:
    """Encode an answer. Raises `WireError` as `encode` does."""
    message: dict[str, Any] = {"parameters": reply.parameters}
    if reply.error is not None:
        message = {"error": reply.error, "parameters": reply.parameters}
    elif reply.continues:
        message["continues"] = True
    return encode(message, delimiter, MAX_REPLY)


def parse_request(raw: bytes) -> Request:
    """Parse {method, parameters?, more?, oneway?, upgrade?}. Raises `WireError` for anything else."""
    message = _parse_object(raw)
    _refuse_unknown_keys(message, Request._fields)
    method = message.get("method")
    if not isinstance(method, str):
        raise WireError("'method' must be a string")
    more, oneway, upgrade = (_flag(message, name) for name in ("more", "oneway", "upgrade"))
    if oneway and (more or upgrade):
        raise WireError("'oneway' cannot be combined with 'more' or 'upgrade'")
    return Request(method, _parameters(message), more, oneway, upgrade)


def parse_reply(raw: bytes) -> Reply:
    """Parse {parameters?, continues?, error?}. Raises `WireError` for anything else."""
    message = _parse_object(raw)
    _refuse_unknown_keys(message, Reply._fields)
    error = message.get("error")
    if error is not None and not isinstance(error, str):
        raise WireError("'error' must be a string")
    continues = _flag(message, "continues")
    if continues and error is not None:
        raise WireError("an error ends a call; it cannot have 'continues'")
    return Reply(_parameters(message), continues, error)


def _refuse_unknown_keys(message: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in message:
        if key not in known:
            raise WireError(f"unknown key {key[:40]!r}; known keys are {', '.join(known)}")


def _parameters(message: dict[str, Any]) -> dict[str, Any]:
    parameters = message.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise WireError("'parameters' must be an object")
    return parameters


def _flag(message: dict[str, Any], name: str) -> bool:
    value = message.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise WireError(f"{name!r} must be true or false")
    return value


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as problem:
        raise WireError(f"not UTF-8 at byte {problem.start}") from None
    _check_depth(text)
    try:
        value = json.loads(text, parse_float=_parse_float, parse_constant=_refuse_constant)
    except json.JSONDecodeError as problem:
        raise WireError(f"not JSON: {problem.msg} at character {problem.pos}") from None
    except ValueError as problem:
        raise WireError(f"unusable JSON: {problem}") from None
    if not isinstance(value, dict):
        raise WireError("a message must be a JSON object")
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value)
    return value


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the JSON parser recurses, by counting brackets outside strings in one pass."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
    if any(depth > MAX_DEPTH for depth in accumulate(map(_STEPS.__getitem__, brackets))):
        raise WireError(f"nested more than {MAX_DEPTH} deep")


def _check_surrogates(value: dict[str, Any]) -> None:
    """Refuse half a surrogate pair: valid JSON, but a text that can be neither stored, printed nor sent back."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise WireError("a string with half a surrogate pair") from None


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number beyond the range of a double")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
