"""Who may do what: one table, deny by default.

A rule is a set of roles; a caller may do something if the caller has one of them. What has no row, nobody may do.
The functions are pure: they know only what they are given, so the whole table can be tested.
"""

from __future__ import annotations

import grp
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from voiceauthd.config.schema import AccessConfig
from voiceauthd.errors import ConfigError
from voiceauthd.service.peer import OVERFLOW_UID, Peer


class Role(Enum):
    """What a caller is, seen from this daemon and from the profile in question."""

    ANYBODY = auto()
    ROOT = auto()
    OPERATOR = auto()  # the user whom the daemon runs as
    OWNER = auto()  # whose voice it is: by the account's name, or by the profile's `owner_uid`
    HOLDER = auto()  # who began the enrolment that a claim names
    MONITOR = auto()  # a member of `access.monitor_group`


_EVERYBODY = frozenset({Role.ANYBODY})
_ADMINISTRATORS = frozenset({Role.ROOT, Role.OPERATOR})
_ONESELF = _ADMINISTRATORS | {Role.OWNER}
_LISTENERS = _ADMINISTRATORS | {Role.MONITOR}

TABLE: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "Info": _EVERYBODY,
        "Status": _EVERYBODY,
        "Verify": _ONESELF,
        "Enroll": _ONESELF,
        "SendAudio": frozenset({Role.HOLDER}),
        "Identify": _LISTENERS,
        "Monitor": _LISTENERS,
        "ListProfiles": _EVERYBODY,  # and sees of them what `sees_profile` allows
        "ShowProfile": _ONESELF,
        "DeleteProfile": _ONESELF,
        "ExportProfile": _ONESELF,
        "RenameProfile": _ADMINISTRATORS,
        "ImportProfile": _ADMINISTRATORS,
        "Reload": _ADMINISTRATORS,
    }
)
"""Method to the roles that may call it."""

SCORES = _LISTENERS
"""Who sees scores and margins. To others a score would be an oracle: change the voice until the number rises."""


@dataclass(frozen=True, slots=True)
class Access:
    """The table, with what it needs to know of this daemon.

    daemon_uid   the user whom the daemon runs as
    monitor_gid  the group that may monitor; None for no group
    """

    daemon_uid: int
    monitor_gid: int | None = None

    @classmethod
    def from_config(cls, config: AccessConfig) -> Access:
        """For this process. Raises `ConfigError` if the configured group does not exist."""
        if config.monitor_group is None:
            return cls(os.geteuid())
        try:
            return cls(os.geteuid(), grp.getgrnam(config.monitor_group).gr_gid)
        except KeyError:
            raise ConfigError(
                f"access.monitor_group: there is no group {config.monitor_group!r}; create it (`groupadd --system "
                f"{config.monitor_group}`) or set it to null"
            ) from None

    def allowed(self, peer: Peer, method: str, profile_name: str | None = None, owner_uid: int | None = None) -> bool:
        """Whether `peer` may call `method` (its short name).

        profile_name  the profile that the call is about, if it is about one
        owner_uid     that profile's owner, if it has one; for SendAudio, the user who holds the claim
        """
        rule = TABLE.get(method, frozenset())
        if not rule.isdisjoint(self._roles(peer)):
            return True
        if Role.OWNER in rule and _owns(peer, profile_name, owner_uid):
            return True
        return Role.HOLDER in rule and _is_user(peer, owner_uid)

    def sees_profile(self, peer: Peer, profile_name: str, owner_uid: int | None) -> bool:
        """Whether this profile is in the list that `peer` gets."""
        return not _ADMINISTRATORS.isdisjoint(self._roles(peer)) or _owns(peer, profile_name, owner_uid)

    def sees_scores(self, peer: Peer) -> bool:
        """Whether `peer` is told scores and margins."""
        return not SCORES.isdisjoint(self._roles(peer))

    def _roles(self, peer: Peer) -> set[Role]:
        """What `peer` is, whatever the call is about."""
        roles = {Role.ANYBODY}
        if peer.uid == 0:
            roles.add(Role.ROOT)
        if _is_user(peer, self.daemon_uid):
            roles.add(Role.OPERATOR)
        if self.monitor_gid is not None and (peer.gid == self.monitor_gid or self.monitor_gid in peer.groups):
            roles.add(Role.MONITOR)
        return roles


def _is_user(peer: Peer, uid: int | None) -> bool:
    return uid is not None and peer.uid == uid and peer.uid != OVERFLOW_UID


def _owns(peer: Peer, profile_name: str | None, owner_uid: int | None) -> bool:
    if _is_user(peer, owner_uid):
        return True
    return profile_name is not None and peer.user is not None and peer.user == profile_name
