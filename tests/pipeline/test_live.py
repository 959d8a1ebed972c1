"""The two threads of the live pipeline, from a source that is needed to the published events."""

from __future__ import annotations

import numpy as np
import pytest
from live_parts import (
    DEADLINE,
    MODEL,
    OPEN,
    RULE,
    Published,
    ScriptedModel,
    ScriptedSource,
    axis,
    following,
    one_block,
    places,
    profile,
    recogniser,
    sign_segmenter,
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


def kinds(events: list[PipelineEvent]) -> list[str]:
    return [each.state.value if isinstance(each, SourceChanged) else type(each).__name__ for each in events]


# When the source is open


def test_the_source_is_open_while_somebody_needs_it(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published, needed=False) as live:
        assert live.state.state is SourceState.CLOSED
        assert not source.opened
        live.need()
        live.need()
        published.wait_for_state(SourceState.OPEN)
        live.release()
        source.say(talk(0.2, 2.0, QUIET))
        published.wait_for_windows(1)
        assert source.is_open
        live.release()
        published.wait_for_state(SourceState.CLOSED)
        assert source.closed.wait(DEADLINE)
        live.need()
        published.wait_for_state(SourceState.OPEN, times=2)
    assert published.states() == [
        SourceState.OPENING,
        SourceState.OPEN,
        SourceState.CLOSED,
        SourceState.OPENING,
        SourceState.OPEN,
    ]


def test_closing_the_source_ends_the_utterance(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.2, 2.1))
        published.wait_for_windows(1)
        live.release()
        published.wait_for_event(SpeechEnded)


def test_closing_the_source_forgets_the_noise_level_of_the_room(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(1.5, 2.0, QUIET))
        (before, *_) = published.wait_for_windows(1)
        assert before.window.quality.snr_db is not None
        published.wait_for_event(SpeechEnded)  # everything has been read
        live.release()
        published.wait_for_state(SourceState.CLOSED)
        live.need()
        source.say(talk(0.0, 2.0, QUIET, first=round(60.0 * RATE)))
        again = before.window.utterance + 1
        published.wait(
            lambda events: any(isinstance(each, ScoredWindow) and each.window.utterance == again for each in events)
        )
    (after, *_) = [each for each in published.scored() if each.window.utterance == again]
    assert after.window.quality.snr_db is None


@pytest.mark.parametrize("always_on", [False, True])
def test_a_pipe_and_an_always_on_microphone_are_read_without_need(
    model: ScriptedModel, published: Published, always_on: bool
) -> None:
    source = ScriptedSource()
    source.held_open = not always_on
    with following(source, model, published, needed=False, audio=AudioConfig(always_on=always_on)):
        source.say(talk(0.2, 2.0))
        published.wait_for_windows(1)


# What is published


def test_the_results_are_the_same_as_offline(model: ScriptedModel, published: Published) -> None:
    sound = talk(0.3, 4.2, 0.9, 1.7, 0.2, 0.9, QUIET)
    blocks = [
        Block(sound[at : at + 333], at, 100.0 + min(at + 333, len(sound)) / RATE) for at in range(0, len(sound), 333)
    ]
    offline = [
        each for each in follow(blocks, sign_segmenter(), recogniser(ScriptedModel())) if isinstance(each, ScoredWindow)
    ]
    source = ScriptedSource(*blocks, EOFError("the end"), live=False)
    with following(source, model, published):
        published.wait_for_state(SourceState.ENDED)
    scored = published.scored()
    assert len(scored) == len(offline) >= 5
    for one, other in zip(scored, offline, strict=True):
        assert np.array_equal(one.window.samples, other.window.samples)
        assert np.array_equal(one.embedding.vector, other.embedding.vector)
        for name in ("start", "end", "captured", "utterance", "quality", "new_speech"):
            assert getattr(one.window, name) == getattr(other.window, name)
        assert one.scores == other.scores
        assert one.identified == other.identified


def test_events_are_published_in_order(model: ScriptedModel, published: Published) -> None:
    sound = talk(0.3, 2.0, QUIET, 1.5, QUIET)
    with following(ScriptedSource(one_block(sound), EOFError("the end"), live=False), model, published):
        published.wait_for_state(SourceState.ENDED)
    # The state of the source and the beginnings may overtake the waiting windows; nothing else may.
    in_order = [kind for kind in kinds(published.events) if kind not in ("opening", "open", "SpeechBegan")]
    assert in_order == ["ScoredWindow", "ScoredWindow", "SpeechEnded", "ScoredWindow", "SpeechEnded", "ended"]
    for ended in (each for each in published.events if isinstance(each, SpeechEnded)):
        began = next(
            index
            for index, each in enumerate(published.events)
            if isinstance(each, SpeechBegan) and each.utterance == ended.utterance
        )
        inside = [
            index
            for index, each in enumerate(published.events)
            if isinstance(each, ScoredWindow) and each.window.utterance == ended.utterance
        ]
        assert began < min(inside)
        assert max(inside) < published.events.index(ended)


def test_a_result_names_the_voice_and_its_delay_is_counted(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.2, 2.0, QUIET))
        (scored, *_) = published.wait_for_windows(1)
        assert scored.identified.identity == "anna"
        wait_until(lambda: live.counters().embedded >= 1)
        counters = live.counters()
    assert len(counters.latencies) == len(counters.forwards) == counters.embedded
    assert all(0.0 <= latency < DEADLINE for latency in counters.latencies)


def test_another_recogniser_takes_over_from_the_next_batch(model: ScriptedModel, published: Published) -> None:
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.2, 1.7, QUIET))
        published.wait_for_windows(1)
        live.use(Recogniser(model, make_gallery([profile("cleo", axis(0))], MODEL), RULE, OPEN))
        source.say(talk(0.2, 1.7, QUIET))
        scored = published.wait_for_windows(2)
    assert [each.identified.identity for each in scored] == ["anna", "cleo"]


# When the model is slow


def test_a_microphone_drops_the_oldest_windows_and_counts_them(model: ScriptedModel, published: Published) -> None:
    model.may_run.clear()
    source = ScriptedSource(live=True)
    with following(source, model, published, queue=QueueConfig(windows=3, batch=1)) as live:
        source.say(talk(0.3, 3.0))
        assert model.busy.wait(DEADLINE)  # the model has the first window
        wait_until(lambda: live.counters().depth == 1)
        source.say(talk(0.0, 9.0, first=round(3.3 * RATE)))
        wait_until(lambda: live.counters().cut == 8)
        counters = live.counters()
        assert (counters.depth, counters.dropped) == (3, 4)
        model.may_run.set()
        scored = published.wait_for_windows(4)
    dropped = [each.count for each in published.events if isinstance(each, WindowsDropped)]
    assert dropped == [1, 1, 1, 1]
    # Of eight windows, the model had the first; the newest three are left.
    ends = [round((last + 1) / RATE - 0.08, 2) for _, last in places(scored)]
    assert ends == [1.5, 9.0, 10.5, 12.0]


def test_a_recording_waits_and_loses_nothing(model: ScriptedModel, published: Published) -> None:
    model.may_run.clear()
    sound = talk(0.3, 12.0, QUIET)
    source = ScriptedSource(one_block(sound), EOFError("the end"), live=False)
    with following(source, model, published, queue=QueueConfig(windows=2, batch=2)) as live:
        assert model.busy.wait(DEADLINE)
        wait_until(lambda: live.counters().depth == 2)
        before = live.capture_alive
        wait_until(lambda: live.capture_alive > before + 0.2)  # it waits, and shows a sign of life
        assert live.counters().depth == 2
        model.may_run.set()
        published.wait_for_state(SourceState.ENDED)
        counters = live.counters()
    assert counters.cut == counters.embedded == len(published.scored()) >= 8
    assert counters.dropped == 0
    assert not [each for each in published.events if isinstance(each, WindowsDropped)]
    ends = [last for _, last in places(published.scored())]
    assert ends == sorted(set(ends))


def test_waiting_windows_of_equal_length_are_embedded_together(model: ScriptedModel, published: Published) -> None:
    model.may_run.clear()
    with following(
        ScriptedSource(one_block(talk(0.3, 10.5, QUIET))), model, published, queue=QueueConfig(windows=16, batch=4)
    ) as live:
        wait_until(lambda: live.counters().cut == 7)
        model.may_run.set()
        scored = published.wait_for_windows(7)
    assert [len(batch) for batch in model.batches] == [1, 4, 2]
    assert all(len(set(batch)) == 1 for batch in model.batches)
    ends = [each.window.end for each in scored]
    assert ends == sorted(ends)


# Signs of life


@pytest.mark.parametrize("needed", [False, True])
def test_both_threads_show_signs_of_life_while_nothing_happens(
    model: ScriptedModel, published: Published, needed: bool
) -> None:
    with following(ScriptedSource(), model, published, needed=needed) as live:
        for _ in range(2):
            capture, worker = live.capture_alive, live.worker_alive
            wait_until(lambda c=capture, w=worker: live.capture_alive > c and live.worker_alive > w)  # type: ignore[misc]
        assert live.alive


def test_a_model_that_hangs_stops_the_signs_of_life_of_the_worker(model: ScriptedModel, published: Published) -> None:
    model.may_run.clear()
    source = ScriptedSource()
    with following(source, model, published) as live:
        source.say(talk(0.2, 2.0, QUIET))
        assert model.busy.wait(DEADLINE)
        worker, capture = live.worker_alive, live.capture_alive
        wait_until(lambda: live.capture_alive > capture + 0.6)
        assert live.worker_alive == worker
