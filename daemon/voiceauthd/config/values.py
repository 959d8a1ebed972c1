"""Converting the text of one value to the type that the schema requires.

A value is read as the type of its key or refused; the type is never guessed. If YAML 1.1 would read the same text as
another type (`no` as false, `1:30` as 90, `0666` as 438), it is refused, and the message says how to write it.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from voiceauthd.config.keys import Key, Value, allowed, quoted
from voiceauthd.config.setting import Form

MAX_TEXT = 4096
"""Characters of a text: PATH_MAX of Linux, and far more than a device's name."""

MAX_DIGITS = 18
"""Characters of a whole number: these all fit into 64 bits, far below Python's own limit on digits."""

MAX_SHOWN = 60
"""Characters of a wrong value that a message repeats."""

MODEL_WORDS = ("auto", "campplus")
"""Values of `model.name` that are neither a hub id nor a folder."""

_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"0o?([0-7]{3})")
_HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TRUE = frozenset({"true", "yes", "on"})
_TAGS = {
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:bool": "boolean",
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
}


class BadValue(Exception):  # noqa: N818  an intermediate result, which `load.py` turns into a line of a ConfigError
    """A value is refused; the message says why."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as it was written.

    plain   whether it had no quotes
    where   its place, for a person, such as "config.yaml:12"
    folder  the folder that a relative path starts from; None for the current folder
    """

    text: str
    plain: bool
    where: str
    folder: Path | None


def read_value(key: Key, raw: Raw, environment: Mapping[str, str]) -> Value:
    """Return the value of `raw` for `key`. `environment`: for the home folder. Raises `BadValue`."""
    if raw.plain and _kind_of(raw.text) == "null":
        if key.optional:
            return None
        raise BadValue(_found(raw, key, "leave the key out for its default"))
    value: Value = _typed(key, raw)
    if isinstance(value, str):
        _check_text(value, raw, key)
        value = _text(key, raw, environment)
    setting = key.setting
    if setting.choices and value not in setting.choices:
        names = [choice for choice in setting.choices if isinstance(choice, str)]
        raise BadValue(_found(raw, key, suggestion(str(value), names)))
    if not isinstance(value, bool) and isinstance(value, int | float):
        low = -math.inf if setting.low is None else setting.low
        high = math.inf if setting.high is None else setting.high
        if not (low <= value <= high and math.isfinite(value)):
            raise BadValue(_found(raw, key))
    return value


def suggestion(wrong: str, right: list[str]) -> str:
    """Return a "did you mean" question, or "" if no word is similar."""
    near = get_close_matches(wrong.lower(), right, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def shown(text: str, plain: bool) -> str:
    """Return `text` for a message: on one line, not too long, in quotes if it had any or needs them."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    if not short:
        return "nothing" if plain else "an empty text"
    return short if plain and short.isprintable() else quoted(short, always=True)


def _typed(key: Key, raw: Raw) -> bool | int | float | str:
    """Return `raw` as the first of the key's types that fits; paths remain text."""
    kind = _kind_of(raw.text) if raw.plain else "text"
    if key.setting.form is Form.OCTAL:
        return _octal(key, raw)
    if bool in key.types and kind == "boolean":
        return raw.text.lower() in _TRUE
    if int in key.types and raw.plain and _WHOLE.fullmatch(raw.text):
        if len(raw.text) > MAX_DIGITS:
            raise BadValue(_found(raw, key))
        return int(raw.text)
    if float in key.types and raw.plain and _DECIMAL.fullmatch(raw.text) and len(raw.text) <= MAX_TEXT:
        return float(raw.text)
    if (str in key.types or Path in key.types) and kind == "text":
        return raw.text
    raise BadValue(_found(raw, key, _advice(key, raw, kind)))


def _advice(key: Key, raw: Raw, kind: str) -> str:
    if str in key.types or Path in key.types:
        return f"put it in quotes if you mean the text: YAML reads this as a {kind}"
    if not raw.plain:
        return "write it without quotes"
    if kind == "boolean":
        return "YAML reads this as a boolean"
    if bool not in key.types and kind == "number":
        return "write a decimal number" + ("" if float in key.types else " without a fraction")
    return suggestion(raw.text, ["true", "false"]) if bool in key.types else ""


def _octal(key: Key, raw: Raw) -> int:
    found = _OCTAL.fullmatch(raw.text)
    if found:
        return int(found[1], 8)
    bare = re.fullmatch(r"[0-7]{3}", raw.text)
    hint = f"write 0{raw.text}, or YAML reads it as a decimal number" if bare else "write three octal digits after a 0"
    raise BadValue(_found(raw, key, hint))


def _check_text(text: str, raw: Raw, key: Key) -> None:
    if not text:
        raise BadValue(_found(raw, key, "leave the key out for its default"))
    if len(text) > MAX_TEXT:
        raise BadValue(f"found a text of {len(text)} characters; allowed: at most {MAX_TEXT}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise BadValue(_found(raw, key, "control characters and broken Unicode are not allowed"))


def _text(key: Key, raw: Raw, environment: Mapping[str, str]) -> str | Path:
    text = raw.text
    if Path in key.types:
        return _absolute(text, raw, environment)
    if key.setting.form is Form.MODEL:
        if text in (".", "..") or text.startswith(("./", "../", "/", "~")):
            return str(_absolute(text, raw, environment))
        if text not in MODEL_WORDS and not _HUB_ID.fullmatch(text):
            raise BadValue(_found(raw, key, suggestion(text, [*MODEL_WORDS]) or "a folder's name starts with ./"))
    if key.setting.form is Form.HUB_ID and not _HUB_ID.fullmatch(text):
        raise BadValue(_found(raw, key))
    if key.setting.form is Form.SOURCE and text not in ("microphone", "-"):
        if not any(mark in text for mark in "/.~"):
            raise BadValue(
                _found(raw, key, suggestion(text, ["microphone"]) or f"write {quoted('./' + text)} for a file")
            )
        return str(_absolute(text, raw, environment))
    return text


def _absolute(text: str, raw: Raw, environment: Mapping[str, str]) -> Path:
    """Return `text` as an absolute path. `..` is kept: removing it would be wrong after a symbolic link."""
    if text == "~" or text.startswith("~/"):
        home = environment.get("HOME", "")
        text = home + text[1:] if home.startswith("/") else os.path.expanduser(text)
    elif text.startswith("~"):
        text = os.path.expanduser(text)
    if text.startswith("~"):
        raise BadValue(f"found {shown(raw.text, raw.plain)}; no such home folder is known")
    try:
        return (raw.folder or Path.cwd()) / text
    except OSError as error:
        problem = f"the current folder does not exist any more: {error.strerror}"
        raise BadValue(f"found {shown(raw.text, raw.plain)}; {problem}") from error


def _kind_of(text: str) -> str:
    """Return how YAML 1.1 reads a plain scalar: as "null", "boolean", "number" or "text"."""
    if not text:
        return "null"
    for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], []):
        if pattern.match(text):
            return _TAGS.get(tag, "text")
    return "text"


def _found(raw: Raw, key: Key, hint: str = "") -> str:
    problem = f"found {shown(raw.text, raw.plain)}; allowed: {allowed(key)}"
    return f"{problem}; {hint}" if hint else problem
