"""One verification, identification or enrolment at a time: there is one microphone, and one person before it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voiceauthd.errors import BusyError, WithdrawnError


@dataclass(slots=True, eq=False)
class Claim:
    """Who listens just now. `token` is the secret that SendAudio names it by."""

    holder: str
    uid: int
    token: str
    task: asyncio.Task[object] | None
    cancelled: str | None = None


class Claims:
    """Grants one claim, and takes it back when its block ends, however it ends."""

    def __init__(self) -> None:
        self._current: Claim | None = None

    @property
    def current(self) -> Claim | None:
        """The claim that is held now."""
        return self._current

    @contextmanager
    def take(self, holder: str, uid: int) -> Iterator[Claim]:
        """`holder`: the method, "Verify". Raises `BusyError` at once if the claim is held, and `WithdrawnError` out of
        the block if `cancel` ends it.
        """
        if self._current is not None:
            raise BusyError(f"another {self._current.holder} is going on")
        claim = Claim(holder, uid, secrets.token_urlsafe(16), asyncio.current_task())
        self._current = claim
        try:
            yield claim
        except asyncio.CancelledError:
            if claim.cancelled is None:
                raise  # the client has gone, or the connection is closed
            if claim.task is not None:
                claim.task.uncancel()
            raise WithdrawnError(claim.cancelled) from None
        finally:
            self._current = None

    def cancel(self, reason: str) -> None:
        """Ends what the holder does; the caller is told why."""
        if self._current is not None and self._current.task is not None:
            self._current.cancelled = reason
            self._current.task.cancel()
