"""The audio of one request: the pipeline's events, without speech from before the request began."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from voiceauthd.errors import ModelError, SourceError
from voiceauthd.pipeline.events import MarkReached, PipelineEvent, SourceChanged, SourceState
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.meter import Meter
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.service.event_bus import EventBus, Inbox
from voiceauthd.service.state import State
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

FIRST_AUDIO_TIMEOUT = 5.0
"""Seconds that a source may take to deliver its first audio."""

AudioEvent = SpeechBegan | SpeechEnded | ScoredWindow | RefusedWindow | FailedWindow | SourceChanged


class RequestAudio:
    """The events of one request. Made by `listen`."""

    def __init__(self, inbox: Inbox, live: Live, mark: int) -> None:
        self._inbox = inbox
        self._live = live
        self._mark = mark
        self._after: int | None = None

    async def ready(self) -> None:
        """Wait until the first audio that counts arrives. Raises `SourceError` if the source delivers none."""
        if self._live.state.state in (SourceState.LOST, SourceState.ENDED):
            raise SourceError(f"no audio to listen to: {self._live.state.detail}")
        try:
            async with asyncio.timeout(FIRST_AUDIO_TIMEOUT):
                while self._after is None:
                    event = await self._next()
                    if isinstance(event, MarkReached) and event.mark == self._mark:
                        self._after = event.after_utterance
                    elif isinstance(event, SourceChanged) and event.state is SourceState.LOST:
                        raise SourceError(f"no audio to listen to: {event.detail}")
        except TimeoutError:
            source = self._live.source.description
            raise SourceError(
                f"no audio came from {source} in {FIRST_AUDIO_TIMEOUT:.0f} s; see `voiceauth doctor`"
            ) from None

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Provide a level meter of this audio until the block ends."""
        with self._live.metered() as meter:
            yield meter

    async def next_event(self, deadline: float) -> AudioEvent | None:
        """Return the next event that counts; None when the loop's clock passes `deadline`."""
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
def listen(state: State, bus: EventBus) -> Iterator[RequestAudio]:
    """Keep the source open until the block ends; audio counts from now on.

    Raises `ModelError`, reason `not_ready`, if a thread has died, so that no audio would ever arrive.
    """
    if not state.live.alive:
        raise ModelError("the capture or the worker thread has died; restart the daemon, and see its log", "not_ready")
    with bus.subscribe() as inbox:
        live = state.live
        live.need()
        try:
            yield RequestAudio(inbox, live, live.mark())
        finally:
            state.live.release()  # after a reload this is another object, which has taken over the need
