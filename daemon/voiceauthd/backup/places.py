"""Where the state of a daemon is: what a backup reads and a restore writes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.resolve import SYSTEM_STATE, profiles_folder, scoring_folder, state_folder
from voiceauthd.config.schema import Config
from voiceauthd.errors import StorageError
from voiceauthd.profiles.keys import KEY_FILE, Keys, read_keys
from voiceauthd.terminal.daemon_config import config_in_use

CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The variable in which systemd passes the folder of a unit's credentials."""

RUNNING_CREDENTIALS = Path("/run/credentials/voiceauthd.service")
"""Those of the system service, while it runs."""

UNIT_FOLDERS = tuple(Path(folder, "systemd/system") for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))

_CREDENTIAL_SETTING = re.compile(rf"^\s*(LoadCredential(?:Encrypted)?={re.escape(KEY_FILE)}:\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Places:
    """Absolute paths; the folders need not exist.

    config       the configuration file; None for the built-in defaults
    model_cache  None for the default one
    """

    config: Path | None
    state: Path
    profiles: Path
    scoring: Path
    model_cache: Path | None

    @property
    def key_file(self) -> Path:
        """The file of the profiles' keys, unless these are a credential."""
        return self.state / KEY_FILE


def find_places(config: Path | None) -> Places:
    """Return the places of the daemon that this user's configuration describes. Raises `ConfigError`.

    config  the configuration file; None for the one that would be used
    """
    return places_of(load_config(find_config(config, os.environ)))


def places_in_use() -> Places:
    """Return the places of the running daemon, if it answers and shows them, else those of this user's configuration.
    Raises `ConfigError`."""
    return places_of(config_in_use(None).config)


def places_of(config: Config) -> Places:
    """Return the places that a configuration names. Raises `ConfigError`."""
    return Places(
        config.file, state_folder(config), profiles_folder(config), scoring_folder(config), config.model.cache
    )


def find_keys(places: Places, environment: Mapping[str, str] | None = None) -> Keys | None:
    """Return the keys of the profiles: those in $CREDENTIALS_DIRECTORY or in the running system service's credential,
    else those in the key file; None if there are none.

    Raises `StorageError` as `read_keys` does, and `no_key` if the service has a credential that cannot be read now.
    """
    surroundings = os.environ if environment is None else environment
    folder = surroundings.get(CREDENTIALS, "")
    if not folder and places.state == SYSTEM_STATE and os.access(RUNNING_CREDENTIALS / KEY_FILE, os.R_OK):
        folder = str(RUNNING_CREDENTIALS)
    if folder:
        keys = read_keys(places.key_file, {CREDENTIALS: folder})
        if keys is not None and keys.source is not None and keys.source.credential:
            return keys
    setting = credential_setting() if places.state == SYSTEM_STATE else None
    if setting is not None:
        raise StorageError(
            "the service has the key of its profiles in a systemd credential, which this command cannot read: run it "
            f"as root with `systemd-run --pty -p '{setting}' voiceauth …`, with the whole path of FILE",
            "no_key",
        )
    return read_keys(places.key_file, {})


def credential_setting() -> str | None:
    """Return the line with which the units of the system service load a credential with the key; None if none does."""
    for folder in UNIT_FOLDERS:
        for file in (folder / "voiceauthd.service", *sorted(folder.glob("voiceauthd.service.d/*.conf"))):
            try:
                found = _CREDENTIAL_SETTING.search(file.read_text("utf-8", "replace"))
            except OSError:
                continue
            if found:
                return found[1]
    return None
