"""The event stream of Monitor, from the events of the pipeline to those of the interface."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from inprocess_daemon import CALIBRATED, LISTENER, MODEL, UNCALIBRATED, InProcessDaemon, axis

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
"""Seconds until a test gives up. No test waits that long unless it fails."""

SHORT_DWELL = 0.2
"""Seconds of dwell that a test can wait for. Windows are longer."""

PEOPLE = {"Ralph": axis(0), "Susan": axis(2), None: axis(4)}


class Monitor:
    """One subscriber of a daemon, and the audio that it gets: `begin`, `say` and `end` publish pipeline events.

    position  seconds of audio so far
    """

    def __init__(self, daemon: InProcessDaemon, limit: int) -> None:
        self.daemon = daemon
        self.position = 0.0
        self.utterance = 0
        self.inbox: EventQueue[PipelineEvent] = EventQueue(limit)
        self._stream = events(self.inbox, daemon.state)
        self._interface = load(VOICEAUTHD)

    def publish(self, pipeline_event: PipelineEvent) -> None:
        self.inbox.put(pipeline_event)

    def begin(self, pause: float = 0.0) -> None:
        self.utterance += 1
        self.position += pause
        self.publish(SpeechBegan(self.utterance, self._sample, time.monotonic()))

    def end(self) -> None:
        self.publish(SpeechEnded(self.utterance, self._sample, time.monotonic(), 1.5))

    def window(self) -> Window:
        start = self._sample
        self.position += 1.5
        quality = Quality(1.5, 20.0, 0.0, -25.0)
        samples = np.zeros(24_000, np.float32)
        return Window(samples, start, self._sample, time.monotonic(), self.utterance, quality, 1.5)

    def say(self, name: str | None) -> None:
        self.publish(self.scored_window(name))

    def scored_window(self, name: str | None) -> ScoredWindow:
        window, recogniser = self.window(), self.daemon.state.engine.recogniser
        voice = PooledSpeech(Embedding(PEOPLE[name], MODEL), 1.5, 20.0)
        found = recogniser.compare(voice)
        identified = identify(found, 1.5, 1.0, recogniser.rule)
        return ScoredWindow(window, voice.embedding, tuple(found), identified, 0.01)

    async def next(self) -> dict:
        event, last = await anext(self._stream)
        self.last = last
        # The server checks each event against the interface, and the client adds the missing fields.
        return self._interface.check_reply("Monitor", {"event": event})["event"]

    async def until(self, kind: str) -> list[dict]:
        found = [await self.next()]
        while found[-1]["kind"] != kind:
            found.append(await self.next())
        return found

    async def all(self) -> list[dict]:
        """The events up to the end of the stream. Closes the inbox."""
        self.inbox.close()
        return [self._interface.check_reply("Monitor", {"event": event})["event"] async for event, _ in self._stream]

    @property
    def _sample(self) -> int:
        return round(self.position * RATE)


Scenario = Callable[[Monitor], Awaitable[None]]


@pytest.fixture
def monitoring(tmp_path):
    """Runs `scenario(monitor)`."""

    def run(scenario: Scenario, dwell: float = 1.5, limit: int = 64, backend=UNCALIBRATED) -> None:
        async def inside() -> None:
            config = Config(monitor=MonitorConfig(dwell=dwell))
            async with asyncio.timeout(DEADLINE):
                await scenario(Monitor(InProcessDaemon(tmp_path, backend, [], config), limit))

        asyncio.run(inside())

    return run


def kinds(found: list[dict]) -> list[str]:
    return [event["kind"] for event in found]


def speakers(found: list[dict]) -> list[tuple[str, str | None]]:
    return [(event["decision"], event["identity"]) for event in found if event["kind"] == "speaker"]


RALPH, SUSAN, UNKNOWN, NOBODY = ("known", "Ralph"), ("known", "Susan"), ("unknown", None), ("undecided", None)


def test_the_speaker_is_announced_once_after_the_window_that_decided_it(monitoring):
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


def test_with_a_calibration_the_score_is_the_log_likelihood_ratio(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        found = await monitor.until("speaker")
        assert found[-1]["calibrated"] is True
        assert found[-1]["score"] == found[-2]["score"] > 4.0

    monitoring(scenario, backend=CALIBRATED)


def test_the_label_follows_a_change_of_speaker_but_not_a_single_other_window(monitoring):
    async def scenario(monitor):
        monitor.begin()
        for name in ("Ralph", "Susan", "Ralph", None, "Ralph", "Susan", "Susan", None, None):
            monitor.say(name)
        found = await monitor.all()
        assert speakers(found) == [RALPH, SUSAN, UNKNOWN]
        assert kinds(found).count("window") == 9

    monitoring(scenario)


def test_refused_and_failed_windows_are_reported_without_an_identity(monitoring):
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


def test_a_nan_score_gives_no_label(monitoring):
    async def scenario(monitor):
        scored = monitor.scored_window("Ralph")
        best, *others = scored.scores
        for scores in ([replace(best, cosine=math.nan), *others], [best, replace(others[0], normalised=math.nan)]):
            monitor.publish(replace(scored, scores=tuple(scores)))
        assert speakers(await monitor.all()) == []

    monitoring(scenario)


# Silence


def test_the_label_ends_after_the_dwell_of_silence_without_further_events(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        captured = time.monotonic()
        monitor.end()
        found = await monitor.until("silence")
        assert speakers(found) == [RALPH]
        nobody = await monitor.next()
        assert SHORT_DWELL - 0.05 < time.monotonic() - captured < 5.0
        assert (nobody["kind"], nobody["decision"], nobody["start"]) == ("speaker", "undecided", 1.5)
        assert nobody["sequence"] == found[-1]["sequence"] + 1
        waiting = asyncio.ensure_future(monitor.next())
        await asyncio.sleep(2 * SHORT_DWELL)
        assert not waiting.done(), "it is reported once"
        monitor.begin(pause=3.0)
        assert (await waiting)["kind"] == "speech"

    monitoring(scenario, dwell=SHORT_DWELL)


def test_a_short_pause_does_not_end_the_label(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        monitor.end()
        monitor.begin(pause=0.1)
        await monitor.until("silence")
        assert (await monitor.next())["kind"] == "speech"
        waiting = asyncio.ensure_future(monitor.next())
        await asyncio.sleep(2 * SHORT_DWELL)
        assert not waiting.done(), "the label stays while somebody speaks, even without windows"
        monitor.say("Ralph")
        assert (await waiting)["kind"] == "window"
        assert speakers(await monitor.all()) == []

    monitoring(scenario, dwell=SHORT_DWELL)


def test_in_a_recording_that_is_read_fast_the_silence_is_measured_in_audio_time(monitoring):
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


# Failures and changes


def test_dropped_windows_are_counted_and_keep_the_label(monitoring):
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


def test_a_subscriber_that_missed_events_does_not_keep_the_label_for_ever(monitoring):
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

    monitoring(scenario, dwell=SHORT_DWELL, limit=4)


def test_at_the_end_of_the_source_the_label_ends_and_the_end_is_the_last_event(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        monitor.publish(SourceChanged(SourceState.ENDED, "the end"))
        found = await monitor.until("source")
        assert monitor.last
        assert kinds(found)[-3:] == ["speaker", "speaker", "source"]
        assert speakers(found) == [RALPH, NOBODY]

    monitoring(scenario)


def test_a_new_capture_thread_that_counts_from_zero_is_followed(monitoring):
    """As after a reload: utterances and samples are counted from zero again."""

    async def scenario(monitor):
        for _ in range(3):
            monitor.begin(pause=0.5)
            monitor.say("Ralph")
        monitor.publish(SourceChanged(SourceState.OPENING, "another microphone"))
        monitor.position, monitor.utterance = 0.0, 0
        monitor.begin()
        monitor.say("Susan")
        monitor.end()
        found = await monitor.until("source")
        assert kinds(found)[-2:] == ["speaker", "source"]
        assert speakers(found) == [RALPH, NOBODY]
        found = await monitor.until("silence")
        assert speakers(found) == [SUSAN]
        assert speakers([await monitor.next()]) == [NOBODY]

    monitoring(scenario, dwell=SHORT_DWELL)


def test_a_new_configuration_applies_from_the_next_window(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        await monitor.until("speaker")
        state = monitor.daemon.state
        state.use(Config(monitor=MonitorConfig(dwell=0.0)), state.access, state.engine)
        monitor.say("Susan")
        assert speakers(await monitor.until("speaker")) == [SUSAN]

    monitoring(scenario)


def test_a_deleted_person_is_not_shown_any_more(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        await monitor.until("speaker")
        store, recogniser = monitor.daemon.state.engine.store, monitor.daemon.state.engine.recogniser
        recogniser.gallery = make_gallery([store.get("Susan")], MODEL, UNCALIBRATED)
        monitor.say("Ralph")
        assert speakers(await monitor.until("speaker")) == [NOBODY]

    monitoring(scenario)


def test_each_monitor_has_its_own_label(monitoring):
    async def scenario(monitor):
        monitor.begin()
        monitor.say("Ralph")
        await monitor.until("speaker")
        late = Monitor(monitor.daemon, 64)
        late.begin()
        late.say(None)
        late.say(None)
        assert speakers(await late.all()) == [UNKNOWN]
        monitor.say("Ralph")
        assert speakers(await monitor.all()) == []

    monitoring(scenario)


def test_the_stream_ends_when_a_reload_revokes_the_right_to_monitor(tmp_path):
    """The reload has removed or changed the configured group."""

    async def scenario():
        daemon = InProcessDaemon(tmp_path, CALIBRATED, [], Config())
        call = asyncio.create_task(daemon.ask("Monitor", LISTENER))
        await wait_for(lambda: daemon.live.needs)
        daemon.state.use(daemon.state.config, Access(0, None), daemon.state.engine)
        daemon.bus.publish(SpeechBegan(1, 0, time.monotonic()))
        async with asyncio.timeout(DEADLINE):
            *replies, last = await call
        assert [reply.parameters["event"]["kind"] for reply in replies] == ["started"]
        assert last.error == "org.varlink.service.PermissionDenied"
        assert (daemon.live.needs, daemon.state.monitors) == (0, 0)

    async def wait_for(condition):
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0)

    asyncio.run(scenario())
