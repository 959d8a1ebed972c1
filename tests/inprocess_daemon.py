"""A daemon inside the test's own process: the real methods, state and stores, with a list of windows as the audio.

There is no socket, no microphone and no model: the first sample of a window is its cosine with Ralph's voice. Nobody in
the cohort resembles anybody here, so a score is that cosine, and with `CALIBRATED` it is 20 times the cosine minus 10.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
from backends import made_up_calibration

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.config.schema import Config
from voiceauthd.embed.choose import ModelChoice
from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.pipeline.events import MarkReached, SourceChanged, SourceState
from voiceauthd.pipeline.live import Counters
from voiceauthd.pipeline.meter import Meter
from voiceauthd.pipeline.recogniser import Recogniser
from voiceauthd.profiles.keys import KEY_FILE, load_keys
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.protocol.wire import Reply, Request
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.cohort import Cohort, make_cohort
from voiceauthd.scoring.policy import MONITOR, make_policies
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.server.dispatch import Dispatcher
from voiceauthd.server.peer import Peer
from voiceauthd.service.access import Access
from voiceauthd.service.auditing import Auditor
from voiceauthd.service.engine import Engine
from voiceauthd.service.event_bus import EventBus
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.methods import Methods
from voiceauthd.service.state import State
from voiceauthd.speech.window import Quality, SpeechBegan, SpeechEnded, Window

DEADLINE = 20.0
"""Seconds until a scenario is given up. No test waits that long unless it fails."""

T = TypeVar("T")

MODEL = ModelId("tiny", "1", "ab" * 32, "1", 6)
THRESHOLD = 0.5
LISTENERS = 77
ROOT = Peer(0, 0, 1, "root")
RALPH = Peer(4242, 4242, 2, "Ralph")
MALLORY = Peer(4343, 4343, 3, "Mallory")
LISTENER = Peer(4444, LISTENERS, 4, "Lisa")


def axis(index: int) -> np.ndarray:
    return np.eye(MODEL.dimension, dtype=np.float32)[index]


def cohort(sources: tuple[str, ...] = ("made up, CC0",)) -> Cohort:
    return make_cohort(MODEL, [(f"stranger {index}", axis(5)) for index in range(25)], sources)


def calibrated_backend(pairs: int, **changes: object) -> Backend:
    """A calibration from this number of independent trials, none of which was a false accept."""
    strangers = cohort(**changes)
    return Backend(strangers, made_up_calibration(strangers, pairs=pairs))


UNCALIBRATED = NO_BACKEND
CALIBRATED = calibrated_backend(3_500)
"""Enough trials for `unlock`, which needs about three divided by its rate of 1e-3; not for `auth`."""
WELL_CALIBRATED = calibrated_backend(35_000)


class FakeEmbedder:
    """Takes the first sample of a clip as its cosine with Ralph's voice."""

    model = MODEL
    threshold = THRESHOLD

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        cosines = [float(clip[0]) for clip in clips]
        return [Embedding(c * axis(0) + math.sqrt(1.0 - c * c) * axis(1), MODEL) for c in map(np.float32, cosines)]


class FakeLive:
    """Replaces capture and worker: each request receives `pipeline_events`.

    opened  how often the microphone was opened
    """

    def __init__(self, bus: EventBus, pipeline_events: Iterable[object]) -> None:
        self.opened = 0
        self.needs = 0
        self.alive = True
        self.failure = None
        self.ended = False
        self.source = SimpleNamespace(description="a list", overflows=0)
        self.state = SourceChanged(SourceState.OPEN, "a list")
        self.capture_alive = self.worker_alive = time.monotonic()
        self._bus = bus
        self._pipeline_events = list(pipeline_events)

    def need(self) -> None:
        self.opened += 1
        self.needs += 1

    def release(self) -> None:
        self.needs -= 1

    def mark(self) -> int:
        self._bus.publish(MarkReached(1, 0))
        for pipeline_event in self._pipeline_events:
            self._bus.publish(pipeline_event)
        return 1

    @contextlib.contextmanager
    def metered(self) -> Iterator[Meter]:
        yield Meter()

    def counters(self) -> Counters:
        return Counters(9, 5, 3, 1, 0, 0, 0, (), ())


def window(cosine: float, *, level_dbfs: float = -25.0, clipping: float = 0.0, snr_db: float = 20.0) -> Window:
    """Two seconds of speech."""
    quality = Quality(2.0, snr_db, clipping, level_dbfs)
    samples = np.full(2 * RATE, cosine, np.float32)
    return Window(samples, 0, len(samples), 0.0, 1, quality, 2.0)


def profile(name: str, index: int) -> Profile:
    exemplars = tuple(Exemplar(axis(index), 4.0, 20.0, "default", timestamp()) for _ in range(5))
    return Profile(name, new_uid(), 1, None, MODEL, exemplars, timestamp(), timestamp())


class InProcessDaemon:
    """A daemon in which Ralph and Susan are enrolled. All calls must come from one event loop."""

    def __init__(self, folder: Path, backend: Backend, windows: Sequence[Window], config: Config) -> None:
        self.bus = EventBus(asyncio.get_running_loop(), 64)
        store = ProfileStore(folder / "profiles", MODEL, load_keys(folder / KEY_FILE, {}))
        for index, name in enumerate(("Ralph", "Susan")):
            store.put(profile(name, 2 * index))
        embedder = FakeEmbedder()
        policies = make_policies(config, embedder.threshold, backend)
        gallery = make_gallery(store.all(), MODEL, backend)
        recogniser = Recogniser(embedder, gallery, policies[MONITOR].rule, config.gate)
        pipeline_events = [SpeechBegan(1, 0, 0.0), *recogniser.recognise(windows), SpeechEnded(1, 2 * RATE, 0.0, 2.0)]
        self.live = FakeLive(self.bus, pipeline_events)
        choice = ModelChoice(config.model, "the test has chosen it")
        engine = Engine(config, choice, embedder, backend, policies, store, recogniser, self.live)
        self.state = State(
            config, Access(0, LISTENERS), Lockout(folder / "lockout.json", config.lockout), Auditor(None)
        )
        self.state.use(config, self.state.access, engine)
        self.methods = Methods(self.state, self.bus, self._reload)
        self._dispatcher = Dispatcher(self.methods.handle, check_replies=True)

    async def ask(self, method: str, peer: Peer = ROOT, **parameters: object) -> list[Reply]:
        """All replies to one call."""
        replies: list[Reply] = []

        async def send(reply: Reply) -> None:
            replies.append(reply)

        request = Request(f"org.voiceauthd.{method}", dict(parameters), more=True)
        await self._dispatcher.answer(request, peer, send)
        return replies

    async def _reload(self) -> list[str]:
        return []


def run_scenario(
    folder: Path,
    backend: Backend,
    windows: Sequence[Window],
    scenario: Callable[[InProcessDaemon], Awaitable[T]],
    config: Config | None = None,
) -> T:
    """Run `scenario(daemon)` with a daemon in which each request hears `windows`, and return its result."""

    async def run() -> T:
        async with asyncio.timeout(DEADLINE):
            return await scenario(InProcessDaemon(folder, backend, windows, config or Config()))

    return asyncio.run(run())


def ask(
    folder: Path,
    backend: Backend,
    windows: Sequence[Window],
    method: str,
    peer: Peer = ROOT,
    config: Config | None = None,
    **parameters: object,
) -> tuple[list[Reply], InProcessDaemon]:
    """All replies to one call to a daemon that hears `windows`, and the daemon."""

    async def scenario(daemon: InProcessDaemon) -> tuple[list[Reply], InProcessDaemon]:
        return await daemon.ask(method, peer, **parameters), daemon

    return run_scenario(folder, backend, windows, scenario, config)


def outcome(replies: Sequence[Reply], key: str = "outcome") -> str:
    """The value of `key` in the last reply, or the short name of its error."""
    last = replies[-1]
    return str(last.parameters[key]) if last.error is None else last.error.rpartition(".")[2]
