"""What a configuration means here: defaults that depend on who runs us and where, and what a new one changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from voiceauthd.config.keys import keys, value_of
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError

SYSTEM_STATE = Path("/var/lib/voiceauthd")

RESTART_KEYS = frozenset({"socket.path", "socket.mode", "state"})
"""Keys whose change needs a restart: the socket is made once, or was made by systemd before us; the audit log is one
chain, which does not move."""


def profiles_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the profile store, absolute; it need not exist yet.

    `config.profiles`, else `profiles` in the state folder. Raises `ConfigError` if nothing tells where.
    """
    return config.profiles if config.profiles is not None else _state_folder("profiles", environment) / "profiles"


def scoring_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the cohorts and calibrations that were made on this machine, absolute; it need not exist.

    `config.scoring`, else `scoring` in the state folder. Raises `ConfigError` if nothing tells where.
    """
    return config.scoring if config.scoring is not None else _state_folder("scoring", environment) / "scoring"


def state_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the key, the audit log and the lockouts, absolute; it need not exist.

    `config.state`, else the folder that the profiles' folder lies in. Raises `ConfigError` if nothing tells where.
    """
    return config.state if config.state is not None else profiles_folder(config, environment).parent


def _state_folder(key: str, environment: Mapping[str, str] | None) -> Path:
    """`$STATE_DIRECTORY` (systemd sets it for a service), else `/var/lib/voiceauthd` for root, else
    `$XDG_STATE_HOME/voiceauthd`, which is below `~/.local/state` unless it is set.
    """
    surroundings = os.environ if environment is None else environment
    # systemd joins the folders of a unit that has several with colons.
    state = surroundings.get("STATE_DIRECTORY", "").split(":")[0]
    if state.startswith("/"):
        return Path(state)
    if os.geteuid() == 0:
        return SYSTEM_STATE
    folder, home = surroundings.get("XDG_STATE_HOME", ""), surroundings.get("HOME", "")
    if folder.startswith("/"):  # the XDG specification: a relative path is to be ignored
        return Path(folder) / "voiceauthd"
    if home.startswith("/"):
        return Path(home) / ".local" / "state" / "voiceauthd"
    raise ConfigError(f"there is no home folder ($HOME) to keep {key} in; set `{key}` in the configuration")


def changed_keys(old: Config, new: Config) -> list[str]:
    """The keys that differ, as in "audio.device", in the order of the schema."""
    return [path for path, key in keys().items() if value_of(old, key) != value_of(new, key)]
