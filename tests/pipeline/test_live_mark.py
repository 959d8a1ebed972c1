"""A request begins: only what is said from then on counts for it."""

from __future__ import annotations

import time

import pytest
from live_parts import Model, Script, World, following, places, talk, wait_until

from voiceauthd.audio.block import RATE, Block
from voiceauthd.pipeline.events import MarkReached, SourceState
from voiceauthd.pipeline.recogniser import ScoredWindow
from voiceauthd.speech.window import SpeechEnded

QUIET = 0.6
"""Seconds of silence that end an utterance."""


def mark_between(model: Model, world: World, before: float) -> tuple[list[ScoredWindow], int, int]:
    """Somebody speaks on and on, and a request begins after `before` seconds of it.

    Returns what counts for it, and the place of the first sample that was heard wholly after the request began.
    """
    source = Script()
    sound = talk(1.0, 12.0, QUIET)
    at = round((1.0 + before) * RATE)
    with following(source, model, world) as live:
        world.wait_for_state(SourceState.OPEN)
        source.play(Block(sound[:at], 0, time.monotonic()))
        number = live.mark()
        now = time.monotonic()
        # What comes after the mark but was heard before it, a block that was heard half before, and then the rest.
        late, half = at + RATE // 2, at + RATE // 2 + 800
        source.play(Block(sound[at:late], at, now - 0.3))
        source.play(Block(sound[late:half], late, now + 0.02))
        for begin in range(half, len(sound), 320):
            piece = sound[begin : begin + 320]
            source.play(Block(piece, begin, now + 0.02 + (begin + len(piece) - half) / RATE))
        world.wait(lambda seen: MarkReached in map(type, seen))
        listening = next(each for each in world.seen if isinstance(each, MarkReached))
        assert listening.mark == number
        world.wait(
            lambda seen: any(isinstance(e, SpeechEnded) and e.utterance > listening.after_utterance for e in seen)
        )
    counting = [each for each in world.heard() if each.window.utterance > listening.after_utterance]
    return counting, half, listening.after_utterance


@pytest.mark.parametrize("before", [-0.6, -0.5, -0.2, 0.4, 1.45, 2.2, 4.0])
def test_no_sound_from_before_a_request_counts_for_it(model: Model, world: World, before: float) -> None:
    counting, first, after_utterance = mark_between(model, world, before)
    assert len(counting) >= 4
    assert all(begin >= first for begin, _ in places(counting))
    others = [each for each in world.heard() if each.window.utterance <= after_utterance]
    assert all(last < first for _, last in places(others))


def test_windows_that_waited_when_a_request_began_do_not_count_for_it(model: Model, world: World) -> None:
    model.gate.clear()
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.3, 3.5))
        wait_until(lambda: live.counters().cut >= 2)
        live.mark()
        source.play(Block(talk(0.0, 2.0, first=100 * RATE), 100 * RATE, time.monotonic() + 3.0))
        world.wait(lambda seen: MarkReached in map(type, seen))
        listening = next(each for each in world.seen if isinstance(each, MarkReached))
        model.gate.set()
        heard = world.wait_for_windows(4)
    old = [each.window.utterance <= listening.after_utterance for each in heard]
    assert old == [begin < 100 * RATE for begin, _ in places(heard)]
    assert old.count(False) == 1


def test_requests_at_the_same_time_each_learn_that_it_listens(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world) as live:
        numbers = [live.mark(), live.mark(), live.mark()]
        assert len(set(numbers)) == 3
        source.play(Block(talk(0.5), 0, time.monotonic() + 10.0))
        world.wait(lambda seen: [each.mark for each in seen if isinstance(each, MarkReached)] == numbers)


def test_a_request_at_the_end_of_a_recording_learns_it(model: Model, world: World) -> None:
    with following(Script(EOFError("the end"), live=False), model, world) as live:
        world.wait_for_state(SourceState.ENDED)
        number = live.mark()
        world.wait(lambda seen: number in [each.mark for each in seen if isinstance(each, MarkReached)])
