"""What a configuration means here: defaults that depend on who runs us and where, and what a new one changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from voiceauthd.config.keys import keys, value_of
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError

SYSTEM_STATE = Path("/var/lib/voiceauthd")

RESTART_KEYS = frozenset({"socket.path", "socket.mode"})
"""Keys whose change needs a restart: the socket is made once, or was made by systemd before us."""


def profiles_folder(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the profile store, absolute; it need not exist yet.

    `config.profiles`, else `$STATE_DIRECTORY/profiles` (systemd sets it for a service), else
    `/var/lib/voiceauthd/profiles` for root, else `$XDG_STATE_HOME/voiceauthd/profiles`, which is below
    `~/.local/state` unless it is set. Raises `ConfigError` if nothing tells where.
    """
    if config.profiles is not None:
        return config.profiles
    surroundings = os.environ if environment is None else environment
    # systemd joins the folders of a unit that has several with colons.
    state = surroundings.get("STATE_DIRECTORY", "").split(":")[0]
    if state.startswith("/"):
        return Path(state) / "profiles"
    if os.geteuid() == 0:
        return SYSTEM_STATE / "profiles"
    folder, home = surroundings.get("XDG_STATE_HOME", ""), surroundings.get("HOME", "")
    if folder.startswith("/"):  # the XDG specification: a relative path is to be ignored
        return Path(folder) / "voiceauthd" / "profiles"
    if home.startswith("/"):
        return Path(home) / ".local" / "state" / "voiceauthd" / "profiles"
    raise ConfigError("there is no home folder ($HOME) to keep profiles in; set `profiles` in the configuration")


def changed_keys(old: Config, new: Config) -> list[str]:
    """The keys that differ, as in "audio.device", in the order of the schema."""
    return [path for path, key in keys().items() if value_of(old, key) != value_of(new, key)]
