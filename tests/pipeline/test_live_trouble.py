"""The two threads in trouble: sources that fail, models that fail, and a stop at any time."""

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
    Published,
    ScriptedModel,
    ScriptedSource,
    axis,
    following,
    one_block,
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
STOP_DEADLINE = 1.0
"""Seconds within which a stop must return."""


# The source


def test_a_lost_source_is_published_and_opened_again(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.3, 1.7))
        published.wait_for_windows(1)
        source.play(GONE)
        published.wait_for_state(SourceState.OPEN, times=2)
        again = talk(0.3, 1.7, QUIET, first=100 * RATE)
        source.play(Block(again, 100 * RATE, time.monotonic(), gap=True))
        scored = published.wait_for_windows(2)
        assert live.counters().reopened == 1
    assert published.states() == [SourceState.OPENING, SourceState.OPEN, SourceState.LOST, SourceState.OPEN]
    assert SourceChanged(SourceState.LOST, str(GONE)) in published.events
    assert [begin >= 100 * RATE for begin, _ in places(scored)] == [False, True]


def test_the_utterance_ends_where_the_source_was_lost(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published):
        source.say(talk(0.3, 2.2))
        source.play(GONE)
        published.wait_for_event(SpeechEnded)
        (*_, tail) = published.wait_for_windows(2)
    assert places([tail])[0][1] == len(talk(0.3, 2.2)) - 1
    ended = next(each for each in published.events if isinstance(each, SpeechEnded))
    assert tail.window.captured < ended.captured


@pytest.mark.parametrize("opens", [False, True])
def test_the_backoff_grows_with_every_failure(model: ScriptedModel, published: Published, opens: bool) -> None:
    source = ScriptedSource()
    if opens:  # it opens, but is lost before the first block
        source.play(*[GONE] * 5)
    else:
        source.open_errors = [GONE] * 5
    with following(source, model, published, audio=AudioConfig(backoff=0.05, backoff_limit=0.2)) as live:
        wait_until(lambda: len(source.opened) == 6)
        waits = [later - earlier for earlier, later in pairwise(source.opened)]
        assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.2, 0.2), strict=True)), waits
        source.say(talk(0.3))
        wait_until(lambda: live.state.state is SourceState.OPEN)


def test_a_missing_microphone_is_logged_once_until_it_has_worked_again(
    model: ScriptedModel, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedSource()
    source.open_errors = [GONE] * 4
    with following(source, model, published, audio=AudioConfig(backoff=0.01, backoff_limit=0.02)):
        wait_until(lambda: len(source.opened) == 5)
        warned = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == 1
        assert str(GONE) in warned[0].message
        source.say(talk(0.3))
        source.play(GONE)
        wait_until(lambda: len(source.opened) == 6)
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


def test_a_device_that_opens_but_delivers_nothing_does_not_reset_the_backoff(
    model: ScriptedModel, published: Published
) -> None:
    source = ScriptedSource()
    source.play(GONE, GONE)
    with following(source, model, published, audio=AudioConfig(backoff=0.05, backoff_limit=1.0)):
        wait_until(lambda: len(source.opened) == 3)
        before = len(source.opened)
        time.sleep(0.3)  # longer than one `read`, which returns nothing
        source.play(GONE)
        lost = time.monotonic()
        wait_until(lambda: len(source.opened) == before + 1)
        assert source.opened[-1] - lost >= 0.2


def test_a_lost_source_that_nobody_needs_is_not_opened_again(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    source.open_errors = [GONE] * 1000
    with following(source, model, published, audio=AudioConfig(backoff=0.05, backoff_limit=0.05)) as live:
        published.wait_for_state(SourceState.LOST)
        live.release()
        published.wait_for_state(SourceState.CLOSED)
        tries = len(source.opened)
        time.sleep(0.2)
        assert len(source.opened) == tries


def test_a_damaged_recording_is_processed_up_to_the_damage(model: ScriptedModel, published: Published) -> None:
    damage = AudioError("talk.flac: damaged after 2.50 s")
    sound = talk(0.3, 2.2)
    with following(ScriptedSource(one_block(sound), damage, live=False), model, published) as live:
        published.wait_for_state(SourceState.ENDED)
        assert live.failure is damage
        assert live.state.detail == str(damage)
        live.need()
        assert live.alive
    assert places(published.scored())[-1][1] == len(sound) - 1
    assert [type(each) for each in published.events[-2:]] == [SpeechEnded, SourceChanged]
    assert sum(isinstance(each, SpeechBegan) for each in published.events) == 1


def test_a_recording_that_cannot_be_opened_ends(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource(live=False)
    source.open_errors = [AudioError("talk.flac: no such file")]
    with following(source, model, published):
        published.wait_for_state(SourceState.ENDED)
        time.sleep(0.1)
        assert len(source.opened) == 1


def test_an_unexpected_error_in_a_source_ends_the_thread_and_closes_the_source(
    model: ScriptedModel, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedSource(RuntimeError("an unexpected error"))
    with caplog.at_level(logging.ERROR), following(source, model, published) as live:
        wait_until(lambda: not live.alive)
        assert not source.is_open
        stopped_at = live.capture_alive
        wait_until(lambda: live.worker_alive > stopped_at + 0.3)
        assert live.capture_alive == stopped_at
    assert "the capture thread died" in caplog.text


# The model


def failing(way: str, model: ScriptedModel) -> None:
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
def test_failures_of_the_model_are_published_and_the_worker_goes_on(
    model: ScriptedModel, published: Published, way: str
) -> None:
    failing(way, model)
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.3, 4.5, QUIET))
        published.wait(lambda events: sum(isinstance(each, FailedWindow) for each in events) == 3)
        assert published.scored() == []
        assert live.alive
        model.answer = model.right
        source.say(talk(0.3, 1.7, QUIET))
        published.wait_for_windows(1)
        counters = live.counters()
    assert (counters.failed, counters.cut) == (3, counters.embedded + 3)


def test_a_failure_is_published_in_order(model: ScriptedModel, published: Published) -> None:
    model.may_run.clear()

    def answer(clips: Sequence[Samples]) -> list[Embedding]:
        if len(clips) > 1 or len(model.batches) == 3:
            raise ModelError("one of these windows is bad")
        return model.right(clips)

    model.answer = answer
    source = ScriptedSource(one_block(talk(0.3, 7.5, QUIET)))
    with following(source, model, published, queue=QueueConfig(windows=16, batch=8)) as live:
        wait_until(lambda: live.counters().cut == 5)
        model.may_run.set()
        published.wait_for_event(SpeechEnded)
    results = [each for each in published.events if isinstance(each, ScoredWindow | FailedWindow)]
    assert [type(each) for each in results] == [ScoredWindow, FailedWindow, ScoredWindow, ScoredWindow, ScoredWindow]
    ends = [each.window.end for each in results]
    assert ends == sorted(ends)


# The gate


CLOSED = replace(OPEN, min_level_dbfs=0.0)


def test_a_refused_window_is_published_in_order_and_costs_no_forward(
    model: ScriptedModel, published: Published
) -> None:
    source = ScriptedSource()
    with following(source, model, published, gate=CLOSED) as live:
        source.say(talk(0.3, 4.5, QUIET))
        published.wait_for_event(SpeechEnded)
        assert live.alive
        assert model.batches == []
        live.use(recogniser(model, OPEN))
        source.say(talk(0.3, 1.7, QUIET))
        published.wait_for_windows(1)
        wait_until(lambda: live.counters().embedded == 1)
        counters = live.counters()
    results = published.results()
    assert [type(each) for each in results] == [RefusedWindow] * 3 + [ScoredWindow]
    assert {each.reason for each in results if isinstance(each, RefusedWindow)} == {"too_quiet"}
    ends = [published.events.index(each) for each in published.events if isinstance(each, SpeechEnded)]
    assert max(map(published.events.index, results[:3])) < ends[0], "windows come before the end of their utterance"
    assert (counters.cut, counters.refused, counters.embedded, counters.failed) == (4, 3, 1, 0)
    assert len(counters.latencies) == len(counters.forwards) == 1


# Stopping


@pytest.mark.parametrize("what", ["idle", "reading", "backoff", "a full queue"])
def test_stop_is_prompt_whatever_the_threads_do(model: ScriptedModel, published: Published, what: str) -> None:
    source = ScriptedSource(live=what != "a full queue")
    if what == "backoff":
        source.open_errors = [GONE] * 10
    audio = AudioConfig(backoff=60.0, backoff_limit=60.0)
    with following(
        source, model, published, audio=audio, needed=what != "idle", queue=QueueConfig(windows=1, batch=1)
    ) as live:
        if what == "reading":
            published.wait_for_state(SourceState.OPEN)
        elif what == "backoff":
            published.wait_for_state(SourceState.LOST)
        elif what == "a full queue":

            def slow(clips: Sequence[Samples]) -> list[Embedding]:
                time.sleep(0.3)
                return model.right(clips)

            model.answer = slow
            source.play(one_block(talk(0.3, 60.0)))
            wait_until(lambda: live.counters().cut > live.counters().embedded + 2)
        began = time.monotonic()
        assert live.stop(STOP_DEADLINE)
        assert time.monotonic() - began < STOP_DEADLINE
        assert not live.alive
        assert not source.is_open


@pytest.mark.parametrize("what", ["open", "the model"])
def test_stop_does_not_wait_for_a_call_that_hangs_and_returns_false(
    model: ScriptedModel, published: Published, what: str
) -> None:
    source = ScriptedSource()
    if what == "open":
        source.may_open.clear()
    else:
        model.may_run.clear()
        source.say(talk(0.3, 2.0))
    with following(source, model, published) as live:
        if what == "open":
            wait_until(lambda: len(source.opened) == 1)
        else:
            assert model.busy.wait(DEADLINE)
        began = time.monotonic()
        assert not live.stop(0.3)
        assert time.monotonic() - began < STOP_DEADLINE
        source.may_open.set()
        model.may_run.set()
        wait_until(lambda: not source.is_open and not live.alive)


def test_stop_without_start_and_twice() -> None:
    source, model, published = ScriptedSource(), ScriptedModel(), Published()
    with following(source, model, published) as live:
        assert live.stop(STOP_DEADLINE)
        assert live.stop(STOP_DEADLINE)
