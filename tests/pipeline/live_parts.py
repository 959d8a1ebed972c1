"""What the tests of this folder are made of: a source that plays a script, a model that obeys, a world that listens.

The sound is that of `tests/speech`: every sample tells its own place, and a frame is speech if it is positive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from speech.speech_parts import Obedient, frames, numbered, numbers, unconfirmed

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import AudioConfig, GateConfig, QueueConfig
from voiceauthd.embed.embedding import Embedding, ModelId, Vector, check_clip
from voiceauthd.pipeline.events import PipelineEvent, SourceChanged, SourceState
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.recogniser import FailedWindow, Recogniser, RefusedWindow, ScoredWindow
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import Window

__all__ = ["Obedient", "frames", "numbered", "numbers"]

MODEL = ModelId("tiny", "1", "cd" * 32, "1", 4)
RULE = Rule(policy="monitor", calibrated=False, accept=0.5, reject=0.3, margin=0.05, min_speech=1.0, agreement=0.2)
OPEN = GateConfig(min_snr_db=-200.0, max_clipping=1.0, min_level_dbfs=-100.0)
"""A gate that lets numbered sound pass, which is very quiet and as loud as the silence around it."""

DEADLINE = 20.0
"""Seconds until a test gives up. Nothing waits for as long unless it fails."""

Played = Block | Exception


def axis(index: int) -> Vector:
    return np.eye(MODEL.dimension, dtype=np.float32)[index]


def profile(name: str, vector: Vector) -> Profile:
    exemplar = Exemplar(vector, 4.0, 20.0, "default", timestamp())
    return Profile(name, new_uid(), 1, None, MODEL, (exemplar,), timestamp(), timestamp())


class Script:
    """A `Source` that plays what it is given: blocks, and exceptions to raise. Then it waits."""

    held_open = False
    finite = False
    overflows = 0
    description = "the script"

    def __init__(self, *played: Played, live: bool = True) -> None:
        self.live = live
        self.opened: list[float] = []
        self.is_open = False
        self.closed = threading.Event()
        self.refusals: list[Exception] = []  # raised by `open`, one a call, before it succeeds
        self.slow = threading.Event()  # `open` waits for it
        self.slow.set()
        self._played: queue.Queue[Played] = queue.Queue()
        self._place = 0
        self.play(*played)

    def play(self, *played: Played) -> None:
        for each in played:
            self._played.put(each)

    def say(self, samples: Samples, length: int = 320) -> None:
        """Numbered sound goes on, as blocks that were heard now."""
        for begin in range(0, len(samples), length):
            piece = samples[begin : begin + length]
            self.play(Block(piece, self._place, time.monotonic()))
            self._place += len(piece)

    def open(self) -> None:
        self.opened.append(time.monotonic())
        assert self.slow.wait(DEADLINE)
        if self.refusals:
            raise self.refusals.pop(0)
        self.is_open = True
        self.closed.clear()

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        assert self.is_open
        assert 0.0 <= at_least <= 0.2
        try:
            played = self._played.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(played, Exception):
            raise played
        return played

    def close(self) -> None:
        self.is_open = False
        self.closed.set()


class Model:
    """An `Embedder` that gives each clip the vector of `answer`. It waits at `gate` while that is closed."""

    threshold = 0.5

    def __init__(self) -> None:
        self.model = MODEL
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.batches: list[list[int]] = []
        self.together = 0
        self.answer: Callable[[Sequence[Samples]], object] = self.right

    def right(self, clips: Sequence[Samples]) -> list[Embedding]:
        return [Embedding(axis(0), MODEL) for _ in clips]

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        self.together += 1
        assert self.together == 1, "the model serves one caller at a time"
        try:
            self.busy.set()
            assert self.gate.wait(DEADLINE)
            self.batches.append([len(clip) for clip in clips])
            for clip in clips:
                check_clip(clip * np.float32(1000.0))  # numbered sound is very quiet
            return self.answer(clips)  # type: ignore[return-value]
        finally:
            self.busy.clear()
            self.together -= 1


class World:
    """All that was published, in order."""

    def __init__(self) -> None:
        self.seen: list[PipelineEvent] = []
        self._changed = threading.Condition()

    def publish(self, pipeline_event: PipelineEvent) -> None:
        with self._changed:
            self.seen.append(pipeline_event)
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[PipelineEvent]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.seen), DEADLINE), self.seen

    def wait_for_state(self, state: SourceState, times: int = 1) -> None:
        self.wait(lambda _: self.states().count(state) >= times)

    def wait_for_windows(self, count: int) -> list[ScoredWindow]:
        self.wait(lambda _: len(self.heard()) >= count)
        return self.heard()

    def heard(self) -> list[ScoredWindow]:
        return [each for each in self.seen if isinstance(each, ScoredWindow)]

    def results(self) -> list[ScoredWindow | RefusedWindow | FailedWindow]:
        return [each for each in self.seen if isinstance(each, ScoredWindow | RefusedWindow | FailedWindow)]

    def states(self) -> list[SourceState]:
        return [each.state for each in self.seen if isinstance(each, SourceChanged)]


def recogniser(model: Model, gate: GateConfig = OPEN) -> Recogniser:
    return Recogniser(model, make_gallery([profile("anna", axis(0)), profile("ben", axis(1))], MODEL), RULE, gate)


def obedient_segmenter() -> Segmenter:
    return Segmenter(unconfirmed())


@contextmanager
def following(
    source: Script,
    model: Model,
    world: World,
    *,
    queue: QueueConfig | None = None,
    audio: AudioConfig | None = None,
    gate: GateConfig = OPEN,
    needed: bool = True,
) -> Iterator[Live]:
    """A `Live` that has been started, and is stopped in the end."""
    live = Live(
        source=source,
        segmenter=obedient_segmenter(),
        recogniser=recogniser(model, gate),
        audio=audio or AudioConfig(backoff=0.01, backoff_limit=0.02),
        queue=queue or QueueConfig(windows=64),
        publish=world.publish,
    )
    live.start()
    try:
        if needed:
            live.need()
        yield live
    finally:
        model.gate.set()
        source.slow.set()
        assert live.stop(DEADLINE)
        assert not source.is_open


def wait_until(true: Callable[[], bool]) -> None:
    """For what nobody tells: looks again and again."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def places(heard: Iterable[ScoredWindow | Window]) -> list[tuple[int, int]]:
    """First and last place of each window, by the numbers in its samples."""
    found = []
    for each in heard:
        inside = numbers((each.window if isinstance(each, ScoredWindow) else each).samples)
        assert np.array_equal(inside, np.arange(len(inside)) + inside[0])
        found.append((int(inside[0]), int(inside[-1])))
    return found


def talk(*lengths: float, first: int = 0) -> Samples:
    """Numbered sound: seconds of silence, of speech, of silence, …"""
    return numbered(frames(*lengths), first)


def as_one(samples: Samples, start: int = 0) -> Block:
    return Block(samples, start, time.monotonic() + len(samples) / RATE)
