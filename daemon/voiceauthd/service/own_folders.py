"""Whose state it is: a daemon creates and changes only the folders of its own user.

Root could write into any folder. What it leaves there would belong to root, and the daemon whose folder it is could not
start again.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from voiceauthd.config.resolve import SYSTEM_STATE, profiles_folder, state_folder
from voiceauthd.config.schema import Config
from voiceauthd.errors import StorageError
from voiceauthd.users import user_name

SERVICE_USER = "voiceauthd"
"""The system service's user: systemd/sysusers.d."""


def require_own_folders(config: Config) -> None:
    """Raise `StorageError`, reason `foreign_state`, if the state or the profiles belong to another user, or are to be
    made where only another user should. Creates nothing."""
    user = os.geteuid()
    for setting, folder in (("state", state_folder(config)), ("profiles", profiles_folder(config))):
        owner = owner_of(folder)
        if owner is None or owner in {user, 0}:
            continue
        name = user_name(owner)
        raise StorageError(
            f"the {setting} folder {folder} belongs to {name}, and this is {user_name(user)}: run this as {name} "
            f"(sudo -u {name}), or set `{setting}` to a folder of your own",
            "foreign_state",
        )


def owner_of(folder: Path) -> int | None:
    """The uid that a folder belongs to, or would if it existed; None if that cannot be seen.

    The system's state is the service's, if its user exists. Any other missing folder is as that above it; root's
    folders, such as /srv, are for whoever makes one in them.
    """
    try:
        return folder.stat().st_uid
    except FileNotFoundError:
        pass
    except OSError:
        return None
    if SYSTEM_STATE in (folder, *folder.parents) and (service := service_uid()) is not None:
        return service
    return None if folder.parent == folder else owner_of(folder.parent)


def service_uid() -> int | None:
    """The uid of `SERVICE_USER`; None on a machine without the system service."""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_uid
    except KeyError:
        return None
