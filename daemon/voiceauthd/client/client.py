"""A client of the daemon: blocking, of the standard library, imported in milliseconds.

    with Client() as client:
        print(client.call("Status")["state"])
        for reply in client.stream("Monitor"):
            print(reply["event"])

Nothing here turns a failure into an answer: a reply that is late, torn, garbled or about something else raises.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from voiceauthd.client.errors import NoAnswerError, failure, unreachable
from voiceauthd.client.socket_owner import require_owner, trusted_path
from voiceauthd.client.verify_result import Verified, read_verified
from voiceauthd.errors import DeniedError, UsageError, VoiceauthError
from voiceauthd.protocol.paths import find_socket
from voiceauthd.protocol.wire import MAX_REPLY, NUL, Decoder, Reply, Request, WireError, encode_request, parse_reply

VERIFY_LIMIT = 130.0
"""Seconds after which a verification without a `timeout` of its own is given up: the daemon's is 120 s at most."""

_RECEIVE = 64 * 1024
"""Bytes asked of the kernel at a time."""

_LAST_WORDS = 0.5
"""Seconds in which a daemon that took no more input may have said why."""


class Client:
    """One connection to the daemon, made at the first call. For one thread, and one call at a time.

    path     the socket; None: $VOICEAUTHD_SOCKET, the user's own daemon, the system's. A program that acts for
             another user must name it, and not trust the environment
    timeout  seconds to wait for the connection, and for each reply to `call`; a `timeout` among the call's own
             parameters is added. None waits for ever
    owners   uids that the socket may belong to, besides root's: anybody else's, and one in a folder that others may
             write to, raises `DeniedError`, reason `impostor`, before anything is sent. None: whoever's it is

    After any failure the connection is closed, so that no late reply can be taken for another call's; the next call
    makes a new one.
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
        self._arrived: list[bytes] = []
        self._in_use = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnects: the daemon ends what it was doing for this client. Safe to call twice."""
        self._disconnect()
        self._in_use = False

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The answer to a call of `org.voiceauthd`, or of another interface by its full name.

        Raises the `VoiceauthError` that the daemon's error stands for, `NotRunningError` without a daemon,
        `NoAnswerError` when the answer is late or does not come, `WireError` for one that makes no sense.
        """
        own = parameters.get("timeout")
        limit = self.timeout
        if limit is not None and isinstance(own, int | float):
            limit += own
        for reply in self._replies(method, parameters, more=False, deadline=_after(limit)):
            return reply.parameters
        raise NoAnswerError("the daemon gave no answer")  # pragma: no cover - _replies yields or raises

    def stream(
        self, method: str, /, *, patience: float | None = None, **parameters: object
    ) -> Iterator[dict[str, Any]]:
        """Each reply to a call, as it comes.

        patience  seconds to wait for the first reply, and for each after it; None waits as long as the daemon lives

        The connection is closed if the iteration is left early. Raises as `call` does.
        """
        for reply in self._replies(method, parameters, more=True, deadline=None, patience=patience):
            yield reply.parameters

    def verify(
        self,
        name: str,
        timeout: float | None = None,
        nonce: str | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        policy: str | None = None,
    ) -> Verified:
        """Whether `name` is who speaks. Fail closed: returns only a whole decision about this very request.

        timeout      seconds that the daemon may listen; None for its own default
        nonce        what the answer must carry; None for a random one
        on_progress  called with each reply before the decision
        policy       "monitor", "unlock" or "auth": the false-accept rate to aim at; None for the daemon's own, unlock

        Raises as `call` does; `UsageError`, reason `not_demonstrated`, for `auth` that nothing bears out.
        """
        nonce = os.urandom(16).hex() if nonce is None else nonce
        parameters: dict[str, Any] = {"name": name, "nonce": nonce}
        if policy is not None:
            parameters["policy"] = policy
        limit = VERIFY_LIMIT
        if timeout is not None:
            parameters["timeout"] = timeout
            limit = timeout + (10.0 if self.timeout is None else self.timeout)
        for reply in self._replies("Verify", parameters, more=on_progress is not None, deadline=_after(limit)):
            if not reply.continues:
                self._require_end()
                return read_verified(reply.parameters, name, nonce, policy)
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
        patience: float | None = None,
    ) -> Iterator[Reply]:
        """The replies to one call, the last one without `continues`. Leaving early closes the connection.

        All of it ends at `deadline`; each wait after `patience` seconds.
        """
        if self._in_use:
            raise UsageError("this client has a call under way: one at a time, or a client each")
        full_name = method if "." in method else f"org.voiceauthd.{method}"
        message = encode_request(Request(full_name, parameters, more=more))
        self._in_use = True
        whole = False
        try:
            self._send(message, _sooner(deadline, _after(patience)))
            while not whole:
                reply = parse_reply(self._receive(_sooner(deadline, _after(patience))))
                whole = not reply.continues
                if reply.error is not None:
                    raise failure(reply.error, reply.parameters)
                if reply.continues and not more:
                    raise WireError("the daemon streams an answer that was not asked for as a stream")
                if whole:
                    self._in_use = False
                yield reply
        finally:
            # An answer that nobody waited for must not become the next call's.
            if not whole or self._arrived:
                self._disconnect()
            self._in_use = False

    def _send(self, message: bytes, deadline: float | None) -> None:
        connection = self._connect(deadline)
        connection.settimeout(_left(deadline))
        try:
            connection.sendall(message)
        except TimeoutError:
            raise _late() from None
        except OSError:
            self._explain_closed(connection)

    def _explain_closed(self, connection: socket.socket) -> None:
        """A daemon that turns a client away closes; what it said before that is why. Raises, whatever it finds."""
        try:
            reply = parse_reply(self._receive(time.monotonic() + _LAST_WORDS))
        except VoiceauthError:
            reply = Reply({})
        connection.close()
        if reply.error is not None:
            raise failure(reply.error, reply.parameters)
        raise NoAnswerError("the daemon closed the connection before it took the call")

    def _connect(self, deadline: float | None) -> socket.socket:
        if self._socket is not None and _is_quiet(self._socket):
            return self._socket
        self._disconnect()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(_sooner(deadline, _after(self.timeout))))
            if self.owners is None:
                connection.connect(self.path)
            else:
                connection.connect(trusted_path(self.path, self.owners))
                if require_owner(connection, self.owners) is not True:
                    raise DeniedError("nothing says whose socket this is", "impostor")
        except OSError as problem:
            connection.close()
            raise unreachable(self.path, problem) from None
        except VoiceauthError:
            connection.close()
            raise
        self._decoder = Decoder(MAX_REPLY, NUL)
        self._arrived = []
        self._socket = connection
        return connection

    def _require_end(self) -> None:
        """Raises `WireError` if more has come than the one decision that was asked for."""
        assert self._socket is not None
        self._socket.settimeout(0)
        try:
            more = self._socket.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing has come, or nothing will
            more = b""
        if more or self._arrived or self._decoder.holds_part:
            raise WireError("the daemon answered more than once")

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _receive(self, deadline: float | None) -> bytes:
        """The next message, whole."""
        assert self._socket is not None
        while not self._arrived:
            self._socket.settimeout(_left(deadline))
            try:
                data = self._socket.recv(_RECEIVE)
            except TimeoutError:
                raise _late() from None
            except OSError as problem:
                raise NoAnswerError(f"the connection to the daemon broke: {problem.strerror or problem}") from None
            if not data:
                raise NoAnswerError("the daemon closed the connection before it answered")
            self._arrived = self._decoder.feed(data)
            if self._decoder.overflowed:
                raise WireError(f"the daemon sent more than {MAX_REPLY} bytes without an end")
        return self._arrived.pop(0)


def _sooner(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


def _is_quiet(connection: socket.socket) -> bool:
    """Whether a connection between two calls is as it should be: open, and nothing has come that nobody asked for."""
    connection.settimeout(0)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _after(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _left(deadline: float | None) -> float | None:
    """Seconds until `deadline`. Raises `NoAnswerError` when there are none."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if not left > 0:
        raise _late()
    return left


def _late() -> NoAnswerError:
    return NoAnswerError("the daemon did not answer in time; `voiceauth doctor` looks why", "timeout")
