"""The access table: which roles may call which method; deny by default.

A caller may call a method if the caller has one of the roles in its row. A method without a row is denied to everybody.
The functions are pure, so the whole table can be tested.
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
from voiceauthd.protocol.credentials import OVERFLOW_UID
from voiceauthd.server.peer import Peer
from voiceauthd.users import user_name


class Role(Enum):
    """What a caller is to this daemon and to the profile that the call is about."""

    ANYBODY = auto()
    ROOT = auto()
    OPERATOR = auto()  # the user that the daemon runs as
    OWNER = auto()  # the owner of the voice, see `owner_of`
    PROVEN = auto()  # the owner, who has just given the account's password (proofs.py)
    HOLDER = auto()  # the user who began the enrolment that the claim belongs to
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
        "VerifyRecording": _ADMINISTRATORS,  # anybody else could try imitated voices until one is accepted
        "IdentifyRecording": _ADMINISTRATORS,
        "ListProfiles": _EVERYBODY,  # the reply has only the profiles that `sees_profile` allows
        "ShowProfile": _ONESELF,
        "DeleteProfile": _CHANGERS,
        "DropExemplar": _CHANGERS,
        "ExportProfile": _CHANGERS,
        "RenameProfile": _ADMINISTRATORS,
        "ImportProfile": _ADMINISTRATORS,
        "Unlock": _ADMINISTRATORS,
        "Rekey": _ADMINISTRATORS,
        "Reload": _ADMINISTRATORS,
        "Vouch": frozenset({Role.ROOT}),  # voiceauthd-proof runs as root, and has checked a password through PAM
    }
)
"""The roles that may call each method."""

SCORES = _LISTENERS
"""The roles that see scores and margins. For others a score would be an oracle: change the voice until it rises."""


@dataclass(frozen=True, slots=True)
class Access:
    """The table, applied to this daemon.

    daemon_uid   the user that the daemon runs as
    monitor_gid  the group that may monitor; None for no group
    """

    daemon_uid: int
    monitor_gid: int | None = None

    @classmethod
    def from_config(cls, config: AccessConfig) -> Access:
        """The table for this process. Raises `ConfigError` if the configured group does not exist."""
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
        """Return whether `peer` may call `method` (its short name).

        owner   the user whose voice the call is about (`owner_of`); None for nobody
        holder  the user who holds the claim that the call names; None for nobody
        proven  the peer has just given the password of the account
        """
        roles = self._roles(peer)
        if _is_user(peer, owner):
            roles |= {Role.OWNER, Role.PROVEN} if proven else {Role.OWNER}
        if _is_user(peer, holder):
            roles.add(Role.HOLDER)
        return not TABLE.get(method, frozenset()).isdisjoint(roles)

    def who_may(self, method: str, user: str) -> str:
        """Return who may call `method`, and what an administrator can do so that `user` may, for an error."""
        allowed = TABLE.get(method, frozenset())
        running = user_name(self.daemon_uid)
        administrators = "root" if self.daemon_uid == 0 else f"root and {running}, who runs the daemon,"
        if Role.MONITOR in allowed:
            if self.monitor_gid is None:
                return f"`access.monitor_group` can name a group whose members may; {administrators} can set it"
            group = _group_name(self.monitor_gid)
            return f"it is for the group {group} (access.monitor_group): `sudo usermod -aG {group} {user}`"
        if Role.OWNER in allowed or Role.PROVEN in allowed:
            return f"only {administrators} and the owner of the voice may do it"
        return f"only {administrators} may do it"

    def sees_profile(self, peer: Peer, name: str, owner_uid: int | None) -> bool:
        """Return whether `peer` sees the profile `name`, which records `owner_uid`, in the list of profiles.

        Does not query the user database, which would be slow for a long list. A listed profile may still be denied to
        the peer by `owner_of`.
        """
        if not _ADMINISTRATORS.isdisjoint(self._roles(peer)) or _is_user(peer, owner_uid):
            return True
        return owner_uid is None and peer.user is not None and peer.user == name and peer.uid != OVERFLOW_UID

    def is_counted(self, peer: Peer) -> bool:
        """Return whether the rate limits apply to `peer`."""
        return _ADMINISTRATORS.isdisjoint(self._roles(peer))

    def sees_scores(self, peer: Peer) -> bool:
        """Return whether `peer` may see scores and margins."""
        return not SCORES.isdisjoint(self._roles(peer))

    def _roles(self, peer: Peer) -> set[Role]:
        """Return the roles that `peer` has regardless of what the call is about."""
        roles = {Role.ANYBODY}
        if peer.uid == 0:
            roles.add(Role.ROOT)
        if _is_user(peer, self.daemon_uid):
            roles.add(Role.OPERATOR)
        if self.monitor_gid is not None and (peer.gid == self.monitor_gid or self.monitor_gid in peer.groups):
            roles.add(Role.MONITOR)
        return roles


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"with gid {gid}"


def _is_user(peer: Peer, uid: int | None) -> bool:
    return uid is not None and peer.uid == uid and peer.uid != OVERFLOW_UID


def owner_of(account_uid: int | None, owner_uid: int | None) -> int | None:
    """Return the user whose voice a profile holds; None if there is none, or if the two arguments disagree.

    account_uid  the account of this machine whose name is exactly the profile's name
    owner_uid    the user recorded in the profile

    A profile unlocks the account of the same name, so a different user recorded in it must not change it. An account
    that was deleted and created again with the same name must not use the earlier voice. An administrator can still do
    both.
    """
    users = {uid for uid in (account_uid, owner_uid) if uid is not None}
    return users.pop() if len(users) == 1 else None
