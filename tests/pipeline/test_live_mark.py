"""Marks: only speech after a request began counts for it."""

from __future__ import annotations

import time

import pytest
from live_parts import Published, ScriptedModel, ScriptedSource, following, places, talk, wait_until

from voiceauthd.audio.block import RATE, Block
from voiceauthd.pipeline.events import MarkReached, SourceState
from voiceauthd.pipeline.recogniser import ScoredWindow
from voiceauthd.speech.window import SpeechEnded

QUIET = 0.6
"""Seconds of silence that end an utterance."""


def mark_between(model: ScriptedModel, published: Published, before: float) -> tuple[list[ScoredWindow], int, int]:
    """Set a mark after `before` seconds of long speech.

    Returns the windows that count for it, the number of the first sample in a block captured completely after the mark,
    and the last utterance that does not count.
    """
    source = ScriptedSource()
    sound = talk(1.0, 12.0, QUIET)
    at = round((1.0 + before) * RATE)
    with following(source, model, published) as live:
        published.wait_for_state(SourceState.OPEN)
        source.play(Block(sound[:at], 0, time.monotonic()))
        number = live.mark()
        now = time.monotonic()
        # A block that is read after the mark but was captured before it, one captured half before, and the rest.
        late, half = at + RATE // 2, at + RATE // 2 + 800
        source.play(Block(sound[at:late], at, now - 0.3))
        source.play(Block(sound[late:half], late, now + 0.02))
        for begin in range(half, len(sound), 320):
            piece = sound[begin : begin + 320]
            source.play(Block(piece, begin, now + 0.02 + (begin + len(piece) - half) / RATE))
        published.wait_for_event(MarkReached)
        reached = next(each for each in published.events if isinstance(each, MarkReached))
        assert reached.mark == number
        published.wait(
            lambda events: any(isinstance(e, SpeechEnded) and e.utterance > reached.after_utterance for e in events)
        )
    counting = [each for each in published.scored() if each.window.utterance > reached.after_utterance]
    return counting, half, reached.after_utterance


@pytest.mark.parametrize("before", [-0.6, -0.5, -0.2, 0.4, 1.45, 2.2, 4.0])
def test_no_audio_from_before_a_request_counts_for_it(
    model: ScriptedModel, published: Published, before: float
) -> None:
    counting, first, after_utterance = mark_between(model, published, before)
    assert len(counting) >= 4
    assert all(begin >= first for begin, _ in places(counting))
    others = [each for each in published.scored() if each.window.utterance <= after_utterance]
    assert all(last < first for _, last in places(others))


def test_windows_already_waiting_when_a_request_begins_do_not_count_for_it(
    model: ScriptedModel, published: Published
) -> None:
    model.may_run.clear()
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.3, 3.5))
        wait_until(lambda: live.counters().cut >= 2)
        live.mark()
        source.play(Block(talk(0.0, 2.0, first=100 * RATE), 100 * RATE, time.monotonic() + 3.0))
        published.wait_for_event(MarkReached)
        reached = next(each for each in published.events if isinstance(each, MarkReached))
        model.may_run.set()
        scored = published.wait_for_windows(4)
    old = [each.window.utterance <= reached.after_utterance for each in scored]
    assert old == [begin < 100 * RATE for begin, _ in places(scored)]
    assert old.count(False) == 1


def test_each_of_several_marks_set_at_once_is_reached(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published) as live:
        numbers = [live.mark(), live.mark(), live.mark()]
        assert len(set(numbers)) == 3
        source.play(Block(talk(0.5), 0, time.monotonic() + 10.0))
        published.wait(lambda events: [each.mark for each in events if isinstance(each, MarkReached)] == numbers)


def test_a_mark_after_the_end_of_a_recording_is_reached(model: ScriptedModel, published: Published) -> None:
    with following(ScriptedSource(EOFError("the end"), live=False), model, published) as live:
        published.wait_for_state(SourceState.ENDED)
        number = live.mark()
        published.wait(lambda events: number in [each.mark for each in events if isinstance(each, MarkReached)])
