"""The lockout: too many failures lock a person's voice for a while, also across a restart. Passwords are not affected.

The state in memory is authoritative. The file preserves it across a restart: it is written at every change, before the
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
    MAX_VOICES,
    AllVoicesLock,
    Clock,
    Failure,
    Records,
    VoiceRecord,
    load_records,
    save_records,
    set_aside,
)

log = logging.getLogger(__name__)

COUNTED_REASONS = frozenset({"no_match", "ambiguous", "unsure", "not_one_voice"})
"""Reasons that count as a failure: a voice was compared and not accepted. Silence, a cancelled call, too little speech
and a model that failed do not count."""


class Lockout:
    """Failures and locks by profile name. Thread-safe; only the methods that say so wait for the disk."""

    def __init__(self, file: Path | None, config: LockoutConfig, clock: Clock | None = None) -> None:
        """Read `file`, and make its folder (0700). If it cannot be read every voice is locked; raises nothing.

        file  None: nothing survives this process, which decides about nobody
        """
        self.config = config
        self._file = file
        self._clock = Clock.of_this_machine() if clock is None else clock
        self._memory_lock = threading.Lock()  # held briefly; never while waiting for `_disk_lock`
        self._disk_lock = threading.Lock()  # held while the file is written, so that the newest state is written last
        self._records = Records()
        self._changed = False
        self._write_problem: str | None = None
        self._load()

    def require_unlocked(self, name: str) -> None:
        """Raise `LockedError` while the voice of `name` is locked."""
        if (seconds := self.locked_for(name)) is not None:
            raise LockedError(
                f"the voice of {name!r} is locked for {seconds:.0f} s, after too many failures", seconds=seconds
            )

    def locked_for(self, name: str) -> float | None:
        """Return the seconds for which the voice of `name` is still locked; None if it is not."""
        with self._memory_lock:
            return self._locked_for(name_key(name))

    @property
    def problem(self) -> str | None:
        """What is wrong with the lockout itself, for administrators; None if nothing is."""
        with self._memory_lock:
            everybody = self._records.everybody
            if everybody is not None and (left := self._remaining(everybody.since)) is not None:
                return f"the lockout file could not be read, so every voice is locked for {left:.0f} s"
            return self._write_problem

    def record_decision(self, name: str, reason: str, *, accepted: bool, false_accepts: float = 0.0) -> None:
        """Count the decision of a verification of `name`. Writes to the disk: not for the event loop's thread.

        false_accepts: the rate that its policy aims at. An accept clears only the failures of policies that are not
        stricter: passing a lax policy does not show that the failures under a strict one were accidents.
        """
        with self._memory_lock:
            if accepted:
                self._forget(name_key(name), false_accepts)
            elif reason in COUNTED_REASONS:
                self._count(name, false_accepts)
        self._save()

    def unlock(self, name: str) -> bool:
        """Clear the failures and the lock of `name`. Returns whether it was locked. Writes to the disk."""
        key = name_key(name)
        with self._memory_lock:
            locked = self._locked_for(key) is not None
            self._changed |= self._records.voices.pop(key, None) is not None
            self._exempt(key)
        self._save()
        return locked

    def rename(self, old: str, new: str) -> None:
        """Move the failures and the lock of a voice to its new name. Writes to the disk."""
        key, new_key = name_key(old), name_key(new)
        with self._memory_lock:
            if key != new_key and (voice := self._records.voices.pop(key, None)) is not None:
                there = self._records.voices.get(new_key, VoiceRecord())
                locks = [each.locked for each in (voice, there) if each.locked is not None]
                failures = sorted(voice.failures + there.failures, key=lambda failure: failure.at)
                self._records.voices[new_key] = VoiceRecord(failures, max(locks, default=None))
                self._changed = True
            everybody = self._records.everybody
            if everybody is not None and key in everybody.but:
                self._exempt(new_key)
        self._save()

    # In memory; the caller holds `_memory_lock`

    def _remaining(self, since: float) -> float | None:
        """Return the seconds left of a lock that began at `since`, at most a whole lock; None if it is over."""
        left = min(self.config.lasts, since + self.config.lasts - self._clock.uptime())
        return left if left > 0.0 else None

    def _locked_for(self, key: str) -> float | None:
        voice, everybody = self._records.voices.get(key), self._records.everybody
        own = None if voice is None or voice.locked is None else self._remaining(voice.locked)
        of_all = None if everybody is None or key in everybody.but else self._remaining(everybody.since)
        return max((left for left in (own, of_all) if left is not None), default=None)

    def _recent(self, voice: VoiceRecord) -> list[Failure]:
        now = self._clock.uptime()
        return [failure for failure in voice.failures if now - failure.at < self.config.within]

    def _count(self, name: str, rate: float) -> None:
        key = name_key(name)
        if self._locked_for(key) is not None:
            return  # two verifications were decided at the same time, and the first one locked the voice
        voice = self._records.voices.setdefault(key, VoiceRecord())
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
        voice = self._records.voices.get(key)
        if voice is None:
            return
        left = [failure for failure in voice.failures if failure.rate < rate]
        self._changed |= len(left) < len(voice.failures)
        voice.failures = left

    def _exempt(self, key: str) -> None:
        everybody = self._records.everybody
        if everybody is not None and key not in everybody.but and len(everybody.but) < MAX_VOICES:
            everybody.but.append(key)
            self._changed = True

    def _prune(self) -> None:
        """Drop failures and locks that are over, and the oldest voices beyond `MAX_VOICES`."""
        records = self._records
        if records.everybody is not None and self._remaining(records.everybody.since) is None:
            records.everybody = None
        for key, voice in list(records.voices.items()):
            voice.failures = self._recent(voice)
            if voice.locked is not None and self._remaining(voice.locked) is None:
                voice.locked = None
            if not voice.failures and voice.locked is None:
                del records.voices[key]
        for key in sorted(records.voices, key=lambda key: _last_time(records.voices[key]))[:-MAX_VOICES]:
            del records.voices[key]

    # On the disk

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            self._records = load_records(self._file, self._clock) or self._records
        except (StorageError, OSError) as problem:
            log.error("every voice is locked for %.0f s: %s", self.config.lasts, problem)
            self._records.everybody = AllVoicesLock(self._clock.uptime())
            self._changed = True
            if self._file.exists():  # else the folder is the problem, and no file is damaged
                try:
                    log.error("the damaged file is kept as %s", set_aside(self._file))
                except (StorageError, OSError) as failure:
                    log.error("the damaged file is not kept: %s", failure)
            self._save()

    def _save(self) -> None:
        """Write the file if something has changed. A failure is logged, and the state in memory stays authoritative."""
        if self._file is None:
            return
        with self._disk_lock:
            with self._memory_lock:
                if not self._changed:
                    return
                self._prune()
                records, clock = self._records, self._clock
                records.boot, records.uptime, records.time = clock.boot, clock.uptime(), clock.wall()
                data = msgspec.json.encode(records)
                self._changed = False
            problem = None
            try:
                save_records(self._file, data)
            except (StorageError, OSError) as failure:
                problem = f"failures and locks would not survive a restart: {failure}"
                log.error("%s", problem)
            with self._memory_lock:
                self._changed |= problem is not None
                self._write_problem = problem


def _last_time(voice: VoiceRecord) -> float:
    times = [failure.at for failure in voice.failures]
    return max(times if voice.locked is None else [*times, voice.locked])
