"""Proofs that a user has just given their password: issued when root vouches for it, single-use, and short-lived."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import NamedTuple

from voiceauthd.protocol.credentials import OVERFLOW_UID
from voiceauthd.protocol.interface import MismatchError

LIFETIME = 60.0
"""Seconds that a proof is valid: long enough to begin an enrolment, too short to be found and kept."""

MAX_PROOFS = 256
"""Proofs that are kept at one time, one per user; beyond that the oldest are dropped."""

_SECRET_BYTES = 24
"""Random bytes in a proof: 192 bits, which cannot be guessed within a minute."""

_UIDS = range(2**32 - 1)
"""uid_t, without the value that means no user."""


class _Issued(NamedTuple):
    proof: str
    expires: float  # of time.monotonic()


class Proofs:
    """The issued proofs that are not yet spent, at most one per user.

    They are never written to a disk, so a restart forgets them, nor to a log: for a minute a proof is as good as the
    password.
    """

    def __init__(self) -> None:
        self._issued: dict[int, _Issued] = {}  # by uid, in the order of issue

    def issue(self, uid: int) -> tuple[str, float]:
        """Return a new proof for the user `uid`, and the seconds that it is valid. It replaces an earlier one."""
        proof = secrets.token_urlsafe(_SECRET_BYTES)
        self._drop_expired()
        self._issued.pop(uid, None)
        self._issued[uid] = _Issued(proof, time.monotonic() + LIFETIME)
        while len(self._issued) > MAX_PROOFS:
            del self._issued[next(iter(self._issued))]
        return proof, LIFETIME

    def spend(self, proof: str | None, uid: int) -> bool:
        """Return whether this is a valid proof of the user `uid`, and invalidate it, whoever presented it."""
        if proof is None:
            return False
        self._drop_expired()
        shown = proof.encode(errors="replace")
        for owner, issued in self._issued.items():
            if hmac.compare_digest(issued.proof.encode(), shown):
                del self._issued[owner]
                return owner == uid
        return False

    def _drop_expired(self) -> None:
        now = time.monotonic()
        self._issued = {uid: issued for uid, issued in self._issued.items() if now < issued.expires}


def require_provable(uid: int) -> None:
    """Raise `MismatchError` if `uid` cannot be a user of this machine."""
    if uid not in _UIDS or uid == OVERFLOW_UID:
        raise MismatchError("uid", "is not a user")
