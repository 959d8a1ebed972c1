"""A call as a method sees it, and how what a method raises becomes the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.errors import row_for_exception
from voiceauthd.protocol.interface import VOICEAUTHD, MismatchError, load
from voiceauthd.protocol.wire import Reply
from voiceauthd.server.peer import Peer

Send = Callable[[Reply], Awaitable[None]]
"""Sends one reply; returns when the client's buffer has room again. Does nothing once the client has gone."""


class CallError(Exception):
    """Raised by a method to answer with an error of the interface.

    error  the full name, or the short name of one of ours: "NotEnrolled"
    """

    def __init__(self, error: str, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__(error)
        self.error = error if "." in error else f"{VOICEAUTHD}.{error}"
        self.parameters = dict(parameters or {})


class Call:
    """One call, with parameters that agree with the interface.

    method      the full name; `name` is the short one
    parameters  every declared parameter, None for a nullable one that was not given
    more        the caller wants the replies in between
    oneway      the caller wants no answer; `reply` then does nothing
    answered    the final reply was given
    outcome, reason  for the audit log: what came of it
    about       for the audit log: the name of the profile that it is about, as far as it is known
    detail      for the audit log: what else belongs to it
    audited     the audit log has it
    """

    def __init__(
        self,
        method: str,
        parameters: Mapping[str, Any],
        peer: Peer,
        send: Send,
        *,
        more: bool = False,
        oneway: bool = False,
        check_replies: bool = False,
    ) -> None:
        self.method = method
        self.name = method.rpartition(".")[2]
        self.parameters = dict(parameters)
        self.peer = peer
        self.more = more
        self.oneway = oneway
        self.answered = False
        self.outcome = "done"
        self.reason = ""
        self.about: str | None = self.parameters.get("name")
        self.detail: str | None = None
        self.audited = False
        self._send = send
        self._check_replies = check_replies

    async def reply(self, parameters: Mapping[str, Any] | None = None, *, continues: bool = False) -> None:
        """Answers the call; with `continues`, one reply of several.

        A reply in between is dropped if the caller did not ask for `more`, so a method is written once for both.
        Waits while the client does not read. Raises `RuntimeError` after the final reply, and for one that cannot be
        sent.
        """
        if self.answered:
            raise RuntimeError(f"{self.method} was answered already")
        if continues and not self.more:
            return
        answer = dict(parameters or {})
        if self._check_replies:
            _check_reply(self.method, answer)
        if not self.oneway:
            await self._send(Reply(answer, continues))
        self.answered = not continues


def _check_reply(method: str, parameters: Mapping[str, Any]) -> None:
    interface, _, name = method.rpartition(".")
    try:
        load(interface).check_reply(name, parameters)
    except MismatchError as problem:  # ours, not the caller's
        raise RuntimeError(f"a reply of {method} does not agree with the interface: {problem}") from None


def error_reply(problem: VoiceauthError, parameters: Mapping[str, Any]) -> Reply | None:
    """The answer for an error that a person can act on; None if the interface has no name for it.

    parameters  of the call: an error's `name` is the profile that the call was about
    """
    row = row_for_exception(problem)
    if row is None:
        return None
    interface, _, error = row.error.rpartition(".")
    name = parameters.get("new_name") if row.error.endswith(".AlreadyEnrolled") else None
    known = {
        "detail": str(problem),
        "holder": str(problem),
        "reason": problem.reason,
        "parameter": getattr(problem, "parameter", ""),
        "name": name or parameters.get("name") or "",
        "policy": parameters.get("policy") or "",
        "limit": getattr(problem, "limit", 0),
        "seconds": round(getattr(problem, "seconds", 0.0), 1),
    }
    declared = load(interface).errors[error].fields
    return Reply({field: known.get(field, "") for field in declared}, error=row.error)
