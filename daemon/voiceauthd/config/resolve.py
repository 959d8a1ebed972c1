"""Resolving a configuration on this machine: default folders, and the keys that a new configuration changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from voiceauthd.config.keys import keys, value_of
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError

SYSTEM_STATE = Path("/var/lib/voiceauthd")

RESTART_KEYS = frozenset({"socket.path", "socket.mode", "state"})
"""Keys whose change needs a restart: the socket is made once, by us or by systemd, and the audit log cannot move,
because it is one chain."""


def profiles_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the profile store as an absolute path; it need not exist yet.

    `config.profiles`, else `profiles` in the state folder. Raises `ConfigError` if neither is known.
    """
    return config.profiles if config.profiles is not None else _state_folder("profiles", environment) / "profiles"


def scoring_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the cohorts and calibrations made on this machine, as an absolute path; it need not exist.

    `config.scoring`, else `scoring` in the state folder. Raises `ConfigError` if neither is known.
    """
    return config.scoring if config.scoring is not None else _state_folder("scoring", environment) / "scoring"


def state_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the profile key, the audit log and the lockouts, as an absolute path; it need not exist.

    `config.state`, else the parent of the profiles' folder. Raises `ConfigError` if neither is known.
    """
    return config.state if config.state is not None else profiles_folder(config, environment).parent


def _state_folder(key: str, environment: Mapping[str, str] | None) -> Path:
    """Return the default state folder.

    `$STATE_DIRECTORY`, which systemd sets for a service; else `/var/lib/voiceauthd` for root; else
    `$XDG_STATE_HOME/voiceauthd`; else `~/.local/state/voiceauthd`.
    """
    surroundings = os.environ if environment is None else environment
    # systemd joins the folders with colons if a unit has several.
    state = surroundings.get("STATE_DIRECTORY", "").split(":")[0]
    if state.startswith("/"):
        return Path(state)
    if os.geteuid() == 0:
        return SYSTEM_STATE
    folder, home = surroundings.get("XDG_STATE_HOME", ""), surroundings.get("HOME", "")
    if folder.startswith("/"):  # the XDG specification says to ignore a relative path
        return Path(folder) / "voiceauthd"
    if home.startswith("/"):
        return Path(home) / ".local" / "state" / "voiceauthd"
    raise ConfigError(f"there is no home folder ($HOME) to keep {key} in; set `{key}` in the configuration")


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the paths of the keys that differ, such as "audio.device", in the order of the schema."""
    return [path for path, key in keys().items() if value_of(old, key) != value_of(new, key)]
