"""The claim on the microphone: one verification, identification or enrolment at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voiceauthd.errors import BusyError, WithdrawnError


@dataclass(slots=True, eq=False)
class Claim:
    """The request that currently listens. `token` is the secret that SendAudio refers to it by."""

    holder: str
    uid: int
    token: str
    task: asyncio.Task[object] | None
    cancelled: str | None = None


class Claims:
    """Grants one claim at a time, and releases it when its block ends, however it ends."""

    def __init__(self) -> None:
        self._current: Claim | None = None

    @property
    def current(self) -> Claim | None:
        """The claim that is currently held, if any."""
        return self._current

    @contextmanager
    def take(self, holder: str, uid: int) -> Iterator[Claim]:
        """Hold the claim while the block runs. `holder`: the method, such as "Verify".

        Raises `BusyError` at once if the claim is held, and `WithdrawnError` out of the block if `cancel` ends it.
        """
        if self._current is not None:
            raise BusyError(f"another {self._current.holder} is in progress")
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
        """Cancel the request that holds the claim; its caller gets `reason`."""
        if self._current is not None and self._current.task is not None:
            self._current.cancelled = reason
            self._current.task.cancel()
