"""A client that monitors a daemon from a thread, and keeps its events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from voiceauthd.client import Client
from voiceauthd.errors import NotRunningError

START_LIMIT = 10.0
"""Seconds for the daemon to start the event stream."""

Event = Mapping[str, Any]


class MonitorClient:
    """Receives events from the start of the `with` block until the connection ends.

    arrived  every event with its arrival time, in seconds on `time.monotonic()`'s clock
    """

    def __init__(self, socket: str, on_event: Callable[[Event], None] | None = None) -> None:
        """on_event: called with each event, in the receiving thread."""
        self.arrived: list[tuple[float, Event]] = []
        self._socket = socket
        self._on_event = on_event
        self._changed = threading.Condition()
        self._problem: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def __enter__(self) -> MonitorClient:
        self._thread.start()
        self._wait_for(lambda event: event["kind"] == "started", START_LIMIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do: the thread ends with the connection, which ends with the daemon."""

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        return [event for _, event in self.arrived]

    def check(self) -> None:
        """Raise the error that ended the stream, if there was one."""
        if self._problem is not None:
            raise self._problem

    def wait_for_source(self, *states: str, limit: float) -> Event:
        """Wait until the source is in one of `states`, such as "open" or "lost". Return the event that reports it."""
        return self._wait_for(
            lambda event: event["kind"] == "source" and str(event["detail"]).partition(":")[0] in states, limit
        )

    def _wait_for(self, wanted: Callable[[Event], bool], limit: float) -> Event:
        """Wait for the first event that is `wanted`.

        Raises the error that ended the stream before it came, or `NotRunningError` after `limit` seconds.
        """
        deadline = time.monotonic() + limit
        seen = 0
        with self._changed:
            while True:
                for _, event in self.arrived[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.arrived)
                self.check()
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise NotRunningError("the daemon did not send an event that was expected", "no_answer")
                self._changed.wait(left)

    def _run(self) -> None:
        try:
            with Client(self._socket) as client:
                for reply in client.stream("Monitor"):
                    now = time.monotonic()
                    event = reply["event"]
                    with self._changed:
                        self.arrived.append((now, event))
                        self._changed.notify_all()
                    if self._on_event is not None:
                        self._on_event(event)
        except BaseException as problem:  # noqa: BLE001 - raised in the thread that waits or checks
            self._problem = problem
        with self._changed:
            self._ended = True
            self._changed.notify_all()
