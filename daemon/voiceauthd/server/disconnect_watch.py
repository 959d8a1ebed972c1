"""Detect that a client has disconnected when reading from it can no longer tell.

A client that has finished sending (`socat` at the end of its input) and a client that has disconnected look the same to
`recv`: both give no more bytes. The kernel distinguishes them: it reports EPOLLRDHUP for the first and EPOLLHUP for the
second, and it reports EPOLLHUP even to a watcher that registered for no events.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


def is_disconnected(descriptor: int) -> bool:
    """Whether both directions of a connection are closed, so that nobody can read an answer."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


class DisconnectWatch:
    """Calls back once when the client of a watched connection disconnects. For use in the event loop's thread only."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._report)

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor until it hangs up or is discarded."""
        if descriptor not in self._callbacks:
            self._epoll.register(descriptor, 0)
        self._callbacks[descriptor] = callback

    def discard(self, descriptor: int) -> None:
        """Stop watching a descriptor. Call this before it is closed: another connection may get the same number."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching all descriptors."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._callbacks.clear()
        self._epoll.close()

    def _report(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            callback = self._callbacks.get(descriptor)
            self.discard(descriptor)
            if callback is not None:
                callback()
