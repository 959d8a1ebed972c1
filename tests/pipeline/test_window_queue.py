"""`WindowQueue`: the order of its items, which windows are dropped, and which are taken together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.pipeline.events import SourceChanged, SourceState
from voiceauthd.pipeline.window_queue import Item, WindowQueue
from voiceauthd.speech.window import Quality, SpeechEnded, Window

DEADLINE = 20.0
ENDED = SourceChanged(SourceState.ENDED, "the end")


def window(number: int, length: int = 10) -> Window:
    return Window(np.zeros(length, np.float32), number, number + length, 0.0, 1, Quality(1.0, None, 0.0, -20.0), 1.0)


def end(number: int) -> SpeechEnded:
    return SpeechEnded(number, number, 0.0, 1.0)


def starts(items: list[Item]) -> list[int]:
    return [item.start for item in items if not isinstance(item, SourceChanged)]


def drain(queue: WindowQueue) -> Iterator[Item]:
    while taken := queue.take(1, 0.0):
        yield from taken


def test_items_are_taken_in_order() -> None:
    queue = WindowQueue(8)
    items: list[Item] = [window(1), end(2), window(3), window(4), ENDED]
    for item in items:
        assert queue.offer(item) == 0
    assert queue.depth == 3
    assert list(drain(queue)) == items
    assert queue.depth == 0


def test_a_full_queue_drops_the_oldest_windows_and_never_an_end() -> None:
    queue = WindowQueue(2)
    dropped = [queue.offer(item) for item in (window(1), end(1), window(2), window(3), end(3), window(4), ENDED)]
    assert dropped == [0, 0, 0, 1, 0, 1, 0]
    assert (queue.dropped, queue.depth) == (2, 2)
    assert starts(list(drain(queue))) == [1, 3, 3, 4]


def test_only_windows_of_equal_length_are_taken_together() -> None:
    queue = WindowQueue(16)
    for item in (window(1, 5), window(2), window(3), window(4), window(5, 5), end(6), window(7), window(8)):
        queue.offer(item)
    taken = [starts(queue.take(2, 0.0)) for _ in range(6)]
    assert taken == [[1], [2, 3], [4], [5], [6], [7, 8]]


@settings(deadline=None)
@given(
    items=st.lists(st.one_of(st.integers(1, 3), st.none()), max_size=30),
    capacity=st.integers(1, 5),
    most=st.integers(1, 4),
)
def test_no_item_is_lost_without_being_counted_or_taken_out_of_order(
    items: list[int | None], capacity: int, most: int
) -> None:
    queue = WindowQueue(capacity)
    offered: list[Item] = [
        end(number) if length is None else window(number, length) for number, length in enumerate(items)
    ]
    dropped = sum(queue.offer(item) for item in offered)
    assert queue.depth <= capacity
    batches = []
    while batch := queue.take(most, 0.0):
        assert len(batch) <= most
        if len(batch) > 1:
            assert len({len(item.samples) for item in batch if isinstance(item, Window)}) == 1
            assert all(isinstance(item, Window) for item in batch)
        batches += batch
    assert starts(batches) == sorted(starts(batches))
    assert [item for item in batches if isinstance(item, SpeechEnded)] == [
        item for item in offered if isinstance(item, SpeechEnded)
    ]
    windows = [item for item in offered if isinstance(item, Window)]
    kept = [item for item in batches if isinstance(item, Window)]
    assert kept == windows[len(windows) - len(kept) :], "the newest"
    assert len(windows) - len(kept) == dropped == queue.dropped
    assert queue.depth == 0


def test_put_waits_until_there_is_room() -> None:
    queue = WindowQueue(1)
    assert queue.put(window(1), 0.0)
    assert not queue.put(window(2), 0.01)
    assert queue.put(end(1), 0.0), "an end does not count towards the capacity"
    put = threading.Thread(target=queue.put, args=(window(2), DEADLINE))
    put.start()
    assert starts(queue.take(1, 0.0)) == [1]
    put.join(DEADLINE)
    assert not put.is_alive()
    assert starts(list(drain(queue))) == [1, 2]
    assert queue.dropped == 0


def test_take_waits_for_an_item() -> None:
    queue = WindowQueue(1)
    taken: list[list[Item]] = []
    taking = threading.Thread(target=lambda: taken.append(queue.take(4, DEADLINE)))
    taking.start()
    queue.offer(window(1))
    taking.join(DEADLINE)
    assert [starts(each) for each in taken] == [[1]]
    assert queue.take(4, 0.01) == []


def test_two_threads_lose_nothing() -> None:
    queue = WindowQueue(3)
    count = 500
    got: list[int] = []

    def work() -> None:
        while len(got) < count:
            got.extend(starts(queue.take(4, DEADLINE)))

    worker = threading.Thread(target=work)
    worker.start()
    for number in range(count):
        assert queue.put(window(number), DEADLINE)
        assert queue.depth <= 3
    worker.join(DEADLINE)
    assert got == list(range(count))


@pytest.mark.parametrize("waiting", ["put", "take"])
def test_close_wakes_a_waiting_thread(waiting: str) -> None:
    queue = WindowQueue(1)
    if waiting == "put":
        queue.offer(window(1))
        thread = threading.Thread(target=queue.put, args=(window(2), DEADLINE))
    else:
        thread = threading.Thread(target=queue.take, args=(1, DEADLINE))
    thread.start()
    began = time.monotonic()
    queue.close()
    thread.join(DEADLINE)
    assert time.monotonic() - began < DEADLINE / 2
    assert not thread.is_alive()


def test_items_left_at_close_can_be_taken() -> None:
    queue = WindowQueue(4)
    queue.offer(window(1))
    queue.close()
    assert starts(queue.take(4, DEADLINE)) == [1]
    assert queue.take(4, DEADLINE) == []
