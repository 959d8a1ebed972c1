"""Fuzzing input: calls generated from the interface files, mutated in bytes, tokens and framing.

Everything follows from a seed and a number: `Maker(seed).case(number)` gives the same bytes on every machine and in
every run. New methods in the interface files are included automatically.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voiceauthd.protocol.interface import VARLINK, VOICEAUTHD, load
from voiceauthd.protocol.varlink_language import (
    Array,
    Declarations,
    Dictionary,
    Enum,
    Named,
    Nullable,
    Scalar,
    Struct,
    Type,
)
from voiceauthd.protocol.wire import LINE, MAX_DEPTH, MAX_MESSAGE, NUL

CLAIM = "the-claim-of-this-test"
"""A placeholder as long as a real claim, which a test can replace by a real one."""

NOBODY = "Nobody"
PEOPLE = (NOBODY, NOBODY, "Fuzz", "games", "Ralph", "root")
"""Names used in calls; a third of them is never enrolled."""

NASTY_TEXTS = (
    "", "\0", "\n", "a\nvoiceauthd: INFO: a line of somebody else's", "\r", "\x1b[2J", "\x7f", "\u2028", "\u202e",
    "../x", "/etc/passwd", "%s%n%d", "{0.__class__}", "{name!r}", "__proto__", "constructor", "__class__", "x" * 65,
    "é" * 41, "\U0001f600", "e\u0301" * 20, "\ufeff", "-", ".", " ", "a  b", "x" * 300, "\u1100" * 300, "nan", "null",
)  # fmt: skip

NASTY_NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64, 10**18, 1.5, -0.0, 5e-324, 1.7e308, -1e300, 1e-9)

DEEP = (MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 1100)

NASTY_TOKENS = (
    *(json.dumps(text).encode() for text in NASTY_TEXTS),
    *(json.dumps(text, ensure_ascii=False).encode() for text in NASTY_TEXTS),
    *(json.dumps(number).encode() for number in NASTY_NUMBERS),
    *(b"9" * digits for digits in (20, 309, 400, 4300, 4301, 9000)),
    *(b"[" * depth + b"]" * depth for depth in DEEP),
    *(b'{"a":' * depth + b"1" + b"}" * depth for depth in DEEP),
    b"1e999", b"-1e999", b"1e-999", b"1e308", b"0.1e309", b"1" + b"0" * 308 + b".0", b"0." + b"1" * 3000,
    b"NaN", b"Infinity", b"-Infinity", b"nan", b"-", b"-0", b"01", b"+1", b".5", b"1.", b"1e", b"0x10", b"1_0", b"true",
    b"false", b"null", b"True", b"None", b"undefined", b"[]", b"{}", b"[[]]", b'[{"a":[]}]', b"{}{}", b"[],", b'""""',
    b"'a'", b"//", b"/**/", rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\uD800x"', rb'"\u0000"',
    rb'"\u000a"', rb'"\x00"', rb'"\u12"', rb'"\"', rb'"\\"', b'"', b'"\0"', b'"\n"', b'"\r\n"', b'"\t"', b'"\xff"',
    b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xe2\x82"', b'"\xf4\x90\x80\x80"', b'"\xf8\x88\x80\x80\x80"', b'"\x80"',
    b"\xef\xbb\xbf", b'"\xef\xbf\xbe"', b"\xe2\x80\xa8",
)  # fmt: skip

BYTES = (
    b"\0",
    b"\n",
    b"\r",
    b"\\",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\xff",
    b"\x80",
    b"\xed",
    b"0",
    b"9",
    b"e",
    b"-",
)

KEYS = (
    *("method", "parameters", "more", "oneway", "upgrade", "continues", "error"),
    "__proto__",
    "__class__",
    "",
    "a\nb",
    "x" * 99,
)
"""Keys of messages, and some that no message has."""

ODD_ENDS = (b"\0", b"\n", b"\r\n", b"\n\0", b"\0\n", b"\n\n\n", b"", b" \n", b"\n\xef\xbb\xbf")

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.0-9eE]+|[a-zA-Z]+|[\[\]{},:]|\s+|.', re.DOTALL)

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """The input of one connection, split into `chunks`. `mutated`: how many messages differ from valid ones."""

    seed: int
    number: int
    chunks: tuple[bytes, ...]
    mutated: int

    @property
    def whole(self) -> bytes:
        """The whole input."""
        return b"".join(self.chunks)

    def __str__(self) -> str:
        """The description in a failure: enough to reproduce the case."""
        shown = self.whole if len(self.whole) <= 4000 else self.whole[:4000] + b"..."
        return f"Maker({self.seed}).case({self.number}), {len(self.whole)} bytes: {shown!r}"


class Maker:
    """Makes cases.

    texts     values for string fields by field name, instead of random ones: {"document": (...,)}
    replies   make messages of a daemon instead of a client
    messages  maximum number in a case
    spoilt    the share of messages that are mutated
    """

    def __init__(
        self,
        seed: int,
        *,
        texts: Mapping[str, Sequence[str]] | None = None,
        replies: bool = False,
        messages: int = 12,
        spoilt: float = 0.75,
    ) -> None:
        self._seed = seed
        self._texts = {
            "name": PEOPLE,
            "new_name": PEOPLE,
            "claim": (CLAIM,),
            "pcm": ("", "AAAA", "AAA="),
            **(texts or {}),
        }
        self._texts.setdefault("interface", (VARLINK, VOICEAUTHD))
        self._replies = replies
        self._max_messages = messages
        self._spoilt = spoilt
        self._names = [
            (interface, name, error)
            for interface in (load(VOICEAUTHD), load(VARLINK))
            for name, error in [(method, False) for method in interface.methods]
            + [(error, True) for error in interface.errors if replies]
        ]

    def case(self, number: int) -> Case:
        """Return the case with this number."""
        rng = random.Random(f"{self._seed}/{number}")
        count = 1 if rng.random() < 0.2 else rng.randint(1, self._max_messages)
        end = NUL if rng.random() < 0.5 or self._replies else LINE
        parts: list[bytes] = [rng.choice((b"\n", b"\r\n \n", b"\xef\xbb\xbf"))] if rng.random() < 0.05 else []
        mutated = 0
        for _ in range(count):
            raw, spoilt = self.message(rng)
            mutated += spoilt
            parts.append(raw)
            parts.append(rng.choice(ODD_ENDS) if rng.random() < 0.03 else end)
        if rng.random() < 0.1:
            parts.pop()
        if rng.random() < 0.02:
            parts.insert(rng.randrange(len(parts) + 1), _oversized(rng, end))
        return Case(self._seed, number, _cut(rng, b"".join(parts)), mutated)

    def message(self, rng: random.Random) -> tuple[bytes, bool]:
        """Return one message, and whether it differs from a valid one."""
        raw = valid = self._valid(rng)
        if rng.random() >= self._spoilt:
            return raw, False
        if rng.random() < 0.003:
            raw = _inflate(rng, raw)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            raw = rng.choice(MUTATIONS)(rng, raw)
            if rng.random() < 0.02:
                raw = _splice(rng, raw, self._valid(rng))
        return raw, raw != valid

    def _valid(self, rng: random.Random) -> bytes:
        interface, name, error = rng.choice(self._names)
        full = f"{interface.name}.{name}"
        if error:
            struct = interface.errors[name]
        else:
            struct = interface.methods[name].reply if self._replies else interface.methods[name].parameters
        parameters = self._value(rng, struct, interface.declared, "")
        message: Message = {"parameters": parameters} if parameters or rng.random() < 0.5 else {}
        if not self._replies:
            message = {"method": full} | message
            for flag in ("more", "oneway", "upgrade"):
                if rng.random() < (0.2 if flag == "more" else 0.03):
                    message[flag] = rng.random() < 0.9
        elif error:
            message["error"] = full
        elif rng.random() < 0.2:
            message["continues"] = True
        separators = (",", ":") if rng.random() < 0.7 else None
        return json.dumps(message, ensure_ascii=rng.random() < 0.5, separators=separators).encode()

    def _value(self, rng: random.Random, kind: Type, declared: Declarations, field: str) -> Any:
        """Return a value of a type; texts and numbers may be unusual or out of range."""
        match kind:
            case Nullable(element):
                # A timeout is nearly always given: otherwise each call would take seconds.
                absent = rng.random() < (0.01 if field == "timeout" else 0.4)
                return None if absent else self._value(rng, element, declared, field)
            case Named(name):
                return self._value(rng, declared.types[name], declared, field)
            case Enum(words):
                return rng.choice(words)
            case Struct(fields):
                pairs = {key: self._value(rng, inner, declared, key) for key, inner in fields.items()}
                return {key: value for key, value in pairs.items() if value is not None or rng.random() < 0.1}
            case Array(element) | Dictionary(element):
                items = [self._value(rng, element, declared, field) for _ in range(rng.choice((0, 1, 3)))]
                return items if isinstance(kind, Array) else {f"k{index}": item for index, item in enumerate(items)}
            case Scalar(scalar):
                return self._scalar(rng, scalar, field)

    def _scalar(self, rng: random.Random, kind: str, field: str) -> Any:
        match kind:
            case "bool":
                return rng.random() < 0.5
            case "string" if field in self._texts and rng.random() < 0.9:
                return rng.choice(self._texts[field])
            case "string":
                return rng.choice(NASTY_TEXTS)
            case "object":
                return {"a": 1}
            case _ if field == "timeout":
                return rng.choice((0, 0.01, 0.01, 0.02, 0.05, 0.3, -1, 5e-324)) if rng.random() < 0.99 else 1e308
            case _ if rng.random() < 0.5:
                return rng.randrange(100)
        return rng.choice(NASTY_NUMBERS)


# Mutations of one message


def _flip(rng: random.Random, raw: bytes) -> bytes:
    spoilt = bytearray(raw or b"{")
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def _insert(rng: random.Random, raw: bytes) -> bytes:
    where = rng.randrange(len(raw) + 1)
    piece = rng.choice(BYTES) if rng.random() < 0.7 else rng.randbytes(rng.choice((1, 3, 20)))
    return raw[:where] + piece * rng.choice((1, 1, 1, 40)) + raw[where:]


def _delete(rng: random.Random, raw: bytes) -> bytes:
    begin, end = _slice(rng, raw)
    return raw[:begin] + raw[end:]


def _duplicate(rng: random.Random, raw: bytes) -> bytes:
    begin, end = _slice(rng, raw)
    return raw[:end] + raw[begin:end] * rng.choice((1, 1, 3)) + raw[end:]


def _truncate(rng: random.Random, raw: bytes) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)]


def _token(rng: random.Random, raw: bytes) -> bytes:
    """Replace one token by another, most often a value."""
    tokens = _TOKEN.findall(raw) or [b""]
    values = [
        index for index, token in enumerate(tokens) if index and tokens[index - 1] == b":" and token not in (b"{", b"[")
    ]
    where = rng.choice(values) if values and rng.random() < 0.8 else rng.randrange(len(tokens))
    tokens[where] = rng.choice(NASTY_TOKENS)
    return b"".join(tokens)


def _shuffle(rng: random.Random, raw: bytes) -> bytes:
    """Remove, duplicate or swap tokens."""
    tokens = _TOKEN.findall(raw) or [b""]
    one, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    match rng.randrange(3):
        case 0:
            del tokens[one]
        case 1:
            tokens.insert(one, tokens[other])
        case _:
            tokens[one], tokens[other] = tokens[other], tokens[one]
    return b"".join(tokens)


def _add_key(rng: random.Random, raw: bytes) -> bytes:
    """Add a key that is unknown, or already there."""
    opened = [match.end() for match in re.finditer(rb"\{", raw)]
    if not opened:
        return raw
    where = rng.choice(opened)
    known = re.findall(rb'"[a-z_]+"(?=\s*:)', raw)
    key = rng.choice(known) if known and rng.random() < 0.5 else json.dumps(rng.choice(KEYS)).encode()
    comma = b"" if raw[where : where + 1] == b"}" else b","
    return raw[:where] + key + b":" + rng.choice(NASTY_TOKENS) + comma + raw[where:]


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _insert, _delete, _duplicate, _truncate, _shuffle),
    *(_token, _token, _token, _add_key, _add_key),
)


def _splice(rng: random.Random, raw: bytes, other: bytes) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other)) :]


def _slice(rng: random.Random, raw: bytes) -> tuple[int, int]:
    begin = rng.randrange(len(raw) + 1)
    return begin, min(len(raw), begin + rng.choice((1, 1, 2, 5, 30)))


def _inflate(rng: random.Random, raw: bytes) -> bytes:
    """Replace a value by one that makes the message as long as allowed, or nearly so."""
    tokens = _TOKEN.findall(raw)
    values = [index for index, token in enumerate(tokens) if token[:1] == b'"' and index and tokens[index - 1] == b":"]
    if not values:
        return raw
    length = MAX_MESSAGE - len(raw) - rng.choice((0, 1, 100, 30_000))
    filler = rng.choice((b"x", b"\\n", rb"\ud83d\ude00", b"\xc3\xa9", b"\\\\", b"[", b"%", b"\xf0\x9f\x98\x80"))
    tokens[rng.choice(values)] = b'"' + filler * (length // len(filler)) + b'"'
    return b"".join(tokens)


# Streams


def _oversized(rng: random.Random, end: bytes) -> bytes:
    size = MAX_MESSAGE + rng.choice((-1, 0, 1, 1, 5000, 200_000))
    return rng.choice((b"x", b" ", b"[", b'{"a":', b"\xff"))[:1] * size + rng.choice((end, b""))


def _cut(rng: random.Random, stream: bytes) -> tuple[bytes, ...]:
    """Split a stream: not at all, into a few pieces, or byte by byte."""
    if len(stream) < 2 or rng.random() < 0.5:
        return (stream,)
    if len(stream) < 600 and rng.random() < 0.05:
        return tuple(stream[index : index + 1] for index in range(len(stream)))
    cuts = sorted(rng.randrange(1, len(stream)) for _ in range(rng.choice((1, 2, 3, 10))))
    return tuple(stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True))
