"""One line of the audit log: its content, its encoding, and how it is chained to the line before.

A line is a JSON object in ASCII without spaces, with its fields in the order of `Line` and `hash` last. `hash` is the
SHA-256 of the line without `,"hash":"…"`; it covers `prev`, the hash of the previous line, too. So no line can be
changed, removed or inserted without changing the hashes of all later lines. The first line ever has 64 zeros as `prev`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

NO_HASH = "0" * 64
"""The `prev` of the first line ever."""

MAX_LINE = 16 * 1024
"""Maximum bytes. The longest line has 3 texts of `MAX_TEXT` characters and 3 of `MAX_CODE`, each character of 12 bytes
when it is escaped as two surrogates, and half a kilobyte for the rest: 12,032 in all."""

MAX_TEXT = 256
"""Maximum characters of a name, a user or a detail. A longer text is cut and ends with an ellipsis."""

MAX_CODE = 64
"""Maximum characters of an event, an outcome or a reason."""

_HASH = re.compile(r"[0-9a-f]{64}")

_TAIL = len(',"hash":"') + 64 + len('"}')
"""Bytes at the end of a line that its hash does not cover."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The content of a line about one event.

    event    the method, such as "Verify", or an event of the daemon itself: "start", "stop", "torn", "damage"
    outcome  accept, reject, inconclusive; known, unknown; begun, done; denied, refused, failed, cancelled
    reason   the stable reason code; "" if there is none
    uid, user, pid  the caller; None for the daemon itself
    name     the profile concerned; None if there is none
    count    the number of events that this line stands for
    detail   further information: the policy of a Verify, the new name of a RenameProfile; None if there is none
    """

    event: str
    outcome: str
    reason: str = ""
    uid: int | None = None
    user: str | None = None
    pid: int | None = None
    name: str | None = None
    count: int = 1
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log.

    seq   1 for the first line ever, then increasing by one
    time  ISO 8601, UTC, with milliseconds, from the wall clock, which may jump
    prev  the hash of the previous line
    torn  SHA-256 of the bytes between the previous line and this one, part of a line that a crash has truncated; None
          if there are none
    """

    seq: int
    time: str
    entry: Entry
    prev: str
    hash: str
    torn: str | None = None

    def object(self) -> dict[str, object]:
        """Return all fields in order."""
        return {**_body(self.seq, self.time, self.entry, self.prev, self.torn), "hash": self.hash}


def encode_line(seq: int, entry: Entry, prev: str, torn: str | None = None) -> tuple[bytes, str]:
    """Return the line, with its newline and the current time, and its hash. Texts that are too long are cut."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps(_body(seq, now, _bounded(entry), prev, torn), ensure_ascii=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{digest}"}}\n'.encode(), digest


def parse_line(raw: bytes) -> Line | None:
    """Parse a line without its newline; None for bytes that are not a line of the log, or were changed."""
    if len(raw) <= _TAIL or len(raw) > MAX_LINE:
        return None
    body = raw[:-_TAIL] + b"}"
    digest = hashlib.sha256(body).hexdigest()
    if raw[-_TAIL:] != f',"hash":"{digest}"}}'.encode():
        return None
    try:
        fields = json.loads(body)
        return _line(fields, digest)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _body(seq: int, time: str, entry: Entry, prev: str, torn: str | None) -> dict[str, object]:
    body: dict[str, object] = {
        "seq": seq,
        "time": time,
        "event": entry.event,
        "outcome": entry.outcome,
        "reason": entry.reason,
        "uid": entry.uid,
        "user": entry.user,
        "pid": entry.pid,
        "name": entry.name,
        "detail": entry.detail,
        "count": entry.count,
        "prev": prev,
    }
    if torn is not None:
        body["torn"] = torn
    return body


def _line(fields: dict[str, object], digest: str) -> Line:
    """Build a line from its fields. Raises `ValueError`, `TypeError` or `KeyError` if they are not those of a line."""
    torn = _text(fields["torn"]) if "torn" in fields else None
    entry = Entry(
        _text(fields["event"]),
        _text(fields["outcome"]),
        _text(fields["reason"]),
        _number(fields["uid"]),
        _text_or_none(fields["user"]),
        _number(fields["pid"]),
        _text_or_none(fields["name"]),
        _whole(fields["count"]),
        _text_or_none(fields["detail"]),
    )
    line = Line(_whole(fields["seq"]), _text(fields["time"]), entry, _text(fields["prev"]), digest, torn)
    if datetime.fromisoformat(line.time).tzinfo is None or not _HASH.fullmatch(line.prev) or line.seq < 1:
        raise ValueError("not a line of the log")
    return line


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value: object) -> int | None:
    return None if value is None else _whole(value)


def _bounded(entry: Entry) -> Entry:
    return Entry(
        _cut(entry.event, MAX_CODE),
        _cut(entry.outcome, MAX_CODE),
        _cut(entry.reason, MAX_CODE),
        entry.uid,
        None if entry.user is None else _cut(entry.user, MAX_TEXT),
        entry.pid,
        None if entry.name is None else _cut(entry.name, MAX_TEXT),
        entry.count,
        None if entry.detail is None else _cut(entry.detail, MAX_TEXT),
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
