"""Which lines of the audit log to show: the query a person types, and the lines that match it."""

from __future__ import annotations

import argparse
import re
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

from voiceauthd.audit.line import Line
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import Anchor

DEFAULT_LAST = 20
"""Lines shown unless the query says how many, since when or until when."""

POLL_INTERVAL = 0.5
"""Seconds between two looks at the log when following it."""

_AGO = re.compile(r"\A([0-9]{1,9})([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_ANCHOR = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


class AuditQuery(NamedTuple):
    """What the lines must have in common; None matches everything. Texts match in any case.

    user    a name or a uid
    last    only the last N lines; None: all if `since` or `until` is given, else `DEFAULT_LAST`
    follow  continue with lines that are written later, without end
    """

    since: datetime | None = None
    until: datetime | None = None
    event: str | None = None
    outcome: str | None = None
    name: str | None = None
    user: str | None = None
    last: int | None = None
    follow: bool = False

    def matches(self, line: Line) -> bool:
        """Return whether the line is one of those asked for."""
        entry, at = line.entry, datetime.fromisoformat(line.time)
        return (
            (self.since is None or at >= self.since)
            and (self.until is None or at <= self.until)
            and _same(self.event, entry.event)
            and _same(self.outcome, entry.outcome)
            and _same(self.name, entry.name)
            and _same(self.user, entry.user, entry.uid)
        )


def select(folder: Path, query: AuditQuery) -> Iterator[Line]:
    """Yield the lines of the log in `folder` that match, oldest first."""
    limit = query.last
    if limit is None and query.since is None and query.until is None:
        limit = DEFAULT_LAST
    seen = 0

    def matching() -> Iterator[Line]:
        nonlocal seen
        for line in read(folder, seen + 1):
            seen = max(seen, line.seq)
            if query.matches(line):
                yield line

    yield from matching() if limit is None else deque(matching(), limit)
    for _ in count() if query.follow else ():
        time.sleep(POLL_INTERVAL)
        yield from matching()


def moment(text: str) -> datetime:
    """Read a date, a time, or how long ago. Without a zone it is local. Raises `argparse.ArgumentTypeError`."""
    ago = _AGO.match(text)
    try:
        if ago is not None:
            return datetime.fromtimestamp(time.time() - int(ago.group(1)) * _SECONDS[ago.group(2)], UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"neither a time like 2026-01-31T12:00 nor like 1h: {text!r}") from None


def anchor(text: str) -> Anchor:
    """Read a line's number and hash. Raises `argparse.ArgumentTypeError`."""
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"not SEQ:HASH, as --verify prints it: {text!r}")
    return Anchor(int(found.group(1)), found.group(2))


def _same(wanted: str | None, *found: object) -> bool:
    return wanted is None or wanted.casefold() in {str(text).casefold() for text in found if text is not None}
