"""MarkReached on behalf of one request: only what was said after the request began is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from voiceauthd.errors import ModelError, SourceError
from voiceauthd.pipeline.events import MarkReached, PipelineEvent, SourceChanged, SourceState
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.service.event_bus import EventBus, Inbox
from voiceauthd.service.state import State
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

FIRST_SOUND_TIMEOUT = 5.0
"""Seconds that a source may take to deliver its first sound."""

Sound = SpeechBegan | SpeechEnded | ScoredWindow | RefusedWindow | FailedWindow | SourceChanged


class RequestAudio:
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
            async with asyncio.timeout(FIRST_SOUND_TIMEOUT):
                while self._after is None:
                    event = await self._next()
                    if isinstance(event, MarkReached) and event.mark == self._mark:
                        self._after = event.after_utterance
                    elif isinstance(event, SourceChanged) and event.state is SourceState.LOST:
                        raise SourceError(f"no sound to listen to: {event.detail}")
        except TimeoutError:
            source = self._live.source.description
            raise SourceError(
                f"no sound came from {source} in {FIRST_SOUND_TIMEOUT:.0f} s; see `voiceauth doctor`"
            ) from None

    async def hear(self, deadline: float) -> Sound | None:
        """The next thing that counts; None when the loop's clock passes `deadline`."""
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    event = await self._next()
                    if self._counts(event):
                        return event  # type: ignore[return-value]  # _counts narrows it, which mypy cannot see
        except TimeoutError:
            return None

    async def _next(self) -> PipelineEvent:
        item = await self._inbox.get()
        if item is None:
            raise SourceError("the daemon is stopping")
        return item[1]

    def _counts(self, event: PipelineEvent) -> bool:
        if isinstance(event, SourceChanged):
            return True
        if isinstance(event, SpeechBegan | SpeechEnded):
            utterance = event.utterance
        elif isinstance(event, ScoredWindow | RefusedWindow | FailedWindow):
            utterance = event.window.utterance
        else:
            return False
        return self._after is not None and utterance > self._after


@contextmanager
def listen(state: State, hub: EventBus) -> Iterator[RequestAudio]:
    """Keeps the source open and counts sound from now on, until the block ends. Raises `ModelError`, reason
    `not_ready`, if nothing would ever be heard."""
    if not state.live.alive:
        raise ModelError("the capture or the worker thread has died; restart the daemon, and see its log", "not_ready")
    with hub.subscribe() as inbox:
        live = state.live
        live.need()
        try:
            yield RequestAudio(inbox, live, live.mark())
        finally:
            state.live.release()  # a reload may have handed the need over to another one
