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
from voiceauthd.server.peer import OVERFLOW_UID, Peer


class Role(Enum):
    """What a caller is, seen from this daemon and from the profile in question."""

    ANYBODY = auto()
    ROOT = auto()
    OPERATOR = auto()  # the user whom the daemon runs as
    OWNER = auto()  # whose voice it is: `owner_of`
    PROVEN = auto()  # the owner, who has just given the account's password (proofs.py)
    HOLDER = auto()  # who began the enrolment that a claim names
    MONITOR = auto()  # a member of `access.monitor_group`


_EVERYBODY = frozenset({Role.ANYBODY})
_ADMINISTRATORS = frozenset({Role.ROOT, Role.OPERATOR})
_ONESELF = _ADMINISTRATORS | {Role.OWNER, Role.PROVEN}
_CHANGERS = _ADMINISTRATORS | {Role.PROVEN}
_LISTENERS = _ADMINISTRATORS | {Role.MONITOR}

TABLE: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "Info": _EVERYBODY,
        "Status": _EVERYBODY,
        "Verify": _ONESELF,
        "Enroll": _CHANGERS,
        "SendAudio": frozenset({Role.HOLDER}),
        "Identify": _LISTENERS,
        "Monitor": _LISTENERS,
        "ListProfiles": _EVERYBODY,  # and sees of them what `sees_profile` allows
        "ShowProfile": _ONESELF,
        "DeleteProfile": _CHANGERS,
        "ExportProfile": _CHANGERS,
        "RenameProfile": _ADMINISTRATORS,
        "ImportProfile": _ADMINISTRATORS,
        "Unlock": _ADMINISTRATORS,
        "Rekey": _ADMINISTRATORS,
        "Reload": _ADMINISTRATORS,
        "Vouch": frozenset({Role.ROOT}),  # who has seen a password through PAM
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

    def allowed(
        self, peer: Peer, method: str, owner: int | None = None, *, holder: int | None = None, proven: bool = False
    ) -> bool:
        """Whether `peer` may call `method` (its short name).

        owner   the user whose voice the call is about, as `owner_of` says; None for nobody
        holder  the user who holds the claim that the call names; None for nobody
        proven  the peer has just given the password of the account
        """
        roles = self._roles(peer)
        if _is_user(peer, owner):
            roles |= {Role.OWNER, Role.PROVEN} if proven else {Role.OWNER}
        if _is_user(peer, holder):
            roles.add(Role.HOLDER)
        return not TABLE.get(method, frozenset()).isdisjoint(roles)

    def sees_profile(self, peer: Peer, name: str, owner_uid: int | None) -> bool:
        """Whether the profile `name`, which notes `owner_uid`, is in the list that `peer` gets.

        Asks no user database, which a long list would ask long. What is listed and is not `owner_of`'s may not be used.
        """
        if not _ADMINISTRATORS.isdisjoint(self._roles(peer)) or _is_user(peer, owner_uid):
            return True
        return owner_uid is None and peer.user is not None and peer.user == name and peer.uid != OVERFLOW_UID

    def is_counted(self, peer: Peer) -> bool:
        """Whether the calls of `peer` are limited in number."""
        return _ADMINISTRATORS.isdisjoint(self._roles(peer))

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


def owner_of(account_uid: int | None, owner_uid: int | None) -> int | None:
    """The user whose voice a profile holds; None if that is nobody, and if two users have a claim to it.

    account_uid  the account of this machine that has the very name of the profile, letter by letter
    owner_uid    who is noted in the profile

    A name opens the account of that name, so whoever else is noted in the profile must not change it; and whoever has
    come to the name later (an account that was removed and made again) must not use the voice of before. An
    administrator can still do all of it.
    """
    users = {uid for uid in (account_uid, owner_uid) if uid is not None}
    return users.pop() if len(users) == 1 else None
