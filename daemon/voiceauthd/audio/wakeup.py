"""How one thread wakes another that waits for sound, without a lock."""

from __future__ import annotations

import os
import select
import time


class Wakeup:
    """A pipe to oneself: `set` never blocks and may be called from any thread, an audio callback included.

    The descriptors live as long as anything refers to this object, so a late callback never writes into a descriptor
    that somebody else has got meanwhile.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def set(self) -> None:
        """Ends a `wait`, this one or the next."""
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # full of earlier calls, which wake just as well

    def clear(self) -> None:
        """Forgets all calls of `set` so far."""
        try:
            while len(os.read(self._reader, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def wait(self, timeout: float, also: int | None = None) -> bool:
        """Waits `timeout` seconds at most for `set`, or for the descriptor `also` to have something to read.

        Returns whether `also` is readable (or at its end, or broken: a read will tell).
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        ready = poll.poll(max(0.0, timeout) * 1000.0)
        return any(descriptor == also for descriptor, _ in ready)

    def sleep_until(self, due: float) -> bool:
        """Sleeps until `due` on `time.monotonic()`'s clock. Returns False if `set` came before."""
        while (remaining := due - time.monotonic()) > 0.0:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            if poll.poll(remaining * 1000.0):
                return False
        return True
