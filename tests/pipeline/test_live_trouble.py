"""The two threads in trouble: sources that vanish, models that fail, and being told to stop in the middle of it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from live_parts import (
    DEADLINE,
    MODEL,
    OPEN,
    Model,
    Script,
    World,
    as_one,
    axis,
    following,
    places,
    recogniser,
    talk,
    wait_until,
)

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import AudioConfig, QueueConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.errors import AudioError, ModelError, SourceError
from voiceauthd.pipeline.events import SourceChanged, SourceState
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

QUIET = 0.6
GONE = SourceError("the microphone is gone", "device_lost")
PROMPT = 1.0
"""Seconds within which it must have stopped."""


# The source


def test_a_source_that_is_lost_is_opened_again_and_told(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.3, 1.7))
        world.wait_for_windows(1)
        source.play(GONE)
        world.wait_for_state(SourceState.OPEN, times=2)
        again = talk(0.3, 1.7, QUIET, first=100 * RATE)
        source.play(Block(again, 100 * RATE, time.monotonic(), gap=True))
        heard = world.wait_for_windows(2)
        assert live.counters().reopened == 1
    assert world.states() == [SourceState.OPENING, SourceState.OPEN, SourceState.LOST, SourceState.OPEN]
    assert SourceChanged(SourceState.LOST, str(GONE)) in world.seen
    assert [begin >= 100 * RATE for begin, _ in places(heard)] == [False, True]


def test_the_utterance_ends_where_the_source_was_lost(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world):
        source.say(talk(0.3, 2.2))
        source.play(GONE)
        world.wait(lambda seen: any(isinstance(each, SpeechEnded) for each in seen))
        (*_, tail) = world.wait_for_windows(2)
    assert places([tail])[0][1] == len(talk(0.3, 2.2)) - 1
    ended = next(each for each in world.seen if isinstance(each, SpeechEnded))
    assert tail.window.captured < ended.captured


@pytest.mark.parametrize("dumb", [False, True])
def test_it_waits_longer_from_try_to_try(model: Model, world: World, dumb: bool) -> None:
    source = Script()
    if dumb:  # it opens, gives no sound, and is gone
        source.play(*[GONE] * 5)
    else:
        source.refusals = [GONE] * 5
    with following(source, model, world, audio=AudioConfig(backoff=0.05, backoff_limit=0.2)) as live:
        wait_until(lambda: len(source.opened) == 6)
        waits = [later - earlier for earlier, later in pairwise(source.opened)]
        assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.2, 0.2), strict=True)), waits
        source.say(talk(0.3))
        wait_until(lambda: live.state.state is SourceState.OPEN)


def test_a_device_that_opens_without_a_sound_is_not_back(model: Model, world: World) -> None:
    source = Script()
    source.play(GONE, GONE)
    with following(source, model, world, audio=AudioConfig(backoff=0.05, backoff_limit=1.0)):
        wait_until(lambda: len(source.opened) == 3)
        before = len(source.opened)
        time.sleep(0.3)  # longer than one `read`, which gives nothing
        source.play(GONE)
        lost = time.monotonic()
        wait_until(lambda: len(source.opened) == before + 1)
        assert source.opened[-1] - lost >= 0.2


def test_a_lost_source_that_nobody_needs_is_left_alone(model: Model, world: World) -> None:
    source = Script()
    source.refusals = [GONE] * 1000
    with following(source, model, world, audio=AudioConfig(backoff=0.05, backoff_limit=0.05)) as live:
        world.wait_for_state(SourceState.LOST)
        live.release()
        world.wait_for_state(SourceState.CLOSED)
        tries = len(source.opened)
        time.sleep(0.2)
        assert len(source.opened) == tries


def test_a_recording_that_is_damaged_ends_with_what_was_before(model: Model, world: World) -> None:
    damage = AudioError("talk.flac: damaged after 2.50 s")
    sound = talk(0.3, 2.2)
    with following(Script(as_one(sound), damage, live=False), model, world) as live:
        world.wait_for_state(SourceState.ENDED)
        assert live.failure is damage
        assert live.state.detail == str(damage)
        live.need()
        assert live.alive
    assert places(world.heard())[-1][1] == len(sound) - 1
    assert [type(each) for each in world.seen[-2:]] == [SpeechEnded, SourceChanged]
    assert sum(isinstance(each, SpeechBegan) for each in world.seen) == 1


def test_a_recording_that_cannot_be_opened_ends(model: Model, world: World) -> None:
    source = Script(live=False)
    source.refusals = [AudioError("talk.flac: no such file")]
    with following(source, model, world):
        world.wait_for_state(SourceState.ENDED)
        time.sleep(0.1)
        assert len(source.opened) == 1


def test_a_defect_in_a_source_shows_and_leaves_it_closed(
    model: Model, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    source = Script(RuntimeError("a defect"))
    with caplog.at_level(logging.ERROR), following(source, model, world) as live:
        wait_until(lambda: not live.alive)
        assert not source.is_open
        stopped_at = live.capture_alive
        wait_until(lambda: live.worker_alive > stopped_at + 0.3)
        assert live.capture_alive == stopped_at
    assert "the capture thread died" in caplog.text


# The model


def failing(way: str, model: Model) -> None:
    def answer(clips: Sequence[Samples]) -> object:
        match way:
            case "model error":
                raise ModelError("no")
            case "any error":
                raise ZeroDivisionError
            case "nan":
                return [Embedding(axis(0) * np.float32(math.nan), MODEL) for _ in clips]
            case "too few":
                return []
            case _:
                return None

    model.answer = answer


@pytest.mark.parametrize("way", ["model error", "any error", "nan", "too few", "nothing"])
def test_a_model_that_fails_is_told_and_the_worker_lives(model: Model, world: World, way: str) -> None:
    failing(way, model)
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.3, 4.5, QUIET))
        world.wait(lambda seen: sum(isinstance(each, FailedWindow) for each in seen) == 3)
        assert world.heard() == []
        assert live.alive
        model.answer = model.right
        source.say(talk(0.3, 1.7, QUIET))
        world.wait_for_windows(1)
        counters = live.counters()
    assert (counters.failed, counters.cut) == (3, counters.embedded + 3)


def test_a_failure_has_its_place_in_the_order(model: Model, world: World) -> None:
    model.gate.clear()

    def answer(clips: Sequence[Samples]) -> list[Embedding]:
        if len(clips) > 1 or len(model.batches) == 3:
            raise ModelError("this one spoils the batch")
        return model.right(clips)

    model.answer = answer
    source = Script(as_one(talk(0.3, 7.5, QUIET)))
    with following(source, model, world, queue=QueueConfig(windows=16, batch=8)) as live:
        wait_until(lambda: live.counters().cut == 5)
        model.gate.set()
        world.wait(lambda seen: any(isinstance(each, SpeechEnded) for each in seen))
    results = [each for each in world.seen if isinstance(each, ScoredWindow | FailedWindow)]
    assert [type(each) for each in results] == [ScoredWindow, FailedWindow, ScoredWindow, ScoredWindow, ScoredWindow]
    ends = [each.window.end for each in results]
    assert ends == sorted(ends)


# The gate


CLOSED = replace(OPEN, min_level_dbfs=0.0)


def test_what_the_gate_refuses_is_told_in_its_place_and_costs_no_forward(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world, gate=CLOSED) as live:
        source.say(talk(0.3, 4.5, QUIET))
        world.wait(lambda seen: any(isinstance(each, SpeechEnded) for each in seen))
        assert live.alive
        assert model.batches == []
        live.use(recogniser(model, OPEN))
        source.say(talk(0.3, 1.7, QUIET))
        world.wait_for_windows(1)
        wait_until(lambda: live.counters().embedded == 1)
        counters = live.counters()
    results = world.results()
    assert [type(each) for each in results] == [RefusedWindow] * 3 + [ScoredWindow]
    assert {each.reason for each in results if isinstance(each, RefusedWindow)} == {"too_quiet"}
    ends = [world.seen.index(each) for each in world.seen if isinstance(each, SpeechEnded)]
    assert max(map(world.seen.index, results[:3])) < ends[0], "windows come before the end of their utterance"
    assert (counters.cut, counters.refused, counters.embedded, counters.failed) == (4, 3, 1, 0)
    assert len(counters.latencies) == len(counters.forwards) == 1


# Stopping


@pytest.mark.parametrize("what", ["idle", "reading", "backoff", "a full queue"])
def test_it_stops_at_once_whatever_it_does(model: Model, world: World, what: str) -> None:
    source = Script(live=what != "a full queue")
    if what == "backoff":
        source.refusals = [GONE] * 10
    audio = AudioConfig(backoff=60.0, backoff_limit=60.0)
    with following(
        source, model, world, audio=audio, needed=what != "idle", queue=QueueConfig(windows=1, batch=1)
    ) as live:
        if what == "reading":
            world.wait_for_state(SourceState.OPEN)
        elif what == "backoff":
            world.wait_for_state(SourceState.LOST)
        elif what == "a full queue":

            def slow(clips: Sequence[Samples]) -> list[Embedding]:
                time.sleep(0.3)
                return model.right(clips)

            model.answer = slow
            source.play(as_one(talk(0.3, 60.0)))
            wait_until(lambda: live.counters().cut > live.counters().embedded + 2)
        began = time.monotonic()
        assert live.stop(PROMPT)
        assert time.monotonic() - began < PROMPT
        assert not live.alive
        assert not source.is_open


@pytest.mark.parametrize("what", ["open", "the model"])
def test_what_hangs_does_not_hold_up_the_stop_and_is_told(model: Model, world: World, what: str) -> None:
    source = Script()
    if what == "open":
        source.slow.clear()
    else:
        model.gate.clear()
        source.say(talk(0.3, 2.0))
    with following(source, model, world) as live:
        if what == "open":
            wait_until(lambda: len(source.opened) == 1)
        else:
            assert model.busy.wait(DEADLINE)
        began = time.monotonic()
        assert not live.stop(0.3)
        assert time.monotonic() - began < PROMPT
        source.slow.set()
        model.gate.set()
        wait_until(lambda: not source.is_open and not live.alive)


def test_stop_without_start_and_twice() -> None:
    source, model, world = Script(), Model(), World()
    with following(source, model, world) as live:
        assert live.stop(PROMPT)
        assert live.stop(PROMPT)
