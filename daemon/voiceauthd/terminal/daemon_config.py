"""The configuration that counts: the running daemon's, if it answers and shows it, else the one of this user."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from voiceauthd.client import Client
from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError, VoiceauthError
from voiceauthd.users import user_name

ANSWER_TIMEOUT = 3.0
"""Seconds for the daemon to answer."""


class ConfigInUse(NamedTuple):
    """A configuration, and whose it is.

    file     None for the built-in defaults
    whose    for a person: "of the running daemon (user alice)"
    running  whether it is the running daemon's
    """

    config: Config
    file: Path | None
    whose: str
    running: bool


def config_in_use(socket: str | None) -> ConfigInUse:
    """Ask the daemon at `socket` (None: found) for its configuration; if it gives none, load this user's.

    Raises `ConfigError`.
    """
    return config_from(_ask(socket))


def config_from(status: Mapping[str, Any] | None) -> ConfigInUse:
    """Return the configuration of the daemon that gave this status; without one, or if it gives none, this user's.

    Raises `ConfigError`.
    """
    file, shown, whose = _file_from(status)
    config = load_config(file) if shown is None else config_of(shown)
    return ConfigInUse(config, file, whose, shown is not None)


def file_in_use(socket: str | None) -> tuple[Path | None, Mapping[str, Any] | None, str]:
    """Return the configuration file, the daemon's status if it gives its configuration, and whose file it is."""
    return _file_from(_ask(socket))


def _ask(socket: str | None) -> Mapping[str, Any] | None:
    """Return the daemon's status; None if it does not answer."""
    try:
        with Client(socket, ANSWER_TIMEOUT) as client:
            return client.call("Status")
    except VoiceauthError:
        return None


def _file_from(status: Mapping[str, Any] | None) -> tuple[Path | None, Mapping[str, Any] | None, str]:
    if status is not None and status.get("runs_as"):
        file = Path(status["config"]) if status.get("config") else None
        return file, status, f"of the running daemon (user {status['runs_as']['user']})"
    why = "no daemon answers" if status is None else "the daemon does not show its own to this user"
    return find_config(None, os.environ), None, f"of {user_name(os.geteuid())}; {why}"


def config_of(status: Mapping[str, Any]) -> Config:
    """Return the configuration of the daemon that gave this status, with its folders. Raises `ConfigError`."""
    runs_as = status["runs_as"]
    file = Path(status["config"]) if status.get("config") else None
    try:
        config = load_config(file, runs_as["settings"], environment_of(status))
    except ConfigError as problem:
        raise ConfigError(f"the file has changed since the daemon read it, and is refused now:\n{problem}") from None
    return replace(
        config,
        profiles=Path(runs_as["profiles"]),
        scoring=Path(runs_as["scoring"]),
        state=Path(runs_as["state"]),
        model=replace(config.model, cache=Path(runs_as["models"])),
    )


def environment_of(status: Mapping[str, Any]) -> dict[str, str]:
    """Return what counts of the daemon's environment beside `settings`: the home that `~` in its file means."""
    try:
        return {"HOME": pwd.getpwnam(status["runs_as"]["user"]).pw_dir}
    except KeyError:
        return {}
