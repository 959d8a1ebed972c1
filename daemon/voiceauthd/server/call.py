"""A call as passed to a method, and the conversion of a method's exceptions into answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.errors import row_for_exception
from voiceauthd.protocol.interface import VOICEAUTHD, MismatchError, load
from voiceauthd.protocol.wire import Reply
from voiceauthd.server.peer import Peer

Send = Callable[[Reply], Awaitable[None]]
"""Sends one reply; returns when the client's buffer has room again. Does nothing after the client has disconnected."""


class CallError(Exception):
    """Raised by a method to answer with an error of the interface.

    error  the full name, or the short name of an error of `org.voiceauthd`: "NotEnrolled"
    """

    def __init__(self, error: str, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__(error)
        self.error = error if "." in error else f"{VOICEAUTHD}.{error}"
        self.parameters = dict(parameters or {})


class Call:
    """One call, with parameters that match the interface.

    method      the full name; `name` is the short one
    parameters  every declared parameter; None for a nullable one that was not given
    more        whether the caller wants intermediate replies
    oneway      whether the caller wants no answer; `reply` then sends nothing
    answered    whether the final reply was given
    outcome, reason  for the audit log: the result
    about       for the audit log: the name of the profile concerned, if known
    detail      for the audit log: further information
    audited     whether the audit log has a line about this call
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
        """Answer the call; with `continues`, send one of several replies.

        An intermediate reply is dropped if the caller did not ask for `more`, so a method need not distinguish the two.
        Waits while the client does not read. Raises `RuntimeError` after the final reply, and for a reply that cannot
        be sent.
        """
        if self.answered:
            raise RuntimeError(f"{self.method} has already been answered")
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
    except MismatchError as problem:  # a defect of this program, not a mistake of the caller
        raise RuntimeError(f"a reply of {method} does not match the interface: {problem}") from None


def error_reply(problem: VoiceauthError, parameters: Mapping[str, Any]) -> Reply | None:
    """Return the answer for an error that a person can act on; None if the interface has no name for it.

    parameters  of the call: the `name` in an error is the profile that the call was about
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
