"""Proofs that somebody has just given a password: made for whom root vouches, good once, and for a short time."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import NamedTuple

from voiceauthd.protocol.interface import MismatchError
from voiceauthd.server.peer import OVERFLOW_UID

LIFETIME = 60.0
"""Seconds. Long enough to begin an enrolment, too short to be found and kept."""

MOST = 256
"""Users whose proofs wait to be used at one time; beyond that the oldest go."""

_SECRET = 24
"""Bytes of chance in a proof: 192 bits, which nobody guesses in a minute."""

_UIDS = range(2**32 - 1)
"""uid_t, less the value that stands for no user."""


class _Given(NamedTuple):
    proof: str
    until: float  # of time.monotonic()


class Proofs:
    """The proofs that were given and not yet spent, the last one of each user. Never on a disk: a restart forgets
    them. Never in a log either: a proof is as good as the password for a minute.
    """

    def __init__(self) -> None:
        self._given: dict[int, _Given] = {}  # by uid, in the order in which they were given

    def give(self, uid: int) -> tuple[str, float]:
        """A new proof for the user `uid`, and the seconds that it is good for. One from before is not any more."""
        proof = secrets.token_urlsafe(_SECRET)
        self._forget_old()
        self._given.pop(uid, None)
        self._given[uid] = _Given(proof, time.monotonic() + LIFETIME)
        while len(self._given) > MOST:
            del self._given[next(iter(self._given))]
        return proof, LIFETIME

    def spend(self, proof: str | None, uid: int) -> bool:
        """Whether this is a proof of the user `uid` that is still good. It is not afterwards, whoever has shown it."""
        if proof is None:
            return False
        self._forget_old()
        shown = proof.encode(errors="replace")
        for owner, one in self._given.items():
            if hmac.compare_digest(one.proof.encode(), shown):
                del self._given[owner]
                return owner == uid
        return False

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._given = {uid: one for uid, one in self._given.items() if now < one.until}


def require_provable(uid: int) -> None:
    """Raises `MismatchError` for what is no user of this machine."""
    if uid not in _UIDS or uid == OVERFLOW_UID:
        raise MismatchError("uid", "stands for no user")
