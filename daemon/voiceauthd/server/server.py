"""The socket server: accepts connections within the limits, and shuts them down."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from voiceauthd.config.schema import SocketConfig
from voiceauthd.protocol.credentials import credentials_of
from voiceauthd.protocol.errors import TOO_MANY_CONNECTIONS
from voiceauthd.protocol.wire import BOTH_DELIMITERS, Reply, encode_reply
from voiceauthd.server.connection import Connection
from voiceauthd.server.disconnect_watch import DisconnectWatch
from voiceauthd.server.dispatch import Dispatcher, Handler
from voiceauthd.server.listener import Listener
from voiceauthd.server.peer import Peer, read_peer

log = logging.getLogger(__name__)

MAX_REJECTING = 64
"""Connections over the limits that are rejected in good order at once; more are answered without waiting and closed."""

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_OUT_OF_RESOURCES_PAUSE = 0.2
"""Seconds to pause accepting when the process has no descriptor left."""


class Server:
    """Serves `org.voiceauthd` and `org.varlink.service` to the clients of one listening socket.

    handler        answers a call, or raises `CallError` or a `VoiceauthError`; anything else becomes `Internal`.
                   Cancelled when its client disconnects and when the server stops
    check_replies  check every reply against the interface; for tests
    privileged     uids that the limit of all connections does not apply to; None: root and this process's own
    """

    def __init__(
        self,
        config: SocketConfig,
        handler: Handler,
        *,
        check_replies: bool = False,
        privileged: frozenset[int] | None = None,
    ) -> None:
        self._config = config
        self._privileged = frozenset({0, os.geteuid()}) if privileged is None else privileged
        self._dispatcher = Dispatcher(handler, check_replies=check_replies)
        self._connections: set[Connection] = set()
        self._rejecting = 0
        self._users: Counter[int] = Counter()
        self._starting: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._watch: DisconnectWatch | None = None
        # User names may come from a network service; a slow answer must delay new connections only.
        self._name_lookups = ThreadPoolExecutor(2, "peer-name")

    @property
    def connections(self) -> int:
        """The number of clients currently served."""
        return self._users.total()

    @property
    def address(self) -> str:
        """The path of the socket; empty before `start`."""
        return "" if self._listener is None else str(self._listener.socket.getsockname())

    def configure(self, config: SocketConfig) -> None:
        """Set new limits, for connections accepted from now on."""
        self._config = config

    async def start(self, listener: Listener) -> None:
        """Start serving. Takes ownership of the listener; `stop` closes it."""
        self._listener = listener
        self._watch = DisconnectWatch()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener.socket))

    async def stop(self, deadline: float) -> None:
        """Remove the socket, cancel every call with an answer, and close all connections. Takes at most `deadline`
        seconds; whatever has not ended by then is abandoned."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._listener is not None:
            self._listener.close()
        for task in self._starting:
            task.cancel()
        for connection in self._connections:
            connection.stop()
        ends = [connection.ended for connection in self._connections]
        if ends:
            _, unfinished = await asyncio.wait(ends, timeout=deadline)
            if unfinished:
                log.warning("%d connections did not end within %.1f s", len(unfinished), deadline)
        for connection in self._connections:
            connection.abort()
        if self._watch is not None:
            await asyncio.sleep(0)  # let the aborted connections leave the watch
            self._watch.close()
        self._name_lookups.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as problem:
                if problem.errno in _OUT_OF_RESOURCES:
                    log.warning("cannot accept a connection: %s", os.strerror(problem.errno))
                    await asyncio.sleep(_OUT_OF_RESOURCES_PAUSE)
                else:  # the client gave up while it waited
                    log.info("a connection failed before it was accepted: %s", problem)
                    await asyncio.sleep(0)
                continue
            self._admit(connection)
            await asyncio.sleep(0)  # sock_accept does not wait while connections are pending; let other tasks run

    def _admit(self, connection: socket.socket) -> None:
        try:
            uid = credentials_of(connection).uid
        except OSError as problem:
            log.warning("closing a connection without credentials: %s", problem)
            connection.close()
            return
        limit = self._exceeded(uid)
        if limit is None:
            self._users[uid] += 1
        elif self._rejecting < MAX_REJECTING:
            self._rejecting += 1
        else:
            _close_with(connection, _too_many(limit))
            return
        task = asyncio.get_running_loop().create_task(self._start_connection(connection, uid, limit))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    def _exceeded(self, uid: int) -> int | None:
        """Return the limit that one more connection of this user would exceed; None if there is none."""
        if self._users[uid] >= self._config.connections_per_user:
            return self._config.connections_per_user
        # Other users together must not keep out root, which runs PAM for everybody, nor the daemon's own user.
        if uid not in self._privileged and self._users.total() >= self._config.connections:
            return self._config.connections
        return None

    async def _start_connection(self, accepted: socket.socket, uid: int, exceeded: int | None) -> None:
        """Create the connection; with `exceeded`, one that is rejected with that limit."""
        loop = asyncio.get_running_loop()

        def ended(connection: Connection) -> None:
            self._connections.discard(connection)
            self._release(uid, exceeded)
            log.debug("end of the connection of %s", connection.peer)

        try:
            peer = await loop.run_in_executor(self._name_lookups, read_peer, accepted)
            if exceeded is None:
                log.debug("connection of %s", peer)  # debug: any user can cause any number of these lines
            else:
                log.debug("rejecting %s: over the limit of %d connections", peer, exceeded)
            connection = self._make(peer, ended, None if exceeded is None else _too_many(exceeded))
        except BaseException as problem:
            accepted.close()
            self._release(uid, exceeded)
            if not isinstance(problem, OSError):
                raise
            log.debug("a connection of uid %d failed before it was served: %s", uid, problem)
            return
        self._connections.add(connection)
        # From here on the connection owns the socket, and `ended` releases its place.
        await loop.connect_accepted_socket(lambda: connection, accepted)

    def _make(self, peer: Peer, ended: Callable[[Connection], None], refusal: Reply | None) -> Connection:
        assert self._watch is not None
        in_flight = self._config.requests_in_flight
        return Connection(
            peer, self._dispatcher.answer, self._watch, in_flight=in_flight, on_end=ended, refusal=refusal
        )

    def _release(self, uid: int, exceeded: int | None) -> None:
        if exceeded is not None:
            self._rejecting -= 1
            return
        self._users[uid] -= 1
        if self._users[uid] <= 0:
            del self._users[uid]


def _too_many(limit: int) -> Reply:
    return Reply({"limit": limit}, error=TOO_MANY_CONNECTIONS)


def _close_with(connection: socket.socket, reply: Reply) -> None:
    """Close a connection, after sending the reason if that is possible without waiting."""
    connection.setblocking(False)
    try:
        connection.send(encode_reply(reply, BOTH_DELIMITERS))
    except OSError:
        pass
    connection.close()
