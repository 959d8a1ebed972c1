"""Loading the configuration from its layers: the defaults, the file, the environment and the command line.

Each layer overrides the earlier ones, key by key. Every layer is checked completely, so a mistake in the file is
reported even if the environment overrides it. All problems are reported at once, one line each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from voiceauthd.config.checks import contradictions
from voiceauthd.config.keys import Value, build, keys, sections, value_of, written
from voiceauthd.config.schema import Config
from voiceauthd.config.values import BadValue, Raw, read_value
from voiceauthd.config.yamlfile import read_file, scalar_of, unknown
from voiceauthd.errors import ConfigError

SYSTEM_CONFIG = Path("/etc/voiceauthd/config.yaml")

PREFIX = "VOICEAUTHD_"

_VARIABLE, _COMMAND_LINE = "environment variable", "command line"
"""How the place of a setting begins that is not in the file."""


def load_config(
    file: Path | None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    *,
    text: str | None = None,
) -> Config:
    """Return the validated configuration.

    file         None for no file: only the other layers
    overrides    "section.key=value" each, as on the command line; a later one overrides an earlier one
    environment  None for that of this process; `VOICEAUTHD_<SECTION>__<KEY>` are settings
    text         what `file` will contain; None: it is read

    Relative paths start from the file's folder; in the other layers, from the current folder. Raises `ConfigError`,
    whose message has a line for each problem: file and line (or variable), key, what was found, what is allowed.
    """
    surroundings = os.environ if environment is None else environment
    problems: list[str] = []
    layers = [
        read_file(file, problems, text) if file is not None else {},
        _from_environment(surroundings, problems),
        _from_overrides(overrides, problems),
    ]
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    wrong: set[str] = set()
    for layer in layers:
        for path, raw in layer.items():
            try:
                values[path] = read_value(keys()[path], raw, surroundings)
                origins[path] = raw.where
            except BadValue as error:
                problems.append(f"{raw.where}: {path}: {error}")
                wrong.add(path)
    config = build(values)
    config = replace(config, file=file.absolute() if file is not None else None, origins=tuple(origins.items()))
    problems.extend(contradictions(config, wrong))
    if problems:
        raise ConfigError("\n".join(sorted(problems, key=partial(_line_in, file))))
    return config


def find_config(explicit: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the configuration file to use, or None for the built-in defaults.

    `explicit` (--config) and then $VOICEAUTHD_CONFIG are used even if there is no such file, so that a mistyped name is
    an error. Otherwise the user's file (`$XDG_CONFIG_HOME/voiceauthd/config.yaml`), else the machine's, if it exists.
    """
    if explicit is not None:
        return explicit
    named = environment.get("VOICEAUTHD_CONFIG")
    if named:
        return Path(named)
    folder = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME", "")
    if not folder.startswith("/"):  # the XDG specification says to ignore a relative path
        folder = f"{home}/.config" if home.startswith("/") else ""
    candidates = [Path(folder) / "voiceauthd" / "config.yaml"] if folder else []
    for candidate in [*candidates, SYSTEM_CONFIG]:
        if os.path.lexists(candidate):
            return candidate
    return None


def settings_beyond_file(config: Config) -> list[str]:
    """Return the settings of the environment and the command line as overrides for `load_config`."""
    elsewhere = [path for path, where in config.origins if where.startswith((_VARIABLE, _COMMAND_LINE))]
    return [f"{path}={written(value_of(config, keys()[path]), keys()[path])}" for path in elsewhere]


def variable_of(path: str) -> str:
    """Return the environment variable of a key, such as "VOICEAUTHD_AUDIO__DEVICE" for "audio.device"."""
    return PREFIX + path.replace(".", "__").upper()


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, Raw]:
    """Return the settings in the environment.

    Variables without two underscores, other than those of the keys at the top level, are not settings, such as
    `VOICEAUTHD_CONFIG`, `VOICEAUTHD_SOCKET` and `VOICEAUTHD_MODEL_CACHE`.
    """
    paths = {variable_of(path): path for path in keys()}
    found: dict[str, Raw] = {}
    for variable in sorted(environment):
        where = f"{_VARIABLE} {variable}"
        if variable in paths:
            found |= _setting(paths[variable], environment[variable], where, problems)
        elif variable.startswith(PREFIX) and "__" in variable:
            section, _, name = variable.removeprefix(PREFIX).lower().partition("__")
            problems.append(f"{where}: {_unknown(section, name)}")
    return found


def _from_overrides(overrides: Sequence[str], problems: list[str]) -> dict[str, Raw]:
    found: dict[str, Raw] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        section, _, name = path.rpartition(".")
        if path in keys() and equals:
            found |= _setting(path, text, _COMMAND_LINE, problems)
        elif not equals:
            problems.append(f"command line: {override!r} sets nothing; write --set section.key=value")
        else:
            problems.append(f"command line: {path}: {_unknown(section, name)}")
    return found


def _line_in(file: Path | None, problem: str) -> float:
    """Return the line of `file` that `problem` is about; infinity for none, which sorts those problems last."""
    line = problem.removeprefix(f"{file}:").partition(":")[0]
    return int(line) if line.isdecimal() else math.inf


def _setting(path: str, text: str, where: str, problems: list[str]) -> dict[str, Raw]:
    """Read a value outside a file, which is one YAML scalar. Only quotes are special, so `hw:1 # 2` is plain text."""
    stripped = text.strip()
    if not stripped.startswith(("'", '"')):
        return {path: Raw(stripped, True, where, None)}
    try:
        return {path: Raw(scalar_of(stripped), False, where, None)}
    except ValueError:
        problems.append(f"{where}: {path}: the quotes do not enclose the whole value")
        return {}


def _unknown(section: str, name: str) -> str:
    if section in sections() or not section:
        return unknown(section, name)
    return unknown("", section)
