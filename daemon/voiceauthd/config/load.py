"""The configuration of this run: the defaults, then the file, the environment and the command line.

Each later layer goes before the earlier ones, key by key. Every layer is checked whole, so a mistake in the file is
told even where the environment goes before it. All that is wrong is told at once, a line for each problem.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from voiceauthd.config.checks import contradictions
from voiceauthd.config.keys import Value, build, keys, sections
from voiceauthd.config.schema import Config
from voiceauthd.config.values import BadValue, Raw, read_value
from voiceauthd.config.yamlfile import read_file, scalar_of, unknown
from voiceauthd.errors import ConfigError

SYSTEM_CONFIG = Path("/etc/voiceauthd/config.yaml")

PREFIX = "VOICEAUTHD_"


def load_config(
    file: Path | None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """The validated configuration.

    file         None: only the defaults and the other layers
    overrides    "section.key=value" each, as on the command line; of two for one key the later one holds
    environment  None: that of this process; `VOICEAUTHD_<SECTION>__<KEY>` are settings

    Relative paths start from the file's folder, and from the current one in the other layers. Raises `ConfigError`,
    whose message has a line for each problem: file and line (or variable), key, what was found, what is allowed.
    """
    surroundings = os.environ if environment is None else environment
    problems: list[str] = []
    layers = [
        read_file(file, problems) if file is not None else {},
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
    """The configuration file to use, or None for the built-in defaults.

    `explicit` (--config), else $VOICEAUTHD_CONFIG: these are taken even if nothing is there, so that a mistyped name
    is an error. Else the user's (`$XDG_CONFIG_HOME/voiceauthd/config.yaml`) or the machine's, whichever is there.
    """
    if explicit is not None:
        return explicit
    named = environment.get("VOICEAUTHD_CONFIG")
    if named:
        return Path(named)
    folder = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME", "")
    if not folder.startswith("/"):  # the XDG specification: a relative path is to be ignored
        folder = f"{home}/.config" if home.startswith("/") else ""
    candidates = [Path(folder) / "voiceauthd" / "config.yaml"] if folder else []
    for candidate in [*candidates, SYSTEM_CONFIG]:
        if os.path.lexists(candidate):
            return candidate
    return None


def variable_of(path: str) -> str:
    """The environment variable of a key: "audio.device" to "VOICEAUTHD_AUDIO__DEVICE"."""
    return PREFIX + path.replace(".", "__").upper()


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, Raw]:
    """The settings among the variables. Those without two underscores, but for the keys at the top level, are others'.

    `VOICEAUTHD_CONFIG`, `VOICEAUTHD_SOCKET` and `VOICEAUTHD_MODEL_CACHE` say where things are and are no settings.
    """
    paths = {variable_of(path): path for path in keys()}
    found: dict[str, Raw] = {}
    for variable in sorted(environment):
        where = f"environment variable {variable}"
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
            found |= _setting(path, text, "command line", problems)
        elif not equals:
            problems.append(f"command line: {override!r} sets nothing; write --set section.key=value")
        else:
            problems.append(f"command line: {path}: {_unknown(section, name)}")
    return found


def _line_in(file: Path | None, problem: str) -> float:
    """The line of `file` that `problem` is about; those about no line come last, in the order they were found in."""
    line = problem.removeprefix(f"{file}:").partition(":")[0]
    return int(line) if line.isdecimal() else math.inf


def _setting(path: str, text: str, where: str, problems: list[str]) -> dict[str, Raw]:
    """A value outside a file: one YAML scalar. Only quotes have a meaning, so `hw:1 # 2` is what it looks like."""
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
