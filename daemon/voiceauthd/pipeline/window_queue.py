"""`WindowQueue`, the bounded queue between the capture thread and the worker thread."""

from __future__ import annotations

import threading
from collections import deque

from voiceauthd.pipeline.events import SourceChanged
from voiceauthd.speech.window import SpeechEnded, Window

Item = Window | SpeechEnded | SourceChanged
"""What is queued: windows, and behind them the ends of utterances and the end of the source."""


class WindowQueue:
    """Holds at most `capacity` windows. Other items keep their place between the windows, and are not counted.

    dropped  number of windows dropped so far
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._windows = 0
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    @property
    def depth(self) -> int:
        """Number of waiting windows."""
        return self._windows

    def offer(self, item: Item) -> int:
        """Append an item without waiting, dropping the oldest windows if the queue is full. Returns how many."""
        with self._changed:
            dropped = 0
            if isinstance(item, Window):
                while self._windows >= self._capacity:
                    oldest = next(waiting for waiting in self._items if isinstance(waiting, Window))
                    self._items.remove(oldest)
                    self._windows -= 1
                    dropped += 1
                self._windows += 1
            self._items.append(item)
            self.dropped += dropped
            self._changed.notify_all()
            return dropped

    def put(self, item: Item, timeout: float) -> bool:
        """Append an item when there is room. Returns False if there was none within `timeout` seconds."""
        with self._changed:
            if isinstance(item, Window):
                if not self._changed.wait_for(lambda: self._closed or self._windows < self._capacity, timeout):
                    return False
                self._windows += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, most: int, timeout: float) -> list[Item]:
        """Return the next item and, if it is a window, the windows of equal length right behind it, at most `most`.

        Empty if nothing arrived within `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout)
            taken: list[Item] = []
            while self._items and len(taken) < most:
                following = self._items[0]
                if taken and not (
                    isinstance(following, Window)
                    and isinstance(taken[0], Window)
                    and len(following.samples) == len(taken[0].samples)
                ):
                    break
                taken.append(self._items.popleft())
                self._windows -= isinstance(following, Window)
            if taken:
                self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Wake all waiting threads. Items that are still in the queue can be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
