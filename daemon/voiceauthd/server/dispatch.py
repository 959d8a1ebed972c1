"""Dispatch each request to the method that answers it, and turn whatever that raises into an answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from voiceauthd import __version__
from voiceauthd.errors import TooOftenError, VoiceauthError
from voiceauthd.protocol import errors
from voiceauthd.protocol.interface import (
    ANSWER_NEEDED,
    STREAM_ONLY,
    VARLINK,
    VOICEAUTHD,
    Interface,
    MismatchError,
    load,
)
from voiceauthd.protocol.wire import Reply, Request, presentable
from voiceauthd.server.call import Call, CallError, Send, error_reply
from voiceauthd.server.event_queue import SlowSubscriberError
from voiceauthd.server.peer import Peer

log = logging.getLogger(__name__)

MAX_LOGGED_ERROR = 500
"""Maximum characters of an error in the log."""

Handler = Callable[[Call], Awaitable[None]]
"""Answers a call of `org.voiceauthd` with `call.reply`, or raises."""


class Dispatcher:
    """Answers every request exactly once, whatever the handler does.

    check_replies  check every reply against the interface; one that does not match becomes `Internal`. For tests.
    """

    def __init__(self, handler: Handler, *, check_replies: bool = False) -> None:
        self._handler = handler
        self._check_replies = check_replies
        self._interfaces = {name: load(name) for name in (VARLINK, VOICEAUTHD)}

    async def answer(self, request: Request, peer: Peer, send: Send) -> None:
        """Answer one request; returns when the final answer has been handed to `send`. Raises only
        `SlowSubscriberError`, for a client that is to be disconnected, and `CancelledError`."""
        call: Call | None = None
        try:
            call = self._make_call(request, peer, send)
            handler = self._introspect if call.method.startswith(f"{VARLINK}.") else self._handler
            await handler(call)
            if not call.answered:
                raise RuntimeError(f"{call.method} ended without an answer")  # noqa: TRY301 - one place logs it
        except SlowSubscriberError:
            raise
        except Exception as problem:  # noqa: BLE001 - a defect in a method must not end the connection's task
            reply = _reply_for(problem, request)
            if request.oneway or (call is not None and call.answered):
                method = presentable(request.method)
                log.info("%s of %s failed after its answer, or as oneway: %s", method, peer, _one_line(problem))
            else:
                await send(reply)

    def _make_call(self, request: Request, peer: Peer, send: Send) -> Call:
        interface_name, _, name = request.method.rpartition(".")
        if not interface_name:
            raise CallError(errors.METHOD_NOT_FOUND, {"method": request.method})
        interface = self._interfaces.get(interface_name)
        if interface is None:
            raise CallError(errors.INTERFACE_NOT_FOUND, {"interface": interface_name})
        if name not in interface.methods:
            raise CallError(errors.METHOD_NOT_FOUND, {"method": request.method})
        if request.upgrade:
            raise MismatchError("upgrade", "this service never changes its protocol")
        parameters = interface.check_call(name, request.parameters)
        if interface_name == VOICEAUTHD:
            if name in ANSWER_NEEDED and request.oneway:
                raise MismatchError("oneway", f"{name} is called for its answer")
            if name in STREAM_ONLY and not request.more:
                raise CallError(errors.EXPECTED_MORE)
        return Call(
            request.method,
            parameters,
            peer,
            send,
            more=request.more,
            oneway=request.oneway,
            check_replies=self._check_replies,
        )

    async def _introspect(self, call: Call) -> None:
        """Answer a call of org.varlink.service, the interface that describes the others."""
        if call.name == "GetInfo":
            await call.reply(_service_info(list(self._interfaces)))
            return
        described: Interface | None = self._interfaces.get(call.parameters["interface"])
        if described is None:
            raise CallError(errors.INTERFACE_NOT_FOUND, {"interface": call.parameters["interface"]})
        await call.reply({"description": described.text})


def _service_info(interfaces: list[str]) -> dict[str, Any]:
    return {
        "vendor": "voiceauthd",
        "product": "voiceauthd",
        "version": __version__,
        "url": "",
        "interfaces": interfaces,
    }


def _reply_for(problem: Exception, request: Request) -> Reply:
    if isinstance(problem, CallError):
        return Reply(problem.parameters, error=problem.error)
    if isinstance(problem, VoiceauthError):
        reply = error_reply(problem, request.parameters)
        if reply is not None:
            # Errors that any user can cause at any rate must not flood the log.
            level = logging.DEBUG if isinstance(problem, TooOftenError | MismatchError) else logging.INFO
            log.log(level, "%s: %s", presentable(request.method), _one_line(problem))
            return reply
    log.error("%s failed", presentable(request.method), exc_info=problem)
    return Reply({"detail": "a defect in the daemon; its log has the details"}, error=errors.INTERNAL)


def _one_line(problem: Exception) -> str:
    """Return the error as one line for the log, made safe because parts of it may come from the caller."""
    return presentable("; ".join(str(problem).splitlines()), MAX_LOGGED_ERROR)
