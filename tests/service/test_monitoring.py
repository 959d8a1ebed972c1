"""What a monitor is told, from the events of the pipeline to the events of the interface: who speaks now."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from policy_parts import LISTENER, MODEL, RATIOS, UNCALIBRATED, Desk, axis

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import Config, MonitorConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.pipeline.events import MarkReached, PipelineEvent, SourceChanged, SourceState, WindowsDropped
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.protocol.interface import VOICEAUTHD, load
from voiceauthd.scoring.decide import identify
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.server.event_queue import EventQueue
from voiceauthd.service.access import Access
from voiceauthd.service.monitoring import events
from voiceauthd.speech.window import Quality, SpeechBegan, SpeechEnded, Window

DEADLINE = 20.0
"""Seconds until a test gives up. Nothing waits for as long unless it fails."""

SOON = 0.2
"""A dwell that a test can wait for. Windows are longer."""

PEOPLE = {"Ralph": axis(0), "Susan": axis(2), None: axis(4)}


class Monitor:
    """One subscriber of a daemon that is told what to have heard."""

    def __init__(self, desk: Desk, limit: int) -> None:
        self.desk = desk
        self.place = 0.0
        self.utterance = 0
        self.inbox: EventQueue[PipelineEvent] = EventQueue(limit)
        self._stream = events(self.inbox, desk.state)
        self._interface = load(VOICEAUTHD)

    def publish(self, pipeline_event: PipelineEvent) -> None:
        self.inbox.put(pipeline_event)

    def begin(self, pause: float = 0.0) -> None:
        self.utterance += 1
        self.place += pause
        self.publish(SpeechBegan(self.utterance, self._sample, time.monotonic()))

    def end(self) -> None:
        self.publish(SpeechEnded(self.utterance, self._sample, time.monotonic(), 1.5))

    def window(self) -> Window:
        start = self._sample
        self.place += 1.5
        quality = Quality(1.5, 20.0, 0.0, -25.0)
        samples = np.zeros(24_000, np.float32)
        return Window(samples, start, self._sample, time.monotonic(), self.utterance, quality, 1.5)

    def say(self, name: str | None) -> None:
        self.publish(self.heard(name))

    def heard(self, name: str | None) -> ScoredWindow:
        window, recogniser = self.window(), self.desk.state.engine.recogniser
        voice = PooledSpeech(Embedding(PEOPLE[name], MODEL), 1.5, 20.0)
        found = recogniser.compare(voice)
        identified = identify(found, 1.5, 1.0, recogniser.rule)
        return ScoredWindow(window, voice.embedding, tuple(found), identified, 0.01)

    async def next(self) -> dict:
        event, last = await anext(self._stream)
        self.last = last
        # As the server holds it against the interface, and the client completes it.
        return self._interface.check_reply("Monitor", {"event": event})["event"]

    async def until(self, kind: str) -> list[dict]:
        found = [await self.next()]
        while found[-1]["kind"] != kind:
            found.append(await self.next())
        return found

    async def all(self) -> list[dict]:
        """To the end of the stream; what is published later is not heard."""
        self.inbox.close()
        return [self._interface.check_reply("Monitor", {"event": event})["event"] async for event, _ in self._stream]

    @property
    def _sample(self) -> int:
        return round(self.place * RATE)


Scenario = Callable[[Monitor], Awaitable[None]]


@pytest.fixture
def monitoring(tmp_path):
    """Runs a scenario with a monitor."""

    def run(scenario: Scenario, dwell: float = 1.5, limit: int = 64, backend=UNCALIBRATED) -> None:
        async def inside() -> None:
            config = Config(monitor=MonitorConfig(dwell=dwell))
            async with asyncio.timeout(DEADLINE):
                await scenario(Monitor(Desk(tmp_path, backend, [], config), limit))

        asyncio.run(inside())

    return run


def kinds(found: list[dict]) -> list[str]:
    return [event["kind"] for event in found]


def speakers(found: list[dict]) -> list[tuple[str, str | None]]:
    return [(event["decision"], event["identity"]) for event in found if event["kind"] == "speaker"]


RALPH, SUSAN, UNKNOWN, NOBODY = ("known", "Ralph"), ("known", "Susan"), ("unknown", None), ("undecided", None)


def test_who_speaks_is_told_behind_the_window_that_says_so_and_not_again(monitoring):
    async def scenario(monitor):
        monitor.begin(pause=2.0)
        for _ in range(3):
            monitor.say("Ralph")
        monitor.end()
        found = await monitor.all()
        assert kinds(found) == ["started", "speech", "window", "speaker", "window", "window", "silence"]
        assert [event["sequence"] for event in found] == list(range(7))
        speaker = found[3]
        assert (speaker["decision"], speaker["identity"], speaker["start"]) == ("known", "Ralph", 2.0)
        assert (speaker["score"], speaker["calibrated"]) == (1.0, False)
        assert abs(speaker["time"] - time.time()) < DEADLINE

    monitoring(scenario)


def test_with_a_calibration_the_score_is_the_ratio(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        found = await monitor.until("speaker")
        assert found[-1]["calibrated"] is True
        assert found[-1]["score"] == found[-2]["score"] > 4.0

    monitoring(scenario, backend=RATIOS)


def test_speakers_change_and_a_bad_window_changes_nothing(monitoring):
    async def scenario(monitor):
        monitor.begin()
        for name in ("Ralph", "Susan", "Ralph", None, "Ralph", "Susan", "Susan", None, None):
            monitor.say(name)
        found = await monitor.all()
        assert speakers(found) == [RALPH, SUSAN, UNKNOWN]
        assert kinds(found).count("window") == 9

    monitoring(scenario)


def test_windows_that_were_refused_or_failed_are_told_and_name_nobody(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.publish(RefusedWindow(monitor.window(), "noisy"))
        monitor.publish(FailedWindow(monitor.window(), "out of memory"))
        monitor.say("Ralph")
        monitor.publish(RefusedWindow(monitor.window(), "clipped"))
        monitor.publish(FailedWindow(monitor.window(), "out of memory"))
        found = await monitor.all()
        windows = [(event["decision"], event["reason"]) for event in found if event["kind"] == "window"]
        assert windows == [
            ("undecided", "noisy"),
            ("undecided", "embedding_failed"),
            ("known", "match"),
            ("undecided", "clipped"),
            ("undecided", "embedding_failed"),
        ]
        assert speakers(found) == [RALPH, NOBODY]
        nobody = found[-1]
        assert (nobody["kind"], nobody["score"], nobody["calibrated"], nobody["start"]) == ("speaker", None, None, 4.5)

    monitoring(scenario)


def test_a_score_that_is_not_a_number_names_nobody(monitoring):
    async def scenario(monitor):
        heard = monitor.heard("Ralph")
        best, *others = heard.scores
        for scores in ([replace(best, cosine=math.nan), *others], [best, replace(others[0], normalised=math.nan)]):
            monitor.publish(replace(heard, scores=tuple(scores)))
        assert speakers(await monitor.all()) == []

    monitoring(scenario)


# Silence


def test_the_label_ends_with_the_dwell_of_silence_though_nothing_more_is_heard(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        captured = time.monotonic()
        monitor.end()
        found = await monitor.until("silence")
        assert speakers(found) == [RALPH]
        nobody = await monitor.next()
        assert SOON - 0.05 < time.monotonic() - captured < 5.0
        assert (nobody["kind"], nobody["decision"], nobody["start"]) == ("speaker", "undecided", 1.5)
        assert nobody["sequence"] == found[-1]["sequence"] + 1
        waiting = asyncio.ensure_future(monitor.next())
        await asyncio.sleep(2 * SOON)
        assert not waiting.done(), "it is told once"
        monitor.begin(pause=3.0)
        assert (await waiting)["kind"] == "speech"

    monitoring(scenario, dwell=SOON)


def test_a_pause_does_not_end_it(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        monitor.end()
        monitor.begin(pause=0.1)
        await monitor.until("silence")
        assert (await monitor.next())["kind"] == "speech"
        waiting = asyncio.ensure_future(monitor.next())
        await asyncio.sleep(2 * SOON)
        assert not waiting.done(), "who speaks needs no windows to keep the label"
        monitor.say("Ralph")
        assert (await waiting)["kind"] == "window"
        assert speakers(await monitor.all()) == []

    monitoring(scenario, dwell=SOON)


def test_of_a_recording_the_silence_in_it_counts_however_fast_it_is_read(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        monitor.end()
        monitor.begin(pause=2.0)
        monitor.say("Ralph")
        found = await monitor.all()
        assert kinds(found)[4:] == ["silence", "speaker", "speech", "window", "speaker"]
        assert speakers(found) == [RALPH, NOBODY, RALPH]
        assert [event["start"] for event in found if event["kind"] == "speaker"] == [0.0, 1.5, 3.5]

    monitoring(scenario)


# What goes wrong, or changes


def test_windows_that_were_dropped_do_no_harm(monitoring):
    async def scenario(monitor):
        monitor.begin()
        for _ in range(3):
            monitor.say("Ralph")
            monitor.publish(WindowsDropped(5))
        monitor.publish(MarkReached(1, 1))
        found = await monitor.all()
        assert speakers(found) == [RALPH]
        assert kinds(found).count("dropped") == 3

    monitoring(scenario)


def test_a_subscriber_that_lost_events_keeps_no_label_for_ever(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        assert speakers(await monitor.until("speaker")) == [RALPH]
        monitor.end()
        for _ in range(4):
            monitor.publish(WindowsDropped(1))
        found = await monitor.until("speaker")
        assert kinds(found) == ["dropped"] * 5 + ["speaker"]
        assert (found[0]["detail"], found[0]["count"]) == ("events", 1)
        assert speakers(found) == [NOBODY]
        sequences = [event["sequence"] for event in found]
        assert sequences == list(range(sequences[0], sequences[0] + 6))

    monitoring(scenario, dwell=SOON, limit=4)


def test_at_the_end_of_the_source_nobody_speaks_and_the_end_is_told_last(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        monitor.publish(SourceChanged(SourceState.ENDED, "the end"))
        found = await monitor.until("source")
        assert monitor.last
        assert kinds(found)[-3:] == ["speaker", "speaker", "source"]
        assert speakers(found) == [RALPH, NOBODY]

    monitoring(scenario)


def test_a_capture_that_counts_from_the_beginning_again_is_followed(monitoring):
    """As after a reload: utterances and samples begin anew."""

    async def scenario(monitor):
        for _ in range(3):
            monitor.begin(pause=0.5)
            monitor.say("Ralph")
        monitor.publish(SourceChanged(SourceState.OPENING, "another microphone"))
        monitor.place, monitor.utterance = 0.0, 0
        monitor.begin()
        monitor.say("Susan")
        monitor.end()
        found = await monitor.until("source")
        assert kinds(found)[-2:] == ["speaker", "source"]
        assert speakers(found) == [RALPH, NOBODY]
        found = await monitor.until("silence")
        assert speakers(found) == [SUSAN]
        assert speakers([await monitor.next()]) == [NOBODY]

    monitoring(scenario, dwell=SOON)


def test_a_new_configuration_counts_from_the_next_window_on(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        await monitor.until("speaker")
        state = monitor.desk.state
        state.use(Config(monitor=MonitorConfig(dwell=0.0)), state.access, state.engine)
        monitor.say("Susan")
        assert speakers(await monitor.until("speaker")) == [SUSAN]

    monitoring(scenario)


def test_who_is_deleted_is_not_shown_any_more(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        await monitor.until("speaker")
        store, recogniser = monitor.desk.state.engine.store, monitor.desk.state.engine.recogniser
        recogniser.gallery = make_gallery([store.get("Susan")], MODEL, UNCALIBRATED)
        monitor.say("Ralph")
        assert speakers(await monitor.until("speaker")) == [NOBODY]

    monitoring(scenario)


def test_two_monitors_have_a_label_each(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        await monitor.until("speaker")
        late = Monitor(monitor.desk, 64)
        late.begin()
        late.say(None)
        late.say(None)
        assert speakers(await late.all()) == [UNKNOWN]
        monitor.say("Ralph")
        assert speakers(await monitor.all()) == []

    monitoring(scenario)


def test_who_may_not_monitor_any_more_is_told_nothing_more(tmp_path):
    """A reload has taken the group away, or given another one."""

    async def scenario():
        desk = Desk(tmp_path, RATIOS, [], Config())
        call = asyncio.create_task(desk.ask("Monitor", LISTENER))
        await wait_for(lambda: desk.workers.needs)
        desk.state.use(desk.state.config, Access(0, None), desk.state.engine)
        desk.hub.publish(SpeechBegan(1, 0, time.monotonic()))
        async with asyncio.timeout(DEADLINE):
            *told, last = await call
        assert [reply.parameters["event"]["kind"] for reply in told] == ["started"]
        assert last.error == "org.varlink.service.PermissionDenied"
        assert (desk.workers.needs, desk.state.monitors) == (0, 0)

    async def wait_for(condition):
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0)

    asyncio.run(scenario())
