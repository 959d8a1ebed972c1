"""A client for tests: one connection, no thread, and every reply is checked against the interface."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from voiceauthd.protocol.interface import VARLINK, VOICEAUTHD, load
from voiceauthd.protocol.wire import MAX_REPLY, NUL, Decoder, Reply, Request, encode_request, parse_reply


class RefusedError(Exception):
    """A call was answered with an error. `error`: its short name; `parameters`: those of the error."""

    def __init__(self, error: str, parameters: dict[str, Any]) -> None:
        super().__init__(f"{error} {parameters}")
        self.error = error
        self.parameters = parameters


class HungUpError(Exception):
    """The daemon closed the connection."""


class Caller:
    """One connection, with one call at a time. Fails the test if a reply takes more than `timeout` seconds."""

    def __init__(self, path: Path | str, timeout: float) -> None:
        self._timeout = timeout
        self._decoder = Decoder(MAX_REPLY, NUL)
        self._arrived: list[bytes] = []
        self._method = ""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(os.fspath(path))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, even during a call."""
        self.socket.close()

    def send(self, method: str, *, more: bool = True, **parameters: object) -> None:
        """Send a call without waiting for the reply."""
        self._method = method
        self.socket.sendall(encode_request(Request(f"{VOICEAUTHD}.{method}", dict(parameters), more=more)))

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call without `more`, and return the only answer. Raises `RefusedError`."""
        self.send(method, more=False, **parameters)
        reply = self.reply()
        assert not reply.continues
        return reply.parameters

    def reply(self, seconds: float | None = None) -> Reply:
        """Return the next reply, with None for omitted fields. Raises `RefusedError` and `HungUpError`."""
        reply = parse_reply(self._message(self._timeout if seconds is None else seconds))
        if reply.error is None:
            return reply._replace(parameters=load().check_reply(self._method, reply.parameters))
        interface, _, error = reply.error.rpartition(".")
        assert interface in (VARLINK, VOICEAUTHD)
        raise RefusedError(error, load(interface).check_error(error, reply.parameters))

    def until(self, *states: str) -> dict[str, Any]:
        """Return the next reply whose `state` is one of these; earlier ones are skipped."""
        while True:
            reply = self.reply()
            if reply.parameters["state"] in states:
                return reply.parameters
            assert reply.continues, f"the call ended with {reply.parameters}"

    def rest(self) -> list[dict[str, Any]]:
        """Return all replies to the end of the call."""
        replies = [self.reply()]
        while replies[-1].continues:
            replies.append(self.reply())
        return [reply.parameters for reply in replies]

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the events of a monitor up to the first of one of these kinds, or to the end of the stream."""
        found = []
        while True:
            reply = self.reply()
            found.append(reply.parameters["event"])
            if found[-1]["kind"] in kinds or not reply.continues:
                return found

    def silent(self, seconds: float) -> bool:
        """Return whether no reply arrives within `seconds`."""
        try:
            message = self._message(seconds)
        except AssertionError:
            return True
        self._arrived.insert(0, message)
        return False

    def _message(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while not self._arrived:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise AssertionError(f"no reply to {self._method} within {seconds:.1f} s") from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise HungUpError(f"the daemon hung up during {self._method}")
            self._arrived = self._decoder.feed(data)
        return self._arrived.pop(0)


def states(replies: Collection[dict[str, Any]]) -> list[str]:
    """Return the states of the replies, without repetitions."""
    found: list[str] = []
    for reply in replies:
        if not found or found[-1] != reply["state"]:
            found.append(reply["state"])
    return found
