"""Listening on behalf of one request: only what was said after the request began is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from voiceauthd.errors import ModelError, SourceError
from voiceauthd.pipeline.happening import Happening, Listening, SourceChanged, SourceState
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.path import Failed, Heard, Refused
from voiceauthd.service.hub import Hub, Inbox
from voiceauthd.service.state import State
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

PATIENCE = 5.0
"""Seconds that a source may take to deliver its first sound."""

Sound = SpeechBegan | SpeechEnded | Heard | Refused | Failed | SourceChanged


class Ear:
    """One request's listening. Made by `listen`."""

    def __init__(self, inbox: Inbox, live: Live, mark: int) -> None:
        self._inbox = inbox
        self._live = live
        self._mark = mark
        self._after: int | None = None

    async def ready(self) -> None:
        """Waits until sound is heard that counts. Raises `SourceError` if none can be had."""
        if self._live.state.state in (SourceState.LOST, SourceState.ENDED):
            raise SourceError(f"no sound to listen to: {self._live.state.detail}")
        try:
            async with asyncio.timeout(PATIENCE):
                while self._after is None:
                    happening = await self._next()
                    if isinstance(happening, Listening) and happening.mark == self._mark:
                        self._after = happening.after_utterance
                    elif isinstance(happening, SourceChanged) and happening.state is SourceState.LOST:
                        raise SourceError(f"no sound to listen to: {happening.detail}")
        except TimeoutError:
            raise SourceError(
                f"no sound came from {self._live.source.description} in {PATIENCE:.0f} s; see `voiceauth doctor`"
            ) from None

    async def hear(self, deadline: float) -> Sound | None:
        """The next thing that counts; None when the loop's clock passes `deadline`."""
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    happening = await self._next()
                    if self._counts(happening):
                        return happening  # type: ignore[return-value]  # _counts narrows it, which mypy cannot see
        except TimeoutError:
            return None

    async def _next(self) -> Happening:
        item = await self._inbox.get()
        if item is None:
            raise SourceError("the daemon is stopping")
        return item[1]

    def _counts(self, happening: Happening) -> bool:
        if isinstance(happening, SourceChanged):
            return True
        if isinstance(happening, SpeechBegan | SpeechEnded):
            utterance = happening.utterance
        elif isinstance(happening, Heard | Refused | Failed):
            utterance = happening.window.utterance
        else:
            return False
        return self._after is not None and utterance > self._after


@contextmanager
def listen(state: State, hub: Hub) -> Iterator[Ear]:
    """Keeps the source open and counts sound from now on, until the block ends. Raises `ModelError`, reason
    `not_ready`, if nothing would ever be heard."""
    if not state.live.alive:
        raise ModelError("the capture or the worker thread has died; restart the daemon, and see its log", "not_ready")
    with hub.subscribe() as inbox:
        live = state.live
        live.need()
        try:
            yield Ear(inbox, live, live.mark())
        finally:
            state.live.release()  # a reload may have handed the need over to another one
