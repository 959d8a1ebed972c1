"""Load the committed interface files and check messages against them.

The `.varlink` file is the only definition of the protocol: each call is checked against it on arrival, tests check
every reply against it before it is sent, and clients read it through introspection.
"""

from __future__ import annotations

import functools
import importlib.resources
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voiceauthd.errors import UsageError
from voiceauthd.protocol.varlink_language import (
    Array,
    Declarations,
    Dictionary,
    Enum,
    Method,
    Named,
    Nullable,
    Scalar,
    Struct,
    Type,
    parse,
)
from voiceauthd.protocol.wire import presentable

VOICEAUTHD = "org.voiceauthd"
VARLINK = "org.varlink.service"
PROOF = "org.voiceauthd.proof"

STREAM_ONLY = frozenset({"Monitor", "VerifyRecording", "IdentifyRecording"})
"""Methods that have no single answer and must be called with `more`."""

ANSWER_NEEDED = frozenset({"Enroll", "Verify", "Identify", "Monitor", "VerifyRecording", "IdentifyRecording"})
"""Methods that compare voices for the caller; they are refused with `oneway`, which makes no sense for them."""

INT_RANGE = range(-(2**63), 2**63)
"""The range of Varlink's ints: signed, 64 bits."""


class MismatchError(UsageError):
    """A message that does not match the interface.

    parameter  the first field that is missing, unknown or wrong, with dots into structures: "event.quality.snr_db"
    """

    reason = "invalid_parameter"

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{presentable(parameter) or 'parameters'}: {detail}")
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface: its text and its declarations."""

    text: str
    declared: Declarations

    @property
    def name(self) -> str:
        """The prefix of its method names, without the last dot: "org.voiceauthd"."""
        return self.declared.name

    @property
    def methods(self) -> Mapping[str, Method]:
        """Methods by short name."""
        return self.declared.methods

    @property
    def errors(self) -> Mapping[str, Struct]:
        """Parameters of errors by short name."""
        return self.declared.errors

    def check_call(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a call, with None for each absent nullable one. Raises `MismatchError`."""
        return self._struct(self.methods[method].parameters, parameters, "")

    def check_reply(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of one reply, completed in the same way. Raises `MismatchError`."""
        return self._struct(self.methods[method].reply, parameters, "")

    def check_error(self, error: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of an error (short name), completed in the same way. Raises `MismatchError`."""
        if error not in self.errors:
            raise MismatchError("error", f"{error!r} is not declared")
        return self._struct(self.errors[error], parameters, "")

    def _value(self, kind: Type, value: object, where: str) -> object:
        match kind:
            case Nullable(element):
                return None if value is None else self._value(element, value, where)
            case Named(name):
                return self._value(self.declared.types[name], value, where)
            case Scalar(name):
                return _scalar(name, value, where)
            case _:
                return self._composite(kind, value, where)

    def _composite(self, kind: Array | Dictionary | Enum | Struct, value: object, where: str) -> object:
        match kind:
            case Struct():
                return self._struct(kind, value, where)
            case Array(element) if isinstance(value, list | tuple):
                return [self._value(element, item, f"{where}[{index}]") for index, item in enumerate(value)]
            case Dictionary(element) if isinstance(value, Mapping):
                return {str(key): self._value(element, item, f"{where}.{key}") for key, item in value.items()}
            case Enum(values) if isinstance(value, str) and value in values:
                return str(value)
        raise _mismatch(where, _describe(kind), value)

    def _struct(self, kind: Struct, value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _mismatch(where, _describe(kind), value)
        prefix = f"{where}." if where else ""
        for key in value:
            if key not in kind.fields:
                raise MismatchError(f"{prefix}{str(key)[:40]}", "unknown")
        completed: dict[str, Any] = {}
        for key, inner in kind.fields.items():
            if key not in value and not isinstance(inner, Nullable):
                raise MismatchError(f"{prefix}{key}", "missing")
            completed[key] = self._value(inner, value.get(key), f"{prefix}{key}")
        return completed


def _scalar(kind: str, value: object, where: str) -> object:
    """Check a scalar. A bool or a float with an integral value is not an int; an int is accepted as a float."""
    match kind:
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int) and not isinstance(value, bool) and value in INT_RANGE:
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
            return float(value)
        case "string" if isinstance(value, str):
            return str(value)
        case "object" if isinstance(value, Mapping):
            return dict(value)
    raise _mismatch(where, f"{'an' if kind[0] in 'io' else 'a'} {kind}", value)


def _describe(kind: Array | Dictionary | Enum | Struct) -> str:
    match kind:
        case Array():
            return "an array"
        case Enum(values):
            return f"one of {', '.join(values)}"
        case _:
            return "an object"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no double can hold
        return False


def _mismatch(where: str, expected: str, found: object) -> MismatchError:
    """Return the error. It names the type that was found, never the value, which may be somebody's audio."""
    return MismatchError(where, f"expected {expected}, found {'null' if found is None else type(found).__name__}")


@functools.cache
def load(name: str = VOICEAUTHD) -> Interface:
    """Return a committed interface file (`VOICEAUTHD`, `PROOF` or `VARLINK`), parsed once."""
    text = importlib.resources.files("voiceauthd.protocol").joinpath(f"{name}.varlink").read_text(encoding="utf-8")
    return Interface(text, parse(text))
