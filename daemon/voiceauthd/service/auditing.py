"""What of a call goes into the audit log, and how: outside of the event loop's thread, in its order, to its end.

A user who is denied again and again gets so many lines a minute, and then one that counts the rest: nobody can push
out of the log what others did, by calling often.
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
from voiceauthd.service.threads import in_thread

log = logging.getLogger(__name__)

AUDITED = frozenset(
    {
        "Verify",
        "Identify",
        "Monitor",
        "Enroll",
        "RenameProfile",
        "DeleteProfile",
        "ExportProfile",
        "ImportProfile",
        "Unlock",
        "Rekey",
        "Vouch",
        "Reload",
    }
)
"""Methods whose every call is told of. A denied call is told of whatever its method."""

COUNTED = frozenset({"denied", "refused", "cancelled"})
"""Outcomes of which a user gets so many lines. All others, and whatever root does, have a line each."""

LINES = 10
"""Lines that a user gets in a minute for calls that came to nothing."""

MINUTE = 60.0
"""Seconds from the first of these lines to the one that counts the rest."""

SEVERAL = "several"
"""In the place of what differs among the calls that a line counts."""

MOST_CALLERS = 64
"""Users whose calls are counted apart. Beyond them all others share one count: a user with many ids (/etc/subuid) gets
no lines out of them."""

OTHERS = -1
"""Stands for them; nobody's uid."""

MOST_WAITING = 1024
"""Lines that wait for the disk. As many as all users who are counted apart get in a minute, and more."""

RESERVED = 256
"""More, for lines of calls that came to something: those that came to nothing cannot take their place."""


def failed_outcome(problem: BaseException) -> tuple[str, str]:
    """Outcome and reason of a call that ended with `problem`."""
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
    """Belongs to the event loop's thread. Each line is written in a thread that nobody waits for at the end: a disk
    that hangs must not hold up the exit."""

    def __init__(self, audit: AuditLog | None) -> None:
        """audit: None for none, in tests."""
        self._audit = audit
        self._turn = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()
        self._callers: dict[int, _Caller] = {}
        self._closed = False
        self._failed = False  # the last line could not be written

    def configure(self, config: AuditConfig) -> None:
        """New bounds, from the next line on."""
        if self._audit is not None:
            self._audit.size, self._audit.files = config.size * 1024, config.files

    async def open(self) -> None:
        """Takes the log for this daemon. Raises `StorageError`."""
        if self._audit is None:
            return
        await in_thread(self._audit.open)
        seq, digest, damage = await in_thread(self._audit.end)
        log.info("the audit log ends with line %d, hash %s", seq, digest)
        if damage is not None:
            log.error("somebody, or a disk, has damaged the audit log (%s): `voiceauth audit --verify`", damage)

    async def record(
        self,
        event: str,
        outcome: str,
        reason: str,
        peer: Peer | None,
        name: str | None = None,
        detail: str | None = None,
    ) -> None:
        """One line, on the disk when this returns; or one more of those that are counted. Comes to its end even if the
        caller is cancelled. Raises `StorageError`."""
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
        """One line about what has happened already: nobody waits for it, and a failure to write it is logged."""
        if self._audit is not None:
            self._try_begin(self._due(_entry(event, outcome, reason, peer, name, detail)))

    async def require_working(self, event: str, peer: Peer, name: str | None = None) -> None:
        """If the last line could not be written, writes that this begins. Raises `StorageError` if that cannot be
        written either: nothing shall be changed that is not told of."""
        if self._failed:
            await self.record(event, "begun", "", peer, name)

    async def close(self, seconds: float) -> None:
        """Writes what was only counted, and that the daemon stops; gives the log back. Takes `seconds` at most."""
        if self._audit is None:
            return
        self._closed = True
        held = [caller.held for caller in self._callers.values() if caller.held is not None]
        for caller in self._callers.values():
            caller.minute.cancel()
        self._callers.clear()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._start([*held, Entry("stop", "done")]))
                seq, digest, _ = await in_thread(self._audit.end)
                await in_thread(self._audit.close)
        except StorageError:
            pass
        except TimeoutError:
            log.error("the audit log was not closed in time")
        else:
            log.info("the audit log ends with line %d, hash %s", seq, digest)

    # Writing

    def _begin(self, entries: Sequence[Entry]) -> asyncio.Task[None] | None:
        """Has them written after all that was begun before. Raises `StorageError` if that is hopeless."""
        if not entries:
            return None
        room = MOST_WAITING if all(entry.outcome in COUNTED for entry in entries) else MOST_WAITING + RESERVED
        if self._closed or len(self._writing) >= room:
            problem = "it is closed" if self._closed else f"{room} lines wait already: the disk is too slow"
            _tell_elsewhere(entries, problem)
            raise StorageError(f"the audit log was not written: {problem}", "audit")
        return self._start(entries)

    def _try_begin(self, entries: Sequence[Entry]) -> None:
        with suppress(StorageError):  # logged where it was noticed
            self._begin(entries)

    def _start(self, entries: Sequence[Entry]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._write_in_turn(entries))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return task

    async def _write_in_turn(self, entries: Sequence[Entry]) -> None:
        assert self._audit is not None
        async with self._turn:
            for place, entry in enumerate(entries):
                try:
                    await in_thread(self._audit.write, entry)
                except StorageError as problem:
                    self._failed = True
                    _tell_elsewhere(entries[place:], problem)
                    raise
                self._failed = False

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # told elsewhere; whoever waited for it may be gone

    # Counting

    def _due(self, entry: Entry) -> list[Entry]:
        """What is to be written now that this has happened."""
        if entry.uid is None or entry.uid == 0:
            return [entry]
        if entry.outcome not in COUNTED:
            caller = self._callers.get(entry.uid)
            if caller is None or caller.held is None:
                return [entry]
            held, caller.held = caller.held, None
            return [held, entry]
        uid = entry.uid if entry.uid in self._callers or len(self._callers) < MOST_CALLERS else OTHERS
        caller = self._callers.get(uid)
        if caller is None:
            minute = asyncio.get_running_loop().call_later(MINUTE, self._minute_over, uid)
            caller = self._callers[uid] = _Caller(minute)
        if caller.lines < LINES:
            caller.lines += 1
            return [entry]
        caller.held = entry if caller.held is None else _together(caller.held, entry)
        return []

    def _minute_over(self, uid: int) -> None:
        caller = self._callers.pop(uid)
        if caller.held is not None:
            self._try_begin([caller.held])


@dataclass(slots=True)
class _Caller:
    """A user who was denied in the last minute.

    minute  ends it
    lines   that were written for it
    held    what is counted since then
    """

    minute: asyncio.TimerHandle
    lines: int = 0
    held: Entry | None = None


def _entry(event: str, outcome: str, reason: str, peer: Peer | None, name: str | None, detail: str | None) -> Entry:
    entry = Entry(event, outcome, reason, name=name, detail=detail)
    return entry if peer is None else replace(entry, uid=peer.uid, user=peer.user, pid=peer.pid)


def _together(one: Entry, other: Entry) -> Entry:
    """Both in one line: what they have in common, and how many they are."""
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


def _tell_elsewhere(entries: Sequence[Entry], problem: object) -> None:
    """What the audit log does not have, the daemon's own log has."""
    for entry in entries:
        log.error("not in the audit log, %s: %r", problem, entry)
