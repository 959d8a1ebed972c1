"""Printing the monitor's events as they arrive."""

from __future__ import annotations

import os
import signal

from voiceauthd.terminal.event_lines import EVENT_INDENT, Event, event_line
from voiceauthd.terminal.output import Output


def print_event(event: Event, output: Output) -> None:
    """Print one event, as a line or as an object."""
    output.record(event_line(event, output), indent=EVENT_INDENT)
    output.object(event)


def print_or_stop(event: Event, output: Output) -> None:
    """Print one event. When the reader has gone (`| head`), stop this process in an orderly way."""
    if output.closed:
        return
    print_event(event, output)
    if output.closed:
        os.kill(os.getpid(), signal.SIGTERM)


def drop_event(_event: Event) -> None:
    """Do nothing with an event."""
