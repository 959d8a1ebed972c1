"""`Wakeup`, with which one thread wakes another that waits for audio, without a lock."""

from __future__ import annotations

import os
import select
import time


class Wakeup:
    """A pipe within the process: `set` never blocks and may be called from any thread, even from an audio callback.

    The descriptors stay open as long as anything refers to this object, so a late callback never writes to a descriptor
    that has been reused for something else.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def set(self) -> None:
        """End the current `wait`, or the next one."""
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # the pipe is full of earlier calls, which wake the reader just as well

    def clear(self) -> None:
        """Forget all calls of `set` so far."""
        try:
            while len(os.read(self._reader, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def wait(self, timeout: float, also: int | None = None) -> bool:
        """Wait at most `timeout` seconds for `set`, or for the descriptor `also` to become readable.

        Returns whether `also` is readable (or at its end, or broken: reading it will show).
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        ready = poll.poll(max(0.0, timeout) * 1000.0)
        return any(descriptor == also for descriptor, _ in ready)

    def sleep_until(self, due: float) -> bool:
        """Sleep until `due` on the clock of `time.monotonic()`. Returns False if `set` was called before."""
        while (remaining := due - time.monotonic()) > 0.0:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            if poll.poll(remaining * 1000.0):
                return False
        return True
