"""One line of the audit log: what it tells, how it is written, and how it is chained to the line before.

A line is a JSON object in ASCII without spaces, its fields in the order of `Line`, `hash` the last. `hash` is the
SHA-256 of the line as it would be without `,"hash":"…"`; it stands over `prev`, the hash of the line before, too. So a
line cannot change, go or come without the hashes of all later lines changing. The first line ever follows 64 zeros.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

NO_HASH = "0" * 64
"""What the first line ever follows."""

MAX_LINE = 16 * 1024
"""Bytes. The longest line that is written has 3 texts of `MAX_TEXT` characters and 3 of `MAX_CODE`, each of 12 bytes
when it is escaped as two surrogates, and half a kilobyte of the rest: 12,032 in all."""

MAX_TEXT = 256
"""Characters of a name, of a user or of a detail. What is longer is cut, and ends with an ellipsis."""

MAX_CODE = 64
"""Characters of an event, an outcome or a reason."""

_HASH = re.compile(r"[0-9a-f]{64}")

_TAIL = len(',"hash":"') + 64 + len('"}')
"""Bytes of the end of a line that its hash does not stand over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is told of one event.

    event    the method, "Verify", or what the daemon itself did or found: "start", "stop", "torn", "damage"
    outcome  accept, reject, inconclusive; known, unknown; begun, done; denied, refused, failed, cancelled
    reason   the stable reason code; "" for none
    uid, user, pid  who called; None for the daemon itself
    name     of the profile that it was about; None for none
    count    of events that this line stands for
    detail   what else belongs to it: the policy of a Verify, the new name of a RenameProfile; None for nothing
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

    seq   1 for the first line ever, one more for each
    time  ISO 8601, UTC, with milliseconds: the wall clock's, which may jump
    prev  the hash of the line before
    torn  SHA-256 of the bytes between the line before and this one, the rest of a line that a crash has cut off; None
          for none
    """

    seq: int
    time: str
    entry: Entry
    prev: str
    hash: str
    torn: str | None = None

    def object(self) -> dict[str, object]:
        """All fields, in their order."""
        return {**_body(self.seq, self.time, self.entry, self.prev, self.torn), "hash": self.hash}


def encode_line(seq: int, entry: Entry, prev: str, torn: str | None = None) -> tuple[bytes, str]:
    """The line, with its newline, at the time of now; and its hash. Texts that are too long are cut."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps(_body(seq, now, _bounded(entry), prev, torn), ensure_ascii=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{digest}"}}\n'.encode(), digest


def parse_line(raw: bytes) -> Line | None:
    """The line `raw`, without its newline; None for bytes that were never written as a line, or were changed since."""
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
    """Raises `ValueError`, `TypeError` or `KeyError` for what is no line."""
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
        raise ValueError("no line")
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
