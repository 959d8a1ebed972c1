"""The socket server: who may connect, how many, and how it all ends."""

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
from voiceauthd.protocol.errors import TOO_MANY_CONNECTIONS
from voiceauthd.protocol.wire import EITHER, Reply, encode_reply
from voiceauthd.server.connection import Connection
from voiceauthd.server.disconnect_watch import DisconnectWatch
from voiceauthd.server.dispatch import Dispatcher, Handler
from voiceauthd.server.listener import Listener
from voiceauthd.server.peer import Peer, peer_uid, read_peer

log = logging.getLogger(__name__)

MAX_LINGERING = 64
"""Clients that are turned away with a reason at one time; beyond that they are just closed."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_ROOM_PAUSE = 0.2
"""Seconds without accepting when the process has no descriptor left."""


class Server:
    """Serves `org.voiceauthd` and `org.varlink.service` to the clients of one listening socket.

    handler        answers a call, or raises: `CallError`, a `VoiceauthError`; anything else becomes `Internal`.
                   Cancelled when its client disconnects and when the server stops.
    check_replies  hold every reply against the interface; for tests
    privileged     users whom the limit of all connections does not keep out; None: root and this process's own
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
        self._turned_away = 0
        self._users: Counter[int] = Counter()
        self._welcomes: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._watch: DisconnectWatch | None = None
        # Names of users may come over the network; a slow answer must delay new connections only.
        self._names = ThreadPoolExecutor(2, "peer-name")

    @property
    def connections(self) -> int:
        """Clients that are served now."""
        return self._users.total()

    def configure(self, config: SocketConfig) -> None:
        """New limits, for the connections that come from now on."""
        self._config = config

    async def start(self, listener: Listener) -> None:
        """Serves from now on. The listener is the server's, and is closed by `stop`."""
        self._listener = listener
        self._watch = DisconnectWatch()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener.socket))

    async def stop(self, deadline: float) -> None:
        """Removes the socket, cancels every call, tells its client so, and closes all. Takes `deadline` seconds at
        most; what has not ended then is abandoned."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._listener is not None:
            self._listener.close()
        for welcome in self._welcomes:
            welcome.cancel()
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
            await asyncio.sleep(0)  # lets the aborted connections leave the watch
            self._watch.close()
        self._names.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as problem:
                if problem.errno in _NO_ROOM:
                    log.warning("no room for a connection: %s", os.strerror(problem.errno))
                    await asyncio.sleep(_NO_ROOM_PAUSE)
                else:  # the client gave up while it waited
                    log.info("a connection failed before it began: %s", problem)
                    await asyncio.sleep(0)
                continue
            self._admit(connection)
            await asyncio.sleep(0)  # while connections wait, accepting never waits: the others' turn

    def _admit(self, connection: socket.socket) -> None:
        try:
            uid = peer_uid(connection)
        except OSError as problem:
            log.warning("a connection without credentials is closed: %s", problem)
            connection.close()
            return
        limit = self._exceeded(uid)
        if limit is None:
            self._users[uid] += 1
        elif self._turned_away < MAX_LINGERING:
            self._turned_away += 1
        else:
            _close_with(connection, _too_many(limit))
            return
        welcome = asyncio.get_running_loop().create_task(self._welcome(connection, uid, limit))
        self._welcomes.add(welcome)
        welcome.add_done_callback(self._welcomes.discard)

    def _exceeded(self, uid: int) -> int | None:
        """The limit that one more connection of this user would break, if any."""
        if self._users[uid] >= self._config.connections_per_user:
            return self._config.connections_per_user
        # All others together cannot keep out those who run PAM for everybody, nor the daemon's own user.
        if uid not in self._privileged and self._users.total() >= self._config.connections:
            return self._config.connections
        return None

    async def _welcome(self, accepted: socket.socket, uid: int, exceeded: int | None) -> None:
        """Makes the connection; with `exceeded`, one that is told so and closed."""
        loop = asyncio.get_running_loop()

        def ended(connection: Connection) -> None:
            self._connections.discard(connection)
            self._release(uid, exceeded)
            log.debug("end of the connection of %s", connection.peer)

        try:
            peer = await loop.run_in_executor(self._names, read_peer, accepted)
            if exceeded is None:
                log.debug("connection of %s", peer)  # as many as anybody likes
            else:
                log.debug("%s is turned away: %d connections are the limit", peer, exceeded)
            connection = self._make(peer, ended, None if exceeded is None else _too_many(exceeded))
        except BaseException as problem:
            accepted.close()
            self._release(uid, exceeded)
            if not isinstance(problem, OSError):
                raise
            log.debug("a connection of uid %d failed before it began: %s", uid, problem)
            return
        self._connections.add(connection)
        # From here on the connection owns the socket, and its end releases the place.
        await loop.connect_accepted_socket(lambda: connection, accepted)

    def _make(self, peer: Peer, ended: Callable[[Connection], None], refusal: Reply | None) -> Connection:
        assert self._watch is not None
        in_flight = self._config.requests_in_flight
        return Connection(
            peer, self._dispatcher.answer, self._watch, in_flight=in_flight, on_end=ended, refusal=refusal
        )

    def _release(self, uid: int, exceeded: int | None) -> None:
        if exceeded is not None:
            self._turned_away -= 1
            return
        self._users[uid] -= 1
        if self._users[uid] <= 0:
            del self._users[uid]


def _too_many(limit: int) -> Reply:
    return Reply({"limit": limit}, error=TOO_MANY_CONNECTIONS)


def _close_with(connection: socket.socket, reply: Reply) -> None:
    """Says why, if the kernel takes it at once."""
    connection.setblocking(False)
    try:
        connection.send(encode_reply(reply, EITHER))
    except OSError:
        pass
    connection.close()
