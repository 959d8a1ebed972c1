"""The keys of the schema as a table, for the modules that read, check and print settings."""

from __future__ import annotations

import re
import types
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from voiceauthd.config.schema import Config
from voiceauthd.config.setting import Form, Section, Setting

Value = str | int | float | bool | Path | None
"""The type of a key's value."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of `config.yaml`.

    section   "" for a key at the top level
    types     the allowed types of a value, without None
    optional  null is allowed
    """

    section: str
    name: str
    types: tuple[type, ...]
    optional: bool
    default: Value
    setting: Setting

    @property
    def path(self) -> str:
        """The full name of the key, such as "audio.device"."""
        return f"{self.section}.{self.name}" if self.section else self.name


@cache
def keys() -> dict[str, Key]:
    """Return every key by its path, in the order of the schema, with the keys at the top level first."""
    found = _keys_of(Config, "")
    for name, section in _section_types().items():
        found.extend(_keys_of(section, name))
    return {key.path: key for key in found}


@cache
def sections() -> dict[str, str]:
    """Return the description of each section by its name."""
    hints = get_type_hints(Config, include_extras=True)
    annotations = {name: _annotation(hints[name]) for name in _section_types()}
    return {name: note.help for name, note in annotations.items() if isinstance(note, Section)}


def value_of(config: Config, key: Key) -> Value:
    """Return the value of `key` in `config`."""
    holder = getattr(config, key.section) if key.section else config
    value: Value = getattr(holder, key.name)
    return value


def build(values: dict[str, Value]) -> Config:
    """Return the default configuration with `values`, indexed by path, replaced."""
    top: dict[str, Any] = {}
    for name, section in _section_types().items():
        inner = {key.name: values[path] for path, key in keys().items() if key.section == name and path in values}
        top[name] = section(**inner)
    top |= {path: value for path, value in values.items() if not keys()[path].section}
    return Config(**top)


def allowed(key: Key) -> str:
    """Describe the allowed values of `key` for a person, such as "a number from 0.2 to 60 (s)"."""
    setting = key.setting
    if setting.choices:
        kinds = [", ".join(str(choice) for choice in setting.choices) + (f" ({setting.unit})" if setting.unit else "")]
    elif setting.form is Form.MODEL:
        kinds = ["auto, campplus, a hub id (owner/name), a folder (./name, /name, ~/name)"]
    elif setting.form is Form.HUB_ID:
        kinds = ["a hub id (owner/name)"]
    elif setting.form is Form.SOURCE:
        kinds = ['microphone, "-", a file']
    elif setting.form is Form.OCTAL:
        kinds = [f"0{int(setting.low or 0):03o} to 0{int(setting.high or 0):03o} (octal)"]
    else:
        kinds = [_kind(kind, setting) for kind in key.types]
    return ", ".join([*kinds, "null"] if key.optional else kinds)


def written(value: Value, key: Key) -> str:
    """Return `value` as it is written in `config.yaml`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if key.setting.form is Form.OCTAL and isinstance(value, int):
        return f"0{value:03o}"
    if isinstance(value, int | float):
        return repr(value)
    return quoted(str(value))


_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_READ_OTHERWISE = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def quoted(text: str, always: bool = False) -> str:
    """Return `text` as a YAML scalar that reads back as the same text; in double quotes unless it is a plain word."""
    if not always and _PLAIN.fullmatch(text) and text.lower() not in _READ_OTHERWISE:
        return text
    marks = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(marks.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text) + '"'


def _kind(kind: type, setting: Setting) -> str:
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    if kind is Path:
        return "a path"
    whole = "a whole number" if kind is int else "a number"
    bounds = "" if setting.low is None or setting.high is None else f" from {setting.low:g} to {setting.high:g}"
    return f"{whole}{bounds}" + (f" ({setting.unit})" if setting.unit else "")


def _section_types() -> dict[str, type]:
    """Return the dataclass of each section of `Config`, in order."""
    hints = get_type_hints(Config)
    extra = get_type_hints(Config, include_extras=True)
    return {
        field.name: hints[field.name] for field in fields(Config) if isinstance(_annotation(extra[field.name]), Section)
    }


def _annotation(hint: object) -> object:
    return get_args(hint)[1] if get_origin(hint) is Annotated else None


def _keys_of(holder: type, section: str) -> list[Key]:
    hints = get_type_hints(holder, include_extras=True)
    found = []
    for field in fields(holder):
        setting = _annotation(hints[field.name])
        if not isinstance(setting, Setting):
            continue
        inner = get_args(hints[field.name])[0]
        kinds = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
        default = None if field.default is MISSING else field.default
        optional = types.NoneType in kinds
        plain = tuple(kind for kind in kinds if kind is not types.NoneType)
        found.append(Key(section, field.name, plain, optional, default, setting))
    return found
