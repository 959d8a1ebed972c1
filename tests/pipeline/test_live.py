"""The two threads at work: from a source that is needed to what is published."""

from __future__ import annotations

import numpy as np
import pytest
from live_parts import (
    DEADLINE,
    MODEL,
    OPEN,
    RULE,
    Model,
    Script,
    World,
    as_one,
    axis,
    following,
    obedient_segmenter,
    places,
    profile,
    recogniser,
    talk,
    wait_until,
)

from voiceauthd.audio.block import RATE, Block
from voiceauthd.config.schema import AudioConfig, QueueConfig
from voiceauthd.pipeline.events import PipelineEvent, SourceChanged, SourceState, WindowsDropped
from voiceauthd.pipeline.recogniser import Recogniser, ScoredWindow, follow
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

QUIET = 0.6
"""Seconds of silence that end an utterance."""


def kinds(seen: list[PipelineEvent]) -> list[str]:
    return [each.state.value if isinstance(each, SourceChanged) else type(each).__name__ for each in seen]


# When it listens


def test_it_listens_while_somebody_needs_it(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world, needed=False) as live:
        assert live.state.state is SourceState.CLOSED
        assert not source.opened
        live.need()
        live.need()
        world.wait_for_state(SourceState.OPEN)
        live.release()
        source.say(talk(0.2, 2.0, QUIET))
        world.wait_for_windows(1)
        assert source.is_open
        live.release()
        world.wait_for_state(SourceState.CLOSED)
        assert source.closed.wait(DEADLINE)
        live.need()
        world.wait_for_state(SourceState.OPEN, times=2)
    assert world.states() == [
        SourceState.OPENING,
        SourceState.OPEN,
        SourceState.CLOSED,
        SourceState.OPENING,
        SourceState.OPEN,
    ]


def test_closing_it_ends_the_utterance(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.2, 2.1))
        world.wait_for_windows(1)
        live.release()
        world.wait(lambda seen: any(isinstance(each, SpeechEnded) for each in seen))


def test_a_microphone_that_was_closed_has_forgotten_how_loud_the_room_was(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(1.5, 2.0, QUIET))
        (before, *_) = world.wait_for_windows(1)
        assert before.window.quality.snr_db is not None
        world.wait(lambda seen: any(isinstance(each, SpeechEnded) for each in seen))  # nothing of it is left to read
        live.release()
        world.wait_for_state(SourceState.CLOSED)
        live.need()
        source.say(talk(0.0, 2.0, QUIET, first=round(60.0 * RATE)))
        again = before.window.utterance + 1
        world.wait(lambda seen: any(isinstance(each, ScoredWindow) and each.window.utterance == again for each in seen))
    (after, *_) = [each for each in world.heard() if each.window.utterance == again]
    assert after.window.quality.snr_db is None


@pytest.mark.parametrize("way", ["a pipe", "always on"])
def test_what_must_be_read_all_the_time_is(model: Model, world: World, way: str) -> None:
    source = Script()
    source.held_open = way == "a pipe"
    with following(source, model, world, needed=False, audio=AudioConfig(always_on=way == "always on")):
        source.say(talk(0.2, 2.0))
        world.wait_for_windows(1)


# What it hears


def test_it_hears_what_is_heard_offline(model: Model, world: World) -> None:
    sound = talk(0.3, 4.2, 0.9, 1.7, 0.2, 0.9, QUIET)
    blocks = [
        Block(sound[at : at + 333], at, 100.0 + min(at + 333, len(sound)) / RATE) for at in range(0, len(sound), 333)
    ]
    offline = [
        each for each in follow(blocks, obedient_segmenter(), recogniser(Model())) if isinstance(each, ScoredWindow)
    ]
    source = Script(*blocks, EOFError("the end"), live=False)
    with following(source, model, world):
        world.wait_for_state(SourceState.ENDED)
    heard = world.heard()
    assert len(heard) == len(offline) >= 5
    for one, other in zip(heard, offline, strict=True):
        assert np.array_equal(one.window.samples, other.window.samples)
        assert np.array_equal(one.embedding.vector, other.embedding.vector)
        for name in ("start", "end", "captured", "utterance", "quality", "new_speech"):
            assert getattr(one.window, name) == getattr(other.window, name)
        assert one.scores == other.scores
        assert one.identified == other.identified


def test_everything_is_published_in_its_order(model: Model, world: World) -> None:
    sound = talk(0.3, 2.0, QUIET, 1.5, QUIET)
    with following(Script(as_one(sound), EOFError("the end"), live=False), model, world):
        world.wait_for_state(SourceState.ENDED)
    # The state of the source and the beginnings may overtake the windows that wait, nothing else may.
    behind = [kind for kind in kinds(world.seen) if kind not in ("opening", "open", "SpeechBegan")]
    assert behind == ["ScoredWindow", "ScoredWindow", "SpeechEnded", "ScoredWindow", "SpeechEnded", "ended"]
    for ended in (each for each in world.seen if isinstance(each, SpeechEnded)):
        began = next(
            index
            for index, each in enumerate(world.seen)
            if isinstance(each, SpeechBegan) and each.utterance == ended.utterance
        )
        inside = [
            index
            for index, each in enumerate(world.seen)
            if isinstance(each, ScoredWindow) and each.window.utterance == ended.utterance
        ]
        assert began < min(inside)
        assert max(inside) < world.seen.index(ended)


def test_the_voice_is_told_with_its_delay(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.2, 2.0, QUIET))
        (heard, *_) = world.wait_for_windows(1)
        assert heard.identified.identity == "anna"
        wait_until(lambda: live.counters().embedded >= 1)
        counters = live.counters()
    assert len(counters.latencies) == len(counters.forwards) == counters.embedded
    assert all(0.0 <= latency < DEADLINE for latency in counters.latencies)


def test_another_recogniser_takes_over_from_the_next_batch(model: Model, world: World) -> None:
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.2, 1.7, QUIET))
        world.wait_for_windows(1)
        live.use(Recogniser(model, make_gallery([profile("cleo", axis(0))], MODEL), RULE, OPEN))
        source.say(talk(0.2, 1.7, QUIET))
        heard = world.wait_for_windows(2)
    assert [each.identified.identity for each in heard] == ["anna", "cleo"]


# When the model is slow


def test_a_microphone_drops_the_oldest_windows_and_counts_them(model: Model, world: World) -> None:
    model.gate.clear()
    source = Script(live=True)
    with following(source, model, world, queue=QueueConfig(windows=3, batch=1)) as live:
        source.say(talk(0.3, 3.0))
        assert model.busy.wait(DEADLINE)  # the first window is in the model's hands
        wait_until(lambda: live.counters().depth == 1)
        source.say(talk(0.0, 9.0, first=round(3.3 * RATE)))
        wait_until(lambda: live.counters().cut == 8)
        counters = live.counters()
        assert (counters.depth, counters.dropped) == (3, 4)
        model.gate.set()
        heard = world.wait_for_windows(4)
    dropped = [each.count for each in world.seen if isinstance(each, WindowsDropped)]
    assert dropped == [1, 1, 1, 1]
    # Eight windows, of which the first was on its way; the newest three are left.
    ends = [round((last + 1) / RATE - 0.08, 2) for _, last in places(heard)]
    assert ends == [1.5, 9.0, 10.5, 12.0]


def test_a_recording_waits_and_loses_nothing(model: Model, world: World) -> None:
    model.gate.clear()
    sound = talk(0.3, 12.0, QUIET)
    source = Script(as_one(sound), EOFError("the end"), live=False)
    with following(source, model, world, queue=QueueConfig(windows=2, batch=2)) as live:
        assert model.busy.wait(DEADLINE)
        wait_until(lambda: live.counters().depth == 2)
        before = live.capture_alive
        wait_until(lambda: live.capture_alive > before + 0.2)  # it waits, and shows that it is alive
        assert live.counters().depth == 2
        model.gate.set()
        world.wait_for_state(SourceState.ENDED)
        counters = live.counters()
    assert counters.cut == counters.embedded == len(world.heard()) >= 8
    assert counters.dropped == 0
    assert not [each for each in world.seen if isinstance(each, WindowsDropped)]
    ends = [last for _, last in places(world.heard())]
    assert ends == sorted(set(ends))


def test_windows_of_equal_length_that_wait_are_embedded_together(model: Model, world: World) -> None:
    model.gate.clear()
    with following(
        Script(as_one(talk(0.3, 10.5, QUIET))), model, world, queue=QueueConfig(windows=16, batch=4)
    ) as live:
        wait_until(lambda: live.counters().cut == 7)
        model.gate.set()
        heard = world.wait_for_windows(7)
    assert [len(batch) for batch in model.batches] == [1, 4, 2]
    assert all(len(set(batch)) == 1 for batch in model.batches)
    ends = [each.window.end for each in heard]
    assert ends == sorted(ends)


# Signs of life


@pytest.mark.parametrize("needed", [False, True])
def test_both_threads_show_that_they_are_alive_while_nothing_happens(model: Model, world: World, needed: bool) -> None:
    with following(Script(), model, world, needed=needed) as live:
        for _ in range(2):
            capture, worker = live.capture_alive, live.worker_alive
            wait_until(lambda c=capture, w=worker: live.capture_alive > c and live.worker_alive > w)  # type: ignore[misc]
        assert live.alive


def test_a_model_that_hangs_shows(model: Model, world: World) -> None:
    model.gate.clear()
    source = Script()
    with following(source, model, world) as live:
        source.say(talk(0.2, 2.0, QUIET))
        assert model.busy.wait(DEADLINE)
        worker, capture = live.worker_alive, live.capture_alive
        wait_until(lambda: live.capture_alive > capture + 0.6)
        assert live.worker_alive == worker
