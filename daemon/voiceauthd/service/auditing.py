"""Writing calls to the audit log: in order, outside the event loop's thread, and even if the caller disconnects.

The number of lines that one user's failed calls produce per minute is limited; one further line counts the rest. So no
user can push the lines of others out of the log by calling often.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.config.schema import AuditConfig
from voiceauthd.errors import DeniedError, StorageError, VoiceauthError, WithdrawnError
from voiceauthd.server.call import CallError
from voiceauthd.server.peer import Peer
from voiceauthd.service.log_lines import JOURNAL_ONLY
from voiceauthd.service.threads import in_thread

log = logging.getLogger(__name__)

AUDITED = frozenset(
    {
        "Verify",
        "Identify",
        "Monitor",
        "VerifyRecording",
        "IdentifyRecording",
        "Enroll",
        "RenameProfile",
        "DeleteProfile",
        "DropExemplar",
        "ExportProfile",
        "ImportProfile",
        "Unlock",
        "Rekey",
        "Vouch",
        "Reload",
    }
)
"""Methods of which every call is audited. A denied call is audited whatever its method."""

LIMITED_OUTCOMES = frozenset({"denied", "refused", "cancelled"})
"""Outcomes of failed calls, whose lines are limited. Calls with other outcomes, and all of root's, get a line each."""

MAX_LINES = 10
"""Lines per user and `LIMIT_PERIOD` for failed calls."""

LIMIT_PERIOD = 60.0
"""Seconds from the first of these lines to the one that counts the rest."""

SEVERAL = "several"
"""Replaces each field that differs among the calls counted by one line."""

MAX_CALLERS = 64
"""Users who are counted separately. All others share one count, so that a user with many ids (/etc/subuid) does not get
more lines by using them."""

OTHERS_UID = -1
"""The uid that all others are counted under; not a valid uid."""

MAX_QUEUED = 1024
"""Lines that may wait for the disk: more than all separately counted users get in one period."""

RESERVED = 256
"""Further places in the queue, for calls that did not fail, so that failed calls cannot use up all of it."""


def failed_outcome(problem: BaseException) -> tuple[str, str]:
    """Return outcome and reason of a call that ended with `problem`."""
    if isinstance(problem, asyncio.CancelledError | WithdrawnError):
        return "cancelled", "cancelled"
    if isinstance(problem, DeniedError):
        return "denied", problem.reason
    if isinstance(problem, VoiceauthError):
        return "refused", problem.reason
    if isinstance(problem, CallError):
        return "refused", problem.error.rpartition(".")[2]
    return "failed", "internal"


class Auditor:
    """Writes the audit log; to be used from the event loop's thread.

    Each line is written in a daemon thread, because a disk that hangs must not delay the exit.
    """

    def __init__(self, audit: AuditLog | None) -> None:
        """audit: None for no log, in tests."""
        self._audit = audit
        self._write_lock = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()
        self._callers: dict[int, _Caller] = {}
        self._closed = False
        self._failed = False  # the last line could not be written

    def configure(self, config: AuditConfig) -> None:
        """Set new bounds on the log's size, from the next line on."""
        if self._audit is not None:
            self._audit.size, self._audit.files = config.size * 1024, config.files

    async def open(self) -> None:
        """Open the log and lock it for this daemon. Raises `StorageError`."""
        if self._audit is None:
            return
        await in_thread(self._audit.open)
        seq, digest, damage = await in_thread(self._audit.end)
        log.info("the audit log ends with line %d, hash %s", seq, digest, extra=JOURNAL_ONLY)
        if damage is not None:
            log.error("the audit log is damaged (%s); check it with `voiceauth audit --verify`", damage)

    async def record(
        self,
        event: str,
        outcome: str,
        reason: str,
        peer: Peer | None,
        name: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Write one line, which is on the disk when this returns, or count the call if its user is over the limit.

        Finishes even if the caller is cancelled. Raises `StorageError`.
        """
        if self._audit is None:
            return
        task = self._begin(self._due(_entry(event, outcome, reason, peer, name, detail)))
        if task is not None:
            await asyncio.shield(task)

    def note(
        self,
        event: str,
        outcome: str,
        reason: str,
        peer: Peer | None,
        name: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Like `record`, in the background: a failure to write is only logged."""
        if self._audit is not None:
            self._try_begin(self._due(_entry(event, outcome, reason, peer, name, detail)))

    async def require_working(self, event: str, peer: Peer, name: str | None = None) -> None:
        """If the last line could not be written, write now that this call begins.

        Raises `StorageError` if that fails too: nothing may be changed without a line in the log.
        """
        if self._failed:
            await self.record(event, "begun", "", peer, name)

    async def close(self, seconds: float) -> None:
        """Write the counts that are pending and the line of the stop, and close the log. Takes at most `seconds`."""
        if self._audit is None:
            return
        self._closed = True
        pending = [caller.excess for caller in self._callers.values() if caller.excess is not None]
        for caller in self._callers.values():
            caller.timer.cancel()
        self._callers.clear()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._start([*pending, Entry("stop", "done")]))
                seq, digest, _ = await in_thread(self._audit.end)
                await in_thread(self._audit.close)
        except StorageError:
            pass
        except TimeoutError:
            log.error("the audit log was not closed in time")
        else:
            log.info("the audit log ends with line %d, hash %s", seq, digest, extra=JOURNAL_ONLY)

    # Writing

    def _begin(self, entries: Sequence[Entry]) -> asyncio.Task[None] | None:
        """Queue entries for writing, after those already queued. Raises `StorageError` if it is full or closed."""
        if not entries:
            return None
        limit = MAX_QUEUED if all(entry.outcome in LIMITED_OUTCOMES for entry in entries) else MAX_QUEUED + RESERVED
        if self._closed or len(self._writing) >= limit:
            problem = "it is closed" if self._closed else f"{limit} lines are waiting already: the disk is too slow"
            _log_unaudited(entries, problem)
            raise StorageError(f"the audit log was not written: {problem}", "audit")
        return self._start(entries)

    def _try_begin(self, entries: Sequence[Entry]) -> None:
        with suppress(StorageError):  # logged where it was raised
            self._begin(entries)

    def _start(self, entries: Sequence[Entry]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._write_in_turn(entries))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return task

    async def _write_in_turn(self, entries: Sequence[Entry]) -> None:
        assert self._audit is not None
        async with self._write_lock:
            for index, entry in enumerate(entries):
                try:
                    await in_thread(self._audit.write, entry)
                except StorageError as problem:
                    self._failed = True
                    _log_unaudited(entries[index:], problem)
                    raise
                self._failed = False

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: it was logged, and its caller may be gone

    # Counting

    def _due(self, entry: Entry) -> list[Entry]:
        """Return the lines to write for `entry`: itself, none if it is only counted, or the pending count before it."""
        if entry.uid is None or entry.uid == 0:
            return [entry]
        if entry.outcome not in LIMITED_OUTCOMES:
            caller = self._callers.get(entry.uid)
            if caller is None or caller.excess is None:
                return [entry]
            excess, caller.excess = caller.excess, None
            return [excess, entry]
        uid = entry.uid if entry.uid in self._callers or len(self._callers) < MAX_CALLERS else OTHERS_UID
        caller = self._callers.get(uid)
        if caller is None:
            timer = asyncio.get_running_loop().call_later(LIMIT_PERIOD, self._end_period, uid)
            caller = self._callers[uid] = _Caller(timer)
        if caller.lines < MAX_LINES:
            caller.lines += 1
            return [entry]
        caller.excess = entry if caller.excess is None else _merged(caller.excess, entry)
        return []

    def _end_period(self, uid: int) -> None:
        caller = self._callers.pop(uid)
        if caller.excess is not None:
            self._try_begin([caller.excess])


@dataclass(slots=True)
class _Caller:
    """A user with failed calls in the current period.

    timer   ends the period
    lines   lines written for failed calls in this period
    excess  one line that counts the calls over the limit; None if there are none
    """

    timer: asyncio.TimerHandle
    lines: int = 0
    excess: Entry | None = None


def _entry(event: str, outcome: str, reason: str, peer: Peer | None, name: str | None, detail: str | None) -> Entry:
    entry = Entry(event, outcome, reason, name=name, detail=detail)
    return entry if peer is None else replace(entry, uid=peer.uid, user=peer.user, pid=peer.pid)


def _merged(one: Entry, other: Entry) -> Entry:
    """Return one line for both: the fields that they share, and the sum of their counts."""
    return Entry(
        one.event if one.event == other.event else SEVERAL,
        one.outcome if one.outcome == other.outcome else SEVERAL,
        one.reason if one.reason == other.reason else SEVERAL,
        one.uid if one.uid == other.uid else None,
        one.user if one.uid == other.uid else SEVERAL,
        one.pid if one.pid == other.pid else None,
        one.name if one.name == other.name else None,
        one.count + other.count,
        one.detail if one.detail == other.detail else None,
    )


def _log_unaudited(entries: Sequence[Entry], problem: object) -> None:
    """Write to the daemon's own log what could not be written to the audit log."""
    for entry in entries:
        log.error("not in the audit log, %s: %r", problem, entry)
