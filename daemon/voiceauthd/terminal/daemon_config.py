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

    file   None for the built-in defaults
    whose  for a person: "of the running daemon (user alice)"
    """

    config: Config
    file: Path | None
    whose: str


def config_in_use(socket: str | None) -> ConfigInUse:
    """Ask the daemon at `socket` (None: found) for its configuration; if it gives none, load this user's.

    Raises `ConfigError`.
    """
    file, status, why_not = file_in_use(socket)
    if status is not None:
        return ConfigInUse(config_of(status), file, _of_daemon(status))
    return ConfigInUse(load_config(file), file, why_not)


def file_in_use(socket: str | None) -> tuple[Path | None, Mapping[str, Any] | None, str]:
    """Return the configuration file, the daemon's status if it gives its configuration, and whose file it is."""
    mine = f"of {user_name(os.geteuid())}"
    try:
        with Client(socket, ANSWER_TIMEOUT) as client:
            status = client.call("Status")
    except VoiceauthError:
        return find_config(None, os.environ), None, f"{mine}; no daemon answers"
    if not status.get("runs_as"):
        return find_config(None, os.environ), None, f"{mine}; the daemon does not show its own to this user"
    return (Path(status["config"]) if status.get("config") else None), status, _of_daemon(status)


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


def _of_daemon(status: Mapping[str, Any]) -> str:
    return f"of the running daemon (user {status['runs_as']['user']})"
