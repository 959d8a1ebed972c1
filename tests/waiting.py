"""Waiting in tests for something that another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 15.0
"""Seconds after which an event has failed to happen, on a machine that is busy with other work."""

POLL_INTERVAL = 0.02
"""Seconds between two probes."""


def wait_until(what: str, probe: Callable[[], T | None], seconds: float = DEADLINE) -> T:
    """Return the first true value of `probe`. Fails the test, naming `what`, if there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(POLL_INTERVAL)
