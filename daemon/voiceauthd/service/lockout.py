"""Too many failures lock a person's voice for a while, also across a restart. A password is never touched.

What is in memory counts. The file is what is left of it after a restart: it is written at every change, before the
verification is answered, and again at the next verification if that failed.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import msgspec

from voiceauthd.config.schema import LockoutConfig
from voiceauthd.errors import LockedError, StorageError
from voiceauthd.profiles.names import name_key
from voiceauthd.service.lockout_file import (
    MOST_VOICES,
    Book,
    Clock,
    Everybody,
    Failure,
    VoiceRecord,
    load_book,
    save_book,
    set_aside,
)

log = logging.getLogger(__name__)

COUNTED = frozenset({"no_match", "ambiguous", "unsure", "not_one_voice"})
"""Reasons of decisions that have compared a voice and not accepted it. Silence, a call that was broken off, too little
speech and a model that failed are nobody's guess."""


class Lockout:
    """Failures and locks by profile name. Safe to use from several threads; no call waits for the disk but those that
    say so."""

    def __init__(self, file: Path, config: LockoutConfig, clock: Clock | None = None) -> None:
        """Reads `file`, and makes its folder (0700). Where it cannot be read every voice is locked; raises nothing."""
        self.config = config
        self._file = file
        self._clock = Clock.of_this_machine() if clock is None else clock
        self._memory = threading.Lock()  # held for moments; never while `_disk` is being asked for
        self._disk = threading.Lock()  # held while the file is written, so that the newest is written last
        self._book = Book()
        self._changed = False
        self._unwritten: str | None = None
        self._load()

    def require_open(self, name: str) -> None:
        """Raises `LockedError` while the voice of `name` is locked."""
        if (seconds := self.locked_for(name)) is not None:
            raise LockedError(
                f"the voice of {name!r} is locked for {seconds:.0f} s, after too many failures", seconds=seconds
            )

    def locked_for(self, name: str) -> float | None:
        """Seconds for which the voice of `name` is still locked; None if it is not."""
        with self._memory:
            return self._left(name_key(name))

    @property
    def problem(self) -> str | None:
        """What is wrong with the lockout itself, for who may know it; None if nothing is."""
        with self._memory:
            everybody = self._book.everybody
            if everybody is not None and (left := self._of(everybody.since)) is not None:
                return f"the file of the lockouts could not be read, so every voice is locked for {left:.0f} s"
            return self._unwritten

    def judged(self, name: str, reason: str, *, accepted: bool, false_accepts: float = 0.0) -> None:
        """A verification of `name` was decided. Writes to the disk: not for the event loop's thread.

        false_accepts: the rate that its policy aims at. An accept forgets the failures of policies that are no
        stricter: whoever passes a lax one has not shown that the failures before a strict one were accidents.
        """
        with self._memory:
            if accepted:
                self._forget(name_key(name), false_accepts)
            elif reason in COUNTED:
                self._count(name, false_accepts)
        self._save()

    def unlock(self, name: str) -> None:
        """Forgets the failures and the lock of `name`. Writes to the disk."""
        key = name_key(name)
        with self._memory:
            self._changed |= self._book.voices.pop(key, None) is not None
            self._except(key)
        self._save()

    def rename(self, old: str, new: str) -> None:
        """The voice has another name now; its failures go with it. Writes to the disk."""
        key, new_key = name_key(old), name_key(new)
        with self._memory:
            if key != new_key and (voice := self._book.voices.pop(key, None)) is not None:
                there = self._book.voices.get(new_key, VoiceRecord())
                locks = [each.locked for each in (voice, there) if each.locked is not None]
                failures = sorted(voice.failures + there.failures, key=lambda failure: failure.at)
                self._book.voices[new_key] = VoiceRecord(failures, max(locks, default=None))
                self._changed = True
            everybody = self._book.everybody
            if everybody is not None and key in everybody.but:
                self._except(new_key)
        self._save()

    # In memory; all of it with `_memory` held

    def _of(self, since: float) -> float | None:
        """What is left of a lock, at most a whole one; None if it is over."""
        left = min(self.config.lasts, since + self.config.lasts - self._clock.uptime())
        return left if left > 0.0 else None

    def _left(self, key: str) -> float | None:
        voice, everybody = self._book.voices.get(key), self._book.everybody
        own = None if voice is None or voice.locked is None else self._of(voice.locked)
        of_all = None if everybody is None or key in everybody.but else self._of(everybody.since)
        return max((left for left in (own, of_all) if left is not None), default=None)

    def _recent(self, voice: VoiceRecord) -> list[Failure]:
        now = self._clock.uptime()
        return [failure for failure in voice.failures if now - failure.at < self.config.within]

    def _count(self, name: str, rate: float) -> None:
        key = name_key(name)
        if self._left(key) is not None:
            return  # two that were decided at one time: the lock is there already
        voice = self._book.voices.setdefault(key, VoiceRecord())
        voice.failures = [*self._recent(voice), Failure(self._clock.uptime(), rate)]
        if len(voice.failures) >= self.config.failures:
            log.warning(
                "the voice of %r is locked for %.0f s, after %d failures",
                name,
                self.config.lasts,
                len(voice.failures),
            )
            voice.failures, voice.locked = [], self._clock.uptime()
        self._changed = True

    def _forget(self, key: str, rate: float) -> None:
        voice = self._book.voices.get(key)
        if voice is None:
            return
        left = [failure for failure in voice.failures if failure.rate < rate]
        self._changed |= len(left) < len(voice.failures)
        voice.failures = left

    def _except(self, key: str) -> None:
        everybody = self._book.everybody
        if everybody is not None and key not in everybody.but and len(everybody.but) < MOST_VOICES:
            everybody.but.append(key)
            self._changed = True

    def _tidy(self) -> None:
        """Drops what is over, and the oldest beyond what is kept."""
        book = self._book
        if book.everybody is not None and self._of(book.everybody.since) is None:
            book.everybody = None
        for key, voice in list(book.voices.items()):
            voice.failures = self._recent(voice)
            if voice.locked is not None and self._of(voice.locked) is None:
                voice.locked = None
            if not voice.failures and voice.locked is None:
                del book.voices[key]
        for key in sorted(book.voices, key=lambda key: _last(book.voices[key]))[:-MOST_VOICES]:
            del book.voices[key]

    # On the disk

    def _load(self) -> None:
        try:
            self._book = load_book(self._file, self._clock) or self._book
        except (StorageError, OSError) as problem:
            log.error("every voice is locked for %.0f s: %s", self.config.lasts, problem)
            self._book.everybody = Everybody(self._clock.uptime())
            self._changed = True
            try:
                log.error("the damaged file is kept as %s", set_aside(self._file))
            except (StorageError, OSError) as failure:
                log.error("the damaged file is not kept: %s", failure)
            self._save()

    def _save(self) -> None:
        """Writes what has changed. A failure to write is told, and what is in memory goes on to count."""
        with self._disk:
            with self._memory:
                if not self._changed:
                    return
                self._tidy()
                book, clock = self._book, self._clock
                book.boot, book.uptime, book.time = clock.boot, clock.uptime(), clock.wall()
                data = msgspec.json.encode(book)
                self._changed = False
            problem = None
            try:
                save_book(self._file, data)
            except (StorageError, OSError) as failure:
                problem = f"failures and locks would not outlast a restart: {failure}"
                log.error("%s", problem)
            with self._memory:
                self._changed |= problem is not None
                self._unwritten = problem


def _last(voice: VoiceRecord) -> float:
    times = [failure.at for failure in voice.failures]
    return max(times if voice.locked is None else [*times, voice.locked])
