"""The event stream of Monitor: the pipeline's events as they happen, and who speaks now."""

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
    """Yield each event (type Event of the interface), and whether it is the last, which only a finite source has.

    Events are numbered from 0. If this subscriber was too slow, events are missing: their numbers are skipped, and a
    `dropped` event says how many there were.
    """
    live = state.live
    sequence = 0
    yield {"kind": "started", "sequence": 0, "time": state.clock(), "detail": live.source.description}, False
    if live.ended:
        event = event_reply(live.state, state.rule, 1)
        assert event is not None
        yield event, True
        return
    tracker = Tracker(state.rule, state.config.monitor)
    while True:
        try:
            async with asyncio.timeout(_until_expiry(tracker)):
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
            tracker.events_lost()
        tracker.rule, tracker.config = state.rule, state.config.monitor
        ended = isinstance(pipeline_event, SourceChanged) and pipeline_event.state is SourceState.ENDED
        for outgoing in _in_order(pipeline_event, _track(tracker, pipeline_event)):
            if isinstance(outgoing, Label):
                event = speaker_reply(outgoing, state.rule, sequence + 1)
            else:
                event = event_reply(outgoing, state.rule, sequence + 1)
            if event is not None:
                sequence += 1
                yield event, ended and outgoing is pipeline_event
        if ended:
            return


def _until_expiry(tracker: Tracker) -> float | None:
    """Return the seconds until the label expires if no speech follows; None if it does not expire."""
    return None if tracker.expires is None else max(0.0, tracker.expires - time.monotonic())


def _track(tracker: Tracker, pipeline_event: PipelineEvent) -> Label | None:
    """Return the new label, if this event changes it."""
    match pipeline_event:
        case ScoredWindow():
            return tracker.add_scored(pipeline_event.window, pipeline_event.scores, pipeline_event.identified)
        case RefusedWindow() | FailedWindow():
            return tracker.add_unscored(pipeline_event.window)
        case SpeechBegan():
            return tracker.speech_began(pipeline_event)
        case SpeechEnded():
            return tracker.speech_ended(pipeline_event)
        case SourceChanged(state=SourceState.OPENING | SourceState.ENDED):
            # After a reload there may be another capture thread, which counts utterances from the beginning. LOST needs
            # nothing: the current utterance ends, and SpeechEnded follows.
            return tracker.restart()
    return None


def _in_order(pipeline_event: PipelineEvent, label: Label | None) -> list[PipelineEvent | Label]:
    """Return the event and the label it caused in the order to send them.

    The label comes first if it refers to the time before the event, which is so when speech begins or the source
    changes.
    """
    if label is None:
        return [pipeline_event]
    if isinstance(pipeline_event, SpeechBegan | SourceChanged):
        return [label, pipeline_event]
    return [pipeline_event, label]


def _dropped(count: int, sequence: int, state: State) -> Reply:
    return {"kind": "dropped", "sequence": sequence, "time": state.clock(), "count": count, "detail": "events"}
