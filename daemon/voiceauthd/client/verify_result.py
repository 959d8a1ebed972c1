"""The result of a verification, in a form that is hard to misread."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from voiceauthd.protocol.wire import WireError


class VerifyResult(NamedTuple):
    """The daemon's decision about a claimed identity. Read `accepted`, or call `redeem` to use it once.

    outcome     "accept", "reject" or "inconclusive"
    deadline    when the result expires, on the clock of `time.monotonic()`
    uses        holds one item per remaining use: one at first, none after `redeem`. Copies share it
    score       log-likelihood ratio if `calibrated`, else cosine; like `margin` and `threshold`, None for a caller who
                may not see it
    threshold   the lowest score that is accepted
    calibrated  whether the threshold corresponds to an error rate; False if the daemon does not say
    policy      the policy of the decision; None if the daemon does not say
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
        """Whether this person was accepted and the result has not expired."""
        return self.outcome == "accept" and time.monotonic() < self.deadline

    def redeem(self) -> bool:
        """Use the result up. Returns True once, if `accepted`; False from then on."""
        try:
            self.uses.pop()
        except IndexError:
            return False
        return self.accepted

    def __bool__(self) -> NoReturn:
        raise TypeError("a verification result has no truth value: use .accepted")


def read_verify_result(reply: Mapping[str, Any], name: str, nonce: str, policy: str | None = None) -> VerifyResult:
    """Check the final reply to Verify against the request. Raises `WireError` if they disagree.

    policy  the requested policy; None accepts any
    """
    if reply.get("state") != "decided":
        raise WireError("the daemon's last reply is not a decision")
    if reply.get("name") != name or reply.get("nonce") != nonce:
        raise WireError("the daemon's decision is about another request")
    decided_by = reply.get("policy")
    if not isinstance(decided_by, str | None) or policy not in (None, decided_by):
        raise WireError("the daemon decided by another policy")
    outcome, reason = reply.get("outcome"), reply.get("reason")
    if outcome not in ("accept", "reject", "inconclusive") or not isinstance(reason, str | None):
        raise WireError("the daemon's decision has an unknown outcome")
    expires = _number(reply, "expires")
    if outcome == "accept" and not (expires is not None and expires > 0):
        raise WireError("the daemon's decision does not say when it expires")
    return VerifyResult(
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
        raise WireError(f"the daemon's {key} is not a number")
    return number
