"""Helpers for the tests of `pipeline/`: a scripted source, a scripted model, and a list of the published events.

The audio is that of `speech_parts.py`: the value of every sample says where it belongs, and positive ones are speech.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from speech.speech_parts import SignDetector, frames, numbered, numbers, unconfirmed

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import AudioConfig, GateConfig, QueueConfig
from voiceauthd.embed.embedding import Embedding, ModelId, Vector, check_clip
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.events import PipelineEvent, SourceChanged, SourceState
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.recogniser import FailedWindow, Recogniser, RefusedWindow, ScoredWindow
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import Window

__all__ = ["SignDetector", "frames", "numbered", "numbers"]

MODEL = ModelId("tiny", "1", "cd" * 32, "1", 4)
OTHER = ModelId("tiny", "2", "cd" * 32, "1", 4)
RULE = Rule(policy="monitor", calibrated=False, accept=0.5, reject=0.3, margin=0.05, min_speech=1.0, agreement=0.2)
OPEN = GateConfig(min_snr_db=-200.0, max_clipping=1.0, min_level_dbfs=-100.0)
"""A gate that accepts numbered audio, which is very quiet, and no louder than the silence around it."""

DEADLINE = 20.0
"""Seconds until a test gives up. Only a failing test waits that long."""

Played = Block | Exception


def axis(index: int) -> Vector:
    return np.eye(MODEL.dimension, dtype=np.float32)[index]


def profile(name: str, vector: Vector) -> Profile:
    exemplar = Exemplar(vector, 4.0, 20.0, "default", timestamp())
    return Profile(name, new_uid(), 1, None, MODEL, (exemplar,), timestamp(), timestamp())


def raising(failure: Exception) -> Callable[[Sequence[Samples]], object]:
    def answer(clips: Sequence[Samples]) -> object:
        raise failure

    return answer


def always(vector: object, model: ModelId = MODEL) -> Callable[[Sequence[Samples]], object]:
    return lambda clips: [Embedding(np.asarray(vector, np.float32), model) for _ in clips]


BROKEN: dict[str, Callable[[Sequence[Samples]], object]] = {
    "a model error": raising(ModelError("no usable embedding")),
    "an unexpected error": raising(RuntimeError("out of memory")),
    "an index error": raising(IndexError("list index out of range")),
    "NaN": always([math.nan, 0.0, 0.0, 1.0]),
    "infinity": always([math.inf, 0.0, 0.0, 0.0]),
    "zero": always([0.0, 0.0, 0.0, 0.0]),
    "too long": always([2.0, 0.0, 0.0, 0.0]),
    "another dimension": always([1.0, 0.0, 0.0]),
    "a matrix": always(np.eye(4)[:1]),
    "another model": always(axis(0), OTHER),
    "none": lambda clips: [],
    "too many": lambda clips: [Embedding(axis(0), MODEL)] * (len(clips) + 1),
    "nothing": lambda clips: None,
    "no embeddings": lambda clips: [None] * len(clips),
}


class ScriptedSource:
    """A `Source` that returns the blocks that it is given, or raises the exceptions; then nothing more arrives."""

    held_open = False
    finite = False
    overflows = 0
    description = "the script"

    def __init__(self, *played: Played, live: bool = True) -> None:
        self.live = live
        self.opened: list[float] = []
        self.is_open = False
        self.closed = threading.Event()
        self.open_errors: list[Exception] = []  # raised by `open`, one per call, before it succeeds
        self.may_open = threading.Event()  # `open` waits for it
        self.may_open.set()
        self._played: queue.Queue[Played] = queue.Queue()
        self._place = 0
        self.play(*played)

    def play(self, *played: Played) -> None:
        for each in played:
            self._played.put(each)

    def say(self, samples: Samples, length: int = 320) -> None:
        """Play numbered audio, in blocks that are captured now."""
        for begin in range(0, len(samples), length):
            piece = samples[begin : begin + length]
            self.play(Block(piece, self._place, time.monotonic()))
            self._place += len(piece)

    def open(self) -> None:
        self.opened.append(time.monotonic())
        assert self.may_open.wait(DEADLINE)
        if self.open_errors:
            raise self.open_errors.pop(0)
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


class ScriptedModel:
    """An `Embedder` that returns what `answer` returns for the clips.

    may_run  `embed` waits for it
    busy     set while `embed` runs
    batches  the lengths of the clips of each call
    """

    threshold = 0.5

    def __init__(self) -> None:
        self.model = MODEL
        self.may_run = threading.Event()
        self.may_run.set()
        self.busy = threading.Event()
        self.batches: list[list[int]] = []
        self._callers = 0
        self.answer: Callable[[Sequence[Samples]], object] = self.right

    def right(self, clips: Sequence[Samples]) -> list[Embedding]:
        return [Embedding(axis(0), MODEL) for _ in clips]

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        self._callers += 1
        assert self._callers == 1, "the model serves one caller at a time"
        try:
            self.busy.set()
            assert self.may_run.wait(DEADLINE)
            self.batches.append([len(clip) for clip in clips])
            for clip in clips:
                check_clip(clip * np.float32(1000.0))  # numbered audio is very quiet
            return self.answer(clips)  # type: ignore[return-value]
        finally:
            self.busy.clear()
            self._callers -= 1


class Published:
    """The published events, in order."""

    def __init__(self) -> None:
        self.events: list[PipelineEvent] = []
        self._changed = threading.Condition()

    def publish(self, event: PipelineEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[PipelineEvent]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.events), DEADLINE), self.events

    def wait_for_event(self, kind: type[PipelineEvent]) -> None:
        self.wait(lambda events: any(isinstance(each, kind) for each in events))

    def wait_for_state(self, state: SourceState, times: int = 1) -> None:
        self.wait(lambda _: self.states().count(state) >= times)

    def wait_for_windows(self, count: int) -> list[ScoredWindow]:
        self.wait(lambda _: len(self.scored()) >= count)
        return self.scored()

    def scored(self) -> list[ScoredWindow]:
        return [each for each in self.events if isinstance(each, ScoredWindow)]

    def results(self) -> list[ScoredWindow | RefusedWindow | FailedWindow]:
        return [each for each in self.events if isinstance(each, ScoredWindow | RefusedWindow | FailedWindow)]

    def states(self) -> list[SourceState]:
        return [each.state for each in self.events if isinstance(each, SourceChanged)]


def recogniser(model: ScriptedModel, gate: GateConfig = OPEN) -> Recogniser:
    return Recogniser(model, make_gallery([profile("anna", axis(0)), profile("ben", axis(1))], MODEL), RULE, gate)


def sign_segmenter() -> Segmenter:
    return Segmenter(unconfirmed())


@contextmanager
def following(
    source: ScriptedSource,
    model: ScriptedModel,
    published: Published,
    *,
    queue: QueueConfig | None = None,
    audio: AudioConfig | None = None,
    gate: GateConfig = OPEN,
    needed: bool = True,
) -> Iterator[Live]:
    """Start a `Live`, and stop it at the end. needed: calls `need`."""
    live = Live(
        source=source,
        segmenter=sign_segmenter(),
        recogniser=recogniser(model, gate),
        audio=audio or AudioConfig(backoff=0.01, backoff_limit=0.02),
        queue=queue or QueueConfig(windows=64),
        publish=published.publish,
    )
    live.start()
    try:
        if needed:
            live.need()
        yield live
    finally:
        model.may_run.set()
        source.may_open.set()
        assert live.stop(DEADLINE)
        assert not source.is_open


def wait_until(true: Callable[[], bool]) -> None:
    """Poll until `true` returns true."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def places(scored: Iterable[ScoredWindow | Window]) -> list[tuple[int, int]]:
    """Return the first and the last sample number in each window."""
    found = []
    for each in scored:
        inside = numbers((each.window if isinstance(each, ScoredWindow) else each).samples)
        assert np.array_equal(inside, np.arange(len(inside)) + inside[0])
        found.append((int(inside[0]), int(inside[-1])))
    return found


def talk(*lengths: float, first: int = 0) -> Samples:
    """Return numbered audio. lengths: seconds of silence, of speech, of silence, and so on."""
    return numbered(frames(*lengths), first)


def one_block(samples: Samples, start: int = 0) -> Block:
    """Return all of `samples` as one block, whose first sample is captured now."""
    return Block(samples, start, time.monotonic() + len(samples) / RATE)
