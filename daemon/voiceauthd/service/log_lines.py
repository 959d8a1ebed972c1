"""The daemon's log on standard error: lines for a person, or lines with syslog levels where systemd's journal reads.

The journal takes a level from a prefix such as `<3>` (sd-daemon(3)), so `journalctl -p err` shows errors alone.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

JOURNAL_ONLY = {"journal_only": True}
"""`extra` of a message that belongs into the journal, as a debug line, and not onto a terminal."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


class JournalFormatter(logging.Formatter):
    """Puts the syslog level before each line of a message, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The message with a prefix on every line: the journal stores each line on its own."""
        prefix = f"<{_priority(record)}>"
        return "\n".join(f"{prefix}{line}" for line in super().format(record).splitlines() or [""])


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send this process's log to `stream` (default: standard error). `level` holds for voiceauthd's own messages, and
    other packages log warnings and errors."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    if is_journal(stream):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("voiceauthd: %(levelname)s: %(message)s"))
        handler.addFilter(lambda record: not getattr(record, "journal_only", False))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("voiceauthd").setLevel(level.upper())


def is_journal(stream: TextIO) -> bool:
    """Whether the journal reads `stream`: systemd names the device and inode of its socket in $JOURNAL_STREAM."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _priority(record: logging.LogRecord) -> int:
    if getattr(record, "journal_only", False):
        return _DEBUG_PRIORITY
    return next((priority for level, priority in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
