"""Which service suits this machine: the system's, or a user's own. It depends on whom the sound belongs to.

PipeWire and PulseAudio run for one user, and other users cannot record from them; so a desktop needs that user's own
daemon. On a machine with plain ALSA, or with a sound server for the whole system, the system service can record, and
it is the one that can serve logins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voiceauthd.users import user_name

Kind = Literal["user", "system"]

SOUND_SERVERS = (("pipewire-0", "PipeWire"), ("pulse/native", "PulseAudio"))
"""Sockets below a user's runtime folder, and whose they are."""

SYSTEM_SERVERS = ((Path("/run/pulse/native"), "PulseAudio"), (Path("/run/pipewire/pipewire-0"), "PipeWire"))
"""Sockets of sound servers that run for the whole system."""


@dataclass(frozen=True, slots=True)
class SoundAccess:
    """Who can record on this machine.

    uid            of the user that asks
    own_server     the sound server that this user's programs reach, by name; None without one
    other_servers  users with a sound server of their own, by uid, and its name
    system_server  the sound server for the whole system, by name; None without one
    cards          ALSA lists at least one sound card
    """

    uid: int
    own_server: str | None
    other_servers: Mapping[int, str]
    system_server: str | None
    cards: bool


@dataclass(frozen=True, slots=True)
class Suited:
    """The service that suits a machine, and why. `owner`: whose own service it must be; None: this user's."""

    kind: Kind
    reason: str
    owner: str | None = None


def sound_access(environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> SoundAccess:
    """Look at this machine. `root`: the folder that `/run` and `/proc` are looked for in."""
    surroundings = os.environ if environment is None else environment
    uid = os.geteuid()
    runtime = surroundings.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    own = _server_in(Path(runtime))
    if own is None and surroundings.get("PULSE_SERVER"):
        own = "PulseAudio"
    others = {}
    try:
        folders = sorted((root / "run/user").iterdir(), key=lambda folder: folder.name)
    except OSError:
        folders = []
    for folder in folders:
        if folder.name.isdecimal() and int(folder.name) != uid and (server := _server_in(folder)) is not None:
            others[int(folder.name)] = server
    system = next((name for path, name in SYSTEM_SERVERS if (root / path.relative_to("/")).exists()), None)
    return SoundAccess(uid, own, others, system, _has_cards(root))


def suited(access: SoundAccess) -> Suited:
    """The service that can record on a machine with this access."""
    if access.system_server is not None:
        return Suited("system", f"{access.system_server} runs for the whole system")
    if access.own_server is not None:
        return Suited(
            "user", f"{access.own_server} belongs to {user_name(access.uid)}; only this user's daemon hears it"
        )
    if access.other_servers:
        uid, server = next(iter(access.other_servers.items()))
        owner = user_name(uid)
        return Suited("user", f"{server} belongs to {owner}; only {owner}'s own daemon hears it", owner)
    if access.cards:
        return Suited("system", "there is a sound card and no sound server, so the system service can record from ALSA")
    kind: Kind = "system" if access.uid == 0 else "user"
    return Suited(kind, "no sound server and no sound card was found; connect a microphone first")


def _server_in(runtime: Path) -> str | None:
    for socket, name in SOUND_SERVERS:
        try:
            if (runtime / socket).exists():
                return name
        except OSError:  # another user's folder, which only root may look into
            return None
    return None


def _has_cards(root: Path) -> bool:
    try:
        return "[" in (root / "proc/asound/cards").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
