"""The bounded queue between the publisher of events and one subscriber, which may be slow."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from voiceauthd.errors import VoiceauthError

Item = TypeVar("Item")

MAX_DROPPED = 1024
"""Events that a subscriber may lose without catching up before it is disconnected. At a few events per second this
means minutes without reading: the subscriber is stuck."""


class SlowSubscriberError(VoiceauthError):
    """A subscriber that kept losing events."""

    reason = "too_slow"


class EventQueue(Generic[Item]):
    """Holds at most `limit` events; when it is full, each new event replaces the oldest, which is counted as dropped.

    For use in the event loop's thread only; a publisher in another thread uses `loop.call_soon_threadsafe`.
    """

    def __init__(self, limit: int) -> None:
        self._waiting: deque[Item] = deque()
        self._limit = limit
        self._dropped = 0
        self._behind = 0
        self._closed = False
        self._changed = asyncio.Event()
        self.dropped = 0
        """Events dropped since the queue was created."""

    def put(self, event: Item) -> None:
        """Add an event. Never waits and never fails; events after `close` are ignored."""
        if self._closed:
            return
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._dropped += 1
            self._behind += 1
            self.dropped += 1
        self._waiting.append(event)
        self._changed.set()

    def close(self) -> None:
        """End the stream; the events in the queue are still delivered."""
        self._closed = True
        self._changed.set()

    async def get(self) -> tuple[int, Item] | None:
        """Return the number of events dropped before the oldest one, and that event; None at the end of the stream.

        Raises `SlowSubscriberError` once more than `MAX_DROPPED` events were dropped since the queue was last empty.
        """
        while not self._waiting:
            self._behind = 0
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        if self._behind > MAX_DROPPED:
            raise SlowSubscriberError(f"disconnected: {self._behind} events were dropped because they were not read")
        dropped, self._dropped = self._dropped, 0
        return dropped, self._waiting.popleft()
