"""What is heard, as the stream of events that a monitor gets: each thing as it is heard, and who speaks now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from voiceauthd.pipeline.events import PipelineEvent, SourceChanged, SourceState
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.service.event_bus import Inbox
from voiceauthd.service.replies import Reply, event_reply, speaker_reply
from voiceauthd.service.state import State
from voiceauthd.speech.window import SpeechBegan, SpeechEnded
from voiceauthd.tracking.tracker import Label, Tracker


async def events(inbox: Inbox, state: State) -> AsyncIterator[tuple[Reply, bool]]:
    """Each event, type Event of the interface, and whether it is the last; a finite source has a last one.

    `inbox` must have been subscribed before. Events are numbered from 0; the numbers of those that were dropped because
    this subscriber was slow are left out, and a `dropped` event in their place tells how many.
    """
    live = state.live
    sequence = 0
    yield {"kind": "started", "sequence": 0, "time": state.clock(), "detail": live.source.description}, False
    if live.over:
        event = event_reply(live.state, state.rule, 1)
        assert event is not None
        yield event, True
        return
    tracker = Tracker(state.rule, state.config.monitor)
    while True:
        try:
            async with asyncio.timeout(_patience(tracker)):
                item = await inbox.get()
        except TimeoutError:
            label = tracker.silence()
            if label is not None:
                sequence += 1
                yield speaker_reply(label, state.rule, sequence), False
            continue
        if item is None:
            return
        dropped, pipeline_event = item
        if dropped:
            sequence += dropped + 1
            yield _dropped(dropped, sequence, state), False
            tracker.lost()
        tracker.rule, tracker.config = state.rule, state.config.monitor
        ended = isinstance(pipeline_event, SourceChanged) and pipeline_event.state is SourceState.ENDED
        for told in _in_order(pipeline_event, _follow(tracker, pipeline_event)):
            if isinstance(told, Label):
                event = speaker_reply(told, state.rule, sequence + 1)
            else:
                event = event_reply(told, state.rule, sequence + 1)
            if event is not None:
                sequence += 1
                yield event, ended and told is pipeline_event
        if ended:
            return


def _patience(tracker: Tracker) -> float | None:
    """Seconds until the label is withdrawn if nothing is heard; None: it is not."""
    return None if tracker.expires is None else max(0.0, tracker.expires - time.monotonic())


def _follow(tracker: Tracker, pipeline_event: PipelineEvent) -> Label | None:
    """The new label, if this brings one about."""
    match pipeline_event:
        case ScoredWindow():
            return tracker.hear(pipeline_event.window, pipeline_event.scores, pipeline_event.identified)
        case RefusedWindow() | FailedWindow():
            return tracker.miss(pipeline_event.window)
        case SpeechBegan():
            return tracker.began(pipeline_event)
        case SpeechEnded():
            return tracker.ended(pipeline_event)
        case SourceChanged(state=SourceState.OPENING | SourceState.ENDED):
            # A reload may have put another capture in place, which counts from the beginning. A source that is lost
            # needs nothing: the utterance that was under way ends, and its end is told.
            return tracker.restart()
    return None


def _in_order(pipeline_event: PipelineEvent, label: Label | None) -> list[PipelineEvent | Label]:
    """A label that ends a silence, or the stream, comes before what tells so; else it follows from what was heard."""
    if label is None:
        return [pipeline_event]
    if isinstance(pipeline_event, SpeechBegan | SourceChanged):
        return [label, pipeline_event]
    return [pipeline_event, label]


def _dropped(count: int, sequence: int, state: State) -> Reply:
    return {"kind": "dropped", "sequence": sequence, "time": state.clock(), "count": count, "detail": "events"}
