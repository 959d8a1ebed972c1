"""The client of the daemon: blocking, standard library only, imported in milliseconds.

    with Client() as client:
        print(client.call("Status")["state"])
        for reply in client.stream("Monitor"):
            print(reply["event"])

No failure turns into an answer: a reply that is late, truncated, garbled or about something else raises an error.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from voiceauthd.client.errors import NoAnswerError, failure, unreachable
from voiceauthd.client.socket_owner import require_owner, trusted_path
from voiceauthd.client.verify_result import VerifyResult, read_verify_result
from voiceauthd.errors import DeniedError, UsageError, VoiceauthError
from voiceauthd.protocol.paths import find_socket
from voiceauthd.protocol.wire import MAX_REPLY, NUL, Decoder, Reply, Request, WireError, encode_request, parse_reply

DEFAULT_VERIFY_TIMEOUT = 130.0
"""Seconds to wait for a verification without a `timeout` of its own: the daemon listens for at most 120 s."""

_RECEIVE_SIZE = 64 * 1024
"""Bytes per read."""

_CLOSING_REPLY_TIMEOUT = 0.5
"""Seconds to wait for the reason after the daemon stopped reading."""


class Client:
    """One connection to the daemon, opened by the first call. For use by one thread, with one call at a time.

    path     the socket; None: $VOICEAUTHD_SOCKET, else the user's own daemon, else the system's. A program that acts
             for another user must name it and not trust the environment
    timeout  seconds to wait for the connection, and for the reply to `call`; a `timeout` among the call's own
             parameters is added. None waits indefinitely
    owners   uids that may own the socket besides root. A socket of any other user, or in a folder that others can write
             to, raises `DeniedError`, reason `impostor`, before anything is sent. None accepts any owner

    After a failure the connection is closed, so that a late reply cannot be taken for that of another call; the next
    call opens a new connection.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = 30.0,
        owners: frozenset[int] | None = None,
    ) -> None:
        self.path = find_socket() if path is None else os.fspath(path)
        self.timeout = timeout
        self.owners = owners
        self._socket: socket.socket | None = None
        self._decoder = Decoder(MAX_REPLY, NUL)
        self._messages: list[bytes] = []
        self._in_use = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; the daemon then ends whatever it was doing for this client. Safe to call twice."""
        self._disconnect()
        self._in_use = False

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of `org.voiceauthd`, or of another interface by its full name, and return the answer.

        Raises the `VoiceauthError` that represents the daemon's error, `NotRunningError` without a daemon,
        `NoAnswerError` if the answer is late or missing, `WireError` for a malformed one.
        """
        own = parameters.get("timeout")
        limit = self.timeout
        if limit is not None and isinstance(own, int | float):
            limit += own
        for reply in self._replies(method, parameters, more=False, deadline=_deadline_in(limit)):
            return reply.parameters
        raise NoAnswerError("the daemon gave no answer")  # pragma: no cover - _replies yields or raises

    def stream(
        self, method: str, /, *, reply_timeout: float | None = None, **parameters: object
    ) -> Iterator[dict[str, Any]]:
        """Call a method with `more` and yield each reply as it arrives.

        reply_timeout  seconds to wait for each reply; None waits as long as the daemon is alive

        Leaving the iteration early closes the connection. Raises as `call` does.
        """
        for reply in self._replies(method, parameters, more=True, deadline=None, reply_timeout=reply_timeout):
            yield reply.parameters

    def verify(
        self,
        name: str,
        timeout: float | None = None,
        nonce: str | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        policy: str | None = None,
    ) -> VerifyResult:
        """Ask whether `name` is speaking. Fails closed: returns only a complete decision about this very request.

        timeout      seconds that the daemon may listen; None for its default
        nonce        the nonce that the answer must carry; None for a random one
        on_progress  called with each reply before the decision
        policy       "monitor", "unlock" or "auth": the false-accept rate to aim at; None for the default, unlock

        Raises as `call` does; also `UsageError`, reason `not_demonstrated`, if the calibration does not demonstrate
        `auth`.
        """
        nonce = os.urandom(16).hex() if nonce is None else nonce
        parameters: dict[str, Any] = {"name": name, "nonce": nonce}
        if policy is not None:
            parameters["policy"] = policy
        limit = DEFAULT_VERIFY_TIMEOUT
        if timeout is not None:
            parameters["timeout"] = timeout
            limit = timeout + (10.0 if self.timeout is None else self.timeout)
        for reply in self._replies("Verify", parameters, more=on_progress is not None, deadline=_deadline_in(limit)):
            if not reply.continues:
                self._require_nothing_more()
                return read_verify_result(reply.parameters, name, nonce, policy)
            if on_progress is not None:
                on_progress(reply.parameters)
        raise NoAnswerError("the daemon gave no decision")  # pragma: no cover - _replies ends with a final reply

    def _replies(
        self,
        method: str,
        parameters: dict[str, Any],
        *,
        more: bool,
        deadline: float | None,
        reply_timeout: float | None = None,
    ) -> Iterator[Reply]:
        """Yield the replies to one call; the last one is without `continues`. Leaving early closes the connection.

        The whole call ends at `deadline`; each wait ends after `reply_timeout` seconds.
        """
        if self._in_use:
            raise UsageError("this client already has a call in progress: make one at a time, or use another client")
        full_name = method if "." in method else f"org.voiceauthd.{method}"
        message = encode_request(Request(full_name, parameters, more=more))
        self._in_use = True
        complete = False
        try:
            self._send(message, _earlier(deadline, _deadline_in(reply_timeout)))
            while not complete:
                reply = parse_reply(self._receive(_earlier(deadline, _deadline_in(reply_timeout))))
                complete = not reply.continues
                if reply.error is not None:
                    raise failure(reply.error, reply.parameters)
                if reply.continues and not more:
                    raise WireError("the daemon streams an answer to a call without 'more'")
                if complete:
                    self._in_use = False
                yield reply
        finally:
            # An unexpected or unread answer must not be taken for that of the next call.
            if not complete or self._messages:
                self._disconnect()
            self._in_use = False

    def _send(self, message: bytes, deadline: float | None) -> None:
        connection = self._connect(deadline)
        connection.settimeout(_time_left(deadline))
        try:
            connection.sendall(message)
        except TimeoutError:
            raise _timed_out() from None
        except OSError:
            self._explain_closed(connection)

    def _explain_closed(self, connection: socket.socket) -> None:
        """Raise the error that the daemon sent before it closed the connection, or `NoAnswerError` if it sent none."""
        try:
            reply = parse_reply(self._receive(time.monotonic() + _CLOSING_REPLY_TIMEOUT))
        except VoiceauthError:
            reply = Reply({})
        connection.close()
        if reply.error is not None:
            raise failure(reply.error, reply.parameters)
        raise NoAnswerError("the daemon closed the connection before it read the call")

    def _connect(self, deadline: float | None) -> socket.socket:
        if self._socket is not None and _is_idle(self._socket):
            return self._socket
        self._disconnect()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_time_left(_earlier(deadline, _deadline_in(self.timeout))))
            if self.owners is None:
                connection.connect(self.path)
            else:
                connection.connect(trusted_path(self.path, self.owners))
                if require_owner(connection, self.owners) is not True:
                    raise DeniedError("the owner of the socket is unknown", "impostor")
        except OSError as problem:
            connection.close()
            raise unreachable(self.path, problem) from None
        except VoiceauthError:
            connection.close()
            raise
        self._decoder = Decoder(MAX_REPLY, NUL)
        self._messages = []
        self._socket = connection
        return connection

    def _require_nothing_more(self) -> None:
        """Raise `WireError` if anything follows the one decision that was requested."""
        assert self._socket is not None
        self._socket.settimeout(0)
        try:
            more = self._socket.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing has arrived, or the connection is closed
            more = b""
        if more or self._messages or self._decoder.has_partial_message:
            raise WireError("the daemon answered more than once")

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _receive(self, deadline: float | None) -> bytes:
        """Return the next complete message."""
        assert self._socket is not None
        while not self._messages:
            self._socket.settimeout(_time_left(deadline))
            try:
                data = self._socket.recv(_RECEIVE_SIZE)
            except TimeoutError:
                raise _timed_out() from None
            except OSError as problem:
                raise NoAnswerError(f"the connection to the daemon failed: {problem.strerror or problem}") from None
            if not data:
                raise NoAnswerError("the daemon closed the connection before it answered")
            self._messages = self._decoder.feed(data)
            if self._decoder.overflowed:
                raise WireError(f"the daemon sent a message of more than {MAX_REPLY} bytes")
        return self._messages.pop(0)


def _earlier(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


def _is_idle(connection: socket.socket) -> bool:
    """Whether a connection between two calls is open, with nothing unexpected to read."""
    connection.settimeout(0)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _deadline_in(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _time_left(deadline: float | None) -> float | None:
    """Return the seconds until `deadline`. Raises `NoAnswerError` if it has passed."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if not seconds > 0:
        raise _timed_out()
    return seconds


def _timed_out() -> NoAnswerError:
    return NoAnswerError("the daemon did not answer in time; run `voiceauth doctor` to find out why", "timeout")
