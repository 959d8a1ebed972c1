"""The queue of a subscriber: what it drops, what it reports, and when it gives up."""

from __future__ import annotations

import asyncio

import pytest
from server_parts import DEADLINE

from voiceauthd.server.event_queue import MAX_DROPPED, EventQueue, SlowSubscriberError


class TestEventQueue:
    def test_the_oldest_events_are_dropped_and_counted(self):
        async def scenario():
            queue = EventQueue(3)
            for number in range(5):
                queue.put(number)
            queue.close()
            return [await queue.get() for _ in range(4)], queue.dropped

        assert asyncio.run(scenario()) == ([(2, 2), (0, 3), (0, 4), None], 2)

    def test_a_subscriber_that_catches_up_may_fall_behind_again(self):
        async def scenario():
            queue = EventQueue(1)
            for _ in range(3):
                for number in range(MAX_DROPPED):
                    queue.put(number)
                await queue.get()
                waiting = asyncio.ensure_future(queue.get())
                await asyncio.sleep(0)
                queue.put(0)
                await waiting
            return queue.dropped

        assert asyncio.run(scenario()) == 3 * (MAX_DROPPED - 1)

    def test_a_subscriber_that_never_catches_up_is_disconnected(self):
        async def scenario():
            queue = EventQueue(1)
            for number in range(MAX_DROPPED + 2):
                queue.put(number)
            await queue.get()

        with pytest.raises(SlowSubscriberError):
            asyncio.run(scenario())

    def test_an_event_wakes_the_waiting_subscriber(self):
        async def scenario():
            queue = EventQueue(1)
            waiting = asyncio.ensure_future(queue.get())
            await asyncio.sleep(0)
            queue.put("x")
            return await asyncio.wait_for(waiting, DEADLINE)

        assert asyncio.run(scenario()) == (0, "x")
