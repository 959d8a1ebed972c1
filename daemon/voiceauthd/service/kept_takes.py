"""The takes of enrolments that ended too early, kept in memory so that the next try goes on from them.

They are biometric data: they are never written to a disk, nobody but the user who enrolled gets them, and they are
forgotten after a quarter of an hour, with every change of that profile, and with every reload.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from voiceauthd.embed.embedding import ModelId
from voiceauthd.profiles.enrolment import Enrolment
from voiceauthd.profiles.names import name_key
from voiceauthd.profiles.profile import Exemplar

LIFETIME = 900.0
"""Seconds that takes are kept."""

KEPT = f"what was accepted is kept for {LIFETIME / 60:.0f} minutes: the same call goes on from there"
"""For the person whose enrolment has ended."""

MAX_KEPT = 16
"""Enrolments whose takes are kept at one time; beyond that the oldest are dropped."""


class Attempt(NamedTuple):
    """What a try must have in common with an earlier one to go on from its takes.

    uid    the user who called
    key    `name_key` of the profile's name
    owner  the uid of the account that the voice is for; None if there is none
    base   uid and generation of the profile that the enrolment began with; None without one
    """

    uid: int
    key: str
    mode: str
    condition: str
    owner: int | None
    model: ModelId
    base: tuple[str, int] | None


class _Kept(NamedTuple):
    attempt: Attempt
    exemplars: tuple[Exemplar, ...]
    expires: float  # of time.monotonic()


class KeptTakes:
    """The kept takes: at most one enrolment for each caller and name. Used by the event loop's thread alone."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], _Kept] = {}  # in the order in which they were kept

    def keep(self, attempt: Attempt, exemplars: Sequence[Exemplar]) -> None:
        """Keep the exemplars for the next try, instead of those of an earlier one. Keeps nothing if there are none."""
        self._drop_expired()
        place = attempt.uid, attempt.key
        self._kept.pop(place, None)
        if exemplars:
            self._kept[place] = _Kept(attempt, tuple(exemplars), time.monotonic() + LIFETIME)
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def take(self, attempt: Attempt) -> tuple[Exemplar, ...]:
        """Return what was kept for this attempt, and keep it no longer; empty if nothing was kept."""
        self._drop_expired()
        kept = self._kept.get((attempt.uid, attempt.key))
        if kept is None or kept.attempt != attempt:
            return ()
        del self._kept[attempt.uid, attempt.key]
        return kept.exemplars

    def forget(self, name: str) -> None:
        """Forget what was kept for this name, whoever enrolled it."""
        key = name_key(name)
        self._kept = {place: kept for place, kept in self._kept.items() if place[1] != key}

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def _drop_expired(self) -> None:
        now = time.monotonic()
        self._kept = {place: kept for place, kept in self._kept.items() if now < kept.expires}


def attempt_of(enrolment: Enrolment, uid: int) -> Attempt:
    """Return the attempt of the user `uid` that `enrolment` is."""
    base = enrolment.existing
    return Attempt(
        uid,
        name_key(enrolment.name),
        enrolment.mode.value,
        enrolment.condition,
        enrolment.owner_uid,
        enrolment.model,
        None if base is None else (base.uid, base.generation),
    )
