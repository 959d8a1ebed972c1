"""The parser of Varlink's interface language: from the text of a `.varlink` file to its declarations.

The grammar is the Varlink standard's (https://varlink.org/Interface-Definition), with one restriction: every type
that is used must be declared in the same file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from voiceauthd.errors import VoiceauthError

SCALARS = ("bool", "int", "float", "string", "object")

MAX_NESTING = 32
"""Maximum nesting depth of types; bounds the parser's recursion."""

_TOKEN = re.compile(
    r"(?P<space>(?:\s|\#[^\n]*)+)"
    r"|(?P<mark>->|\[string\]|\[\]|[?(),:])"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_.-]*)"
)
_INTERFACE_NAME = re.compile(r"[A-Za-z](-*[A-Za-z0-9])*(\.[A-Za-z0-9](-*[A-Za-z0-9])*)+")
_MEMBER_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_FIELD_NAME = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")


class InterfaceError(VoiceauthError):
    """An interface file that cannot be parsed; the message names the line."""

    reason = "interface"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of `SCALARS`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Named:
    """A reference to a type that the interface declares under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Array:
    """[]element"""

    element: Type


@dataclass(frozen=True, slots=True)
class Dictionary:
    """[string]element"""

    element: Type


@dataclass(frozen=True, slots=True)
class Nullable:
    """?element; null and absent mean the same."""

    element: Type


@dataclass(frozen=True, slots=True)
class Enum:
    """One of these words, sent as a string."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with exactly these fields."""

    fields: dict[str, Type]


Type = Scalar | Named | Array | Dictionary | Nullable | Enum | Struct


@dataclass(frozen=True, slots=True)
class Method:
    """The parameters of a call, and of each of its replies."""

    parameters: Struct
    reply: Struct


@dataclass(frozen=True, slots=True)
class Declarations:
    """The declarations of one interface file, by short name."""

    name: str
    types: dict[str, Struct | Enum] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    errors: dict[str, Struct] = field(default_factory=dict)


def parse(text: str) -> Declarations:
    """Parse an interface file. Raises `InterfaceError` for anything but a complete, consistent interface."""
    return _Parser(text).parse()


class _Parser:
    """A recursive-descent parser over the tokens, with one method per rule."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokenise(text)
        self._next = 0
        self._references: list[tuple[str, int]] = []

    def parse(self) -> Declarations:
        self._expect("interface")
        declared = Declarations(self._name(_INTERFACE_NAME, "an interface's name"))
        while self._peek():
            self._member(declared)
        for name, line in self._references:
            if name not in declared.types:
                raise InterfaceError(f"line {line}: type {name!r} is not declared")
        return declared

    def _member(self, declared: Declarations) -> None:
        line = self._line()
        keyword = self._take()
        if keyword not in ("type", "method", "error"):
            raise InterfaceError(f"line {line}: expected 'type', 'method' or 'error', found {keyword!r}")
        name = self._name(_MEMBER_NAME, f"a name for the {keyword}")
        if name in declared.types or name in declared.methods or name in declared.errors:
            raise InterfaceError(f"line {line}: {name!r} is declared twice")
        if keyword == "type":
            declared.types[name] = self._body(0)
        elif keyword == "error":
            declared.errors[name] = self._struct()
        else:
            parameters = self._struct()
            self._expect("->")
            declared.methods[name] = Method(parameters, self._struct())

    def _struct(self) -> Struct:
        line = self._line()
        body = self._body(0)
        if not isinstance(body, Struct):
            raise InterfaceError(f"line {line}: expected fields with types")
        return body

    def _body(self, depth: int) -> Struct | Enum:
        """Parse the content of parentheses: fields with types, or the words of an enum."""
        self._expect("(")
        fields: dict[str, Type] = {}
        words: list[str] = []
        if self._peek() == ")":
            self._take()
            return Struct({})
        while True:
            line = self._line()
            name = self._name(_FIELD_NAME, "a field's name")
            if name in fields or name in words:
                raise InterfaceError(f"line {line}: {name!r} appears twice")
            if self._peek() == ":":
                self._take()
                fields[name] = self._type(depth + 1)
            else:
                words.append(name)
            if fields and words:
                raise InterfaceError(f"line {line}: either all fields have a type or none has")
            if self._peek() != ",":
                break
            self._take()
        self._expect(")")
        return Struct(fields) if fields else Enum(tuple(words))

    def _type(self, depth: int) -> Type:
        line = self._line()
        if depth > MAX_NESTING:
            raise InterfaceError(f"line {line}: types nested more than {MAX_NESTING} deep")
        mark = self._peek()
        if mark == "(":
            return self._body(depth)
        self._take()
        if mark == "?":
            if self._peek() == "?":
                raise InterfaceError(f"line {line}: '?' twice")
            return Nullable(self._type(depth + 1))
        if mark == "[]":
            return Array(self._type(depth + 1))
        if mark == "[string]":
            return Dictionary(self._type(depth + 1))
        if mark in SCALARS:
            return Scalar(mark)
        if not _MEMBER_NAME.fullmatch(mark):
            raise InterfaceError(f"line {line}: expected a type, found {mark or 'the end'!r}")
        self._references.append((mark, line))
        return Named(mark)

    def _name(self, pattern: re.Pattern[str], what: str) -> str:
        line = self._line()
        name = self._take()
        if not pattern.fullmatch(name):
            raise InterfaceError(f"line {line}: expected {what}, found {name or 'the end'!r}")
        return name

    def _expect(self, text: str) -> None:
        line = self._line()
        found = self._take()
        if found != text:
            raise InterfaceError(f"line {line}: expected {text!r}, found {found or 'the end'!r}")

    def _peek(self) -> str:
        return self._tokens[self._next][0]

    def _line(self) -> int:
        return self._tokens[self._next][1]

    def _take(self) -> str:
        """Return the next token; "" at the end, any number of times."""
        token = self._peek()
        if token:
            self._next += 1
        return token


def _tokenise(text: str) -> list[tuple[str, int]]:
    """Return each token with its line number, and ("", last line) at the end."""
    tokens: list[tuple[str, int]] = []
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InterfaceError(f"line {line}: unexpected {text[position]!r}")
        if match.lastgroup == "space":
            line += match.group().count("\n")
        else:
            tokens.append((match.group(), line))
        position = match.end()
    return [*tokens, ("", line)]
