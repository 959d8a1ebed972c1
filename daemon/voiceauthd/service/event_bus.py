"""The event bus from the pipeline's threads to the subscribers, each of which has its own bounded inbox.

The threads never wait for a subscriber, and no subscriber waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from voiceauthd.pipeline.events import PipelineEvent
from voiceauthd.server.event_queue import EventQueue

Inbox = EventQueue[PipelineEvent]


class EventBus:
    """Delivers every event to every inbox, in the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self.limit = limit  # events that may wait in an inbox; for subscriptions from now on
        self._inboxes: set[Inbox] = set()

    def publish(self, event: PipelineEvent) -> None:
        """Deliver `event` to all subscribers; may be called from any thread. Does nothing once the loop has closed."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, event)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    @contextmanager
    def subscribe(self) -> Iterator[Inbox]:
        """Provide an inbox that receives events until the block ends."""
        inbox: Inbox = EventQueue(self.limit)
        self._inboxes.add(inbox)
        try:
            yield inbox
        finally:
            self._inboxes.discard(inbox)

    def _deliver(self, event: PipelineEvent) -> None:
        for inbox in self._inboxes:
            inbox.put(event)
