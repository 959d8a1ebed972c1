"""The result of a verification, in a form that is hard to misread."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from voiceauthd.protocol.wire import WireError


class Verified(NamedTuple):
    """What the daemon decided about one person's claim. Ask `accepted`, or `redeem` to let it count once.

    outcome     "accept", "reject" or "inconclusive"
    deadline    on `time.monotonic()`'s clock: from then on the result is worth nothing
    uses        as many items as there are uses left of it: one, and none after `redeem`, also of a copy
    score       log-likelihood ratio if `calibrated`, else cosine; None for a caller who may not see it, likewise
                `margin` and `threshold`
    threshold   the score that it takes to be accepted
    calibrated  whether the threshold stands for an error rate; False if the daemon does not say so
    policy      by which it was decided; None if the daemon does not say so
    """

    name: str
    outcome: str
    reason: str
    advice: str | None
    nonce: str
    net_speech: float
    score: float | None
    margin: float | None
    threshold: float | None
    calibrated: bool
    policy: str | None
    deadline: float
    uses: list[None]

    @property
    def accepted(self) -> bool:
        """Whether this person was accepted, and that is still good. Turns False when the result expires."""
        return self.outcome == "accept" and time.monotonic() < self.deadline

    def redeem(self) -> bool:
        """Uses the result up: True once, if this person was accepted and that is still good; False ever after."""
        try:
            self.uses.pop()
        except IndexError:
            return False
        return self.accepted

    def __bool__(self) -> NoReturn:
        raise TypeError("a verification is neither true nor false: ask for .accepted")


def read_verified(reply: Mapping[str, Any], name: str, nonce: str, policy: str | None = None) -> Verified:
    """The final reply to Verify, held against what was asked. Raises `WireError` for any disagreement.

    policy  the one that was asked for; None if none was, and any will do
    """
    if reply.get("state") != "decided":
        raise WireError("the daemon's last reply is no decision")
    if reply.get("name") != name or reply.get("nonce") != nonce:
        raise WireError("the daemon's decision is about another request")
    decided_by = reply.get("policy")
    if not isinstance(decided_by, str | None) or policy not in (None, decided_by):
        raise WireError("the daemon's decision is by another policy")
    outcome, reason = reply.get("outcome"), reply.get("reason")
    if outcome not in ("accept", "reject", "inconclusive") or not isinstance(reason, str | None):
        raise WireError("the daemon's decision has no outcome that is known here")
    expires = _number(reply, "expires")
    if outcome == "accept" and not (expires is not None and expires > 0):
        raise WireError("the daemon's decision does not say for how long it is good")
    return Verified(
        name=name,
        outcome=str(outcome),
        reason=reason or "",
        advice=None if reply.get("advice") is None else str(reply["advice"]),
        nonce=nonce,
        net_speech=_number(reply, "net_speech") or 0.0,
        score=_number(reply, "score"),
        margin=_number(reply, "margin"),
        threshold=_number(reply, "threshold"),
        calibrated=reply.get("calibrated") is True,
        policy=decided_by,
        deadline=time.monotonic() + (expires or 0.0),
        uses=[None],
    )


def _number(reply: Mapping[str, Any], key: str) -> float | None:
    value = reply.get(key)
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an int that no double can hold
        number = math.nan
    if not math.isfinite(number):
        raise WireError(f"the daemon's {key} is no number")
    return number
