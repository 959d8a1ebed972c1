"""Change one setting in a configuration file; comments and everything else stay as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from voiceauthd.atomic_file import write_file
from voiceauthd.config.keys import Key, keys, sections, written
from voiceauthd.config.load import SYSTEM_CONFIG, find_config, load_config
from voiceauthd.config.values import BadValue, Raw, read_value
from voiceauthd.config.yamlfile import unknown
from voiceauthd.errors import ConfigError, StorageError

HEADER = "# The configuration of voiceauthd. `voiceauth config default` prints every key with its default.\n"
INDENT = "  "


def set_value(file: Path, path: str, text: str, environment: Mapping[str, str] | None = None) -> str:
    """Set the key `path`, such as "audio.device", to the value that `text` means; makes the file if there is none.

    Returns the value as it now stands in the file. Raises `ConfigError` for an unknown key, a value that the key does
    not allow, and a file that is wrong or would become wrong, which then stays as it is; `StorageError` if it cannot
    be written.
    """
    key = keys().get(path)
    if key is None:
        section, _, name = path.rpartition(".")
        raise ConfigError(f"{path}: {unknown(section if section in sections() else '', name or path)}")
    try:
        raw = Raw(text, text not in ("", "null"), "", file.absolute().parent)
        raw = Raw(text, True, "", file.absolute().parent) if text == "null" and key.optional else raw
        value = written(read_value(key, raw, os.environ if environment is None else environment), key)
    except BadValue as problem:
        raise ConfigError(f"{path}: {problem}") from None
    old = _read(file)
    _replace(file, _edited(old, key, value))
    return value


def file_to_edit(environment: Mapping[str, str]) -> Path:
    """The configuration file in use. Where there is none: in $XDG_CONFIG_HOME, else the machine's for root, else in the
    user's home.

    Raises `ConfigError` for a user without a home folder.
    """
    found = find_config(None, environment)
    if found is not None:
        return found
    base, home = environment.get("XDG_CONFIG_HOME", ""), environment.get("HOME", "")
    if base.startswith("/"):
        return Path(base) / "voiceauthd" / "config.yaml"
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    if home.startswith("/"):
        return Path(home) / ".config" / "voiceauthd" / "config.yaml"
    raise ConfigError("there is no home folder ($HOME) to keep a configuration in; name a file with --file")


def _read(file: Path) -> str:
    if not os.path.lexists(file):
        return HEADER
    load_config(file, environment={})
    return file.read_text(encoding="utf-8")


def _edited(text: str, key: Key, value: str) -> str:
    """`text` with the value of `key` replaced, or added to its section, or in a new section at the end."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    holder: yaml.Node | None = root
    if key.section:
        holder = _value(root, key.section)
    old = _value(holder, key.name)
    if old is not None:
        return _spliced(text, old, f" {value}" if old.start_mark.index == old.end_mark.index else value)
    if not key.section:
        return _with_line(text, f"{key.name}: {value}")
    if holder is None:
        return _with_line(text, f"\n{key.section}:\n{INDENT}{key.name}: {value}")
    if isinstance(holder, yaml.MappingNode) and holder.value and not holder.flow_style:
        first = holder.value[0][0].start_mark
        line = f"{key.name}: {value}\n{' ' * first.column}"
        return text[: first.index] + line + text[first.index :]
    if isinstance(holder, yaml.MappingNode) and holder.value:
        first = holder.value[0][0].start_mark
        return f"{text[: first.index]}{key.name}: {value}, {text[first.index :]}"
    return _spliced(text, holder, f"\n{INDENT}{key.name}: {value}")  # `audio:` or `audio: {}`


def _value(holder: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(holder, yaml.MappingNode):
        return None
    found: yaml.Node | None = next((value for key, value in holder.value if key.value == name), None)
    return found


def _spliced(text: str, old: yaml.Node, new: str) -> str:
    return text[: old.start_mark.index] + new + text[old.end_mark.index :]


def _with_line(text: str, line: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"


def _replace(file: Path, text: str) -> None:
    """Write the new text in one step, once it is known to be a valid configuration."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644

    def check(temporary: Path) -> None:
        try:
            load_config(temporary, environment={})
        except ConfigError as problem:
            raise ConfigError(str(problem).replace(str(temporary), str(file))) from None

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, text.encode(), prepare=lambda descriptor: os.fchmod(descriptor, mode), check=check)
    except OSError as problem:
        raise StorageError(f"cannot write {file}: {problem.strerror or problem}") from problem
