"""What is heard, as the stream of events that a monitor gets."""

from __future__ import annotations

from collections.abc import AsyncIterator

from voiceauthd.pipeline.happening import SourceChanged, SourceState
from voiceauthd.service.hub import Inbox
from voiceauthd.service.replies import Reply, event_reply
from voiceauthd.service.state import State


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
    while (item := await inbox.get()) is not None:
        dropped, happening = item
        if dropped:
            sequence += dropped + 1
            yield _dropped(dropped, sequence, state), False
        event = event_reply(happening, state.rule, sequence + 1)
        if event is None:
            continue
        sequence += 1
        ended = isinstance(happening, SourceChanged) and happening.state is SourceState.ENDED
        yield event, ended
        if ended:
            return


def _dropped(count: int, sequence: int, state: State) -> Reply:
    return {"kind": "dropped", "sequence": sequence, "time": state.clock(), "count": count, "detail": "events"}
