"""The way of the sound in real time: a capture thread, a bounded queue and a worker thread around `path.py`.

    source --> capture thread: Segmenter --> WindowQueue --> worker thread: Recogniser --> publish

`publish` is called from both threads and must not block. It gets every pipeline_event once, in order, save that the
beginning of an utterance and the state of the source overtake the windows that still wait; the end of a finite source
does not.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from voiceauthd.audio.block import RATE, Block, Source
from voiceauthd.config.schema import AudioConfig, QueueConfig
from voiceauthd.errors import AudioError, SourceError
from voiceauthd.pipeline.events import MarkReached, PipelineEvent, SourceChanged, SourceState, WindowsDropped
from voiceauthd.pipeline.recogniser import FailedWindow, Recogniser, RefusedWindow
from voiceauthd.pipeline.window_queue import Item, WindowQueue
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, Window

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.25
"""Seconds that either thread waits for work before it shows that it is alive."""

IDLE_BLOCK_SECONDS = 0.2
"""Seconds of sound that are taken at a time while nobody speaks: fewer wake-ups. The beginning of speech is noticed
later by that; no window is."""

TIMINGS_KEPT = 1000
"""So many forwards and latencies are kept for the medians in the status."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the start. Latency: from the end of a window to its publication; forward: the model alone; in seconds."""

    cut: int
    embedded: int
    refused: int
    failed: int
    dropped: int
    depth: int
    reopened: int
    latencies: tuple[float, ...]
    forwards: tuple[float, ...]


class Live:
    """One source, followed by two threads, while `need` was called more often than `release`."""

    def __init__(
        self,
        *,
        source: Source,
        segmenter: Segmenter,
        recogniser: Recogniser,
        audio: AudioConfig,
        queue: QueueConfig,
        publish: Callable[[PipelineEvent], None],
    ) -> None:
        self._source = source
        self._segmenter = segmenter
        self._recogniser = recogniser
        self._audio = audio
        self._batch = queue.batch
        self._queue = WindowQueue(queue.windows)
        self._publish = publish
        self._state = SourceChanged(SourceState.CLOSED, source.description)
        self._woken = threading.Condition()
        self._needs = 0
        self._stopping = False
        self._marks: deque[tuple[int, float]] = deque()
        self._mark_numbers = itertools.count(1)
        self._cut = self._embedded = self._refused = self._failed = self._reopened = 0
        self._latencies: deque[float] = deque(maxlen=TIMINGS_KEPT)
        self._forwards: deque[float] = deque(maxlen=TIMINGS_KEPT)
        self.failure: AudioError | None = None  # why a file could not be read, or not to its end
        self.over = False  # the end of a finite source was published, or is about to be: nothing follows
        self.capture_alive = self.worker_alive = time.monotonic()
        self._threads = [
            threading.Thread(target=self._guard, args=(self._capture,), name="capture", daemon=True),
            threading.Thread(target=self._guard, args=(self._work,), name="worker", daemon=True),
        ]

    # What other threads may call

    def start(self) -> None:
        """Starts both threads; the source is opened when it is needed."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> bool:
        """Ends both threads and closes the source. False if one did not end within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._woken:
            self._stopping = True
            self._woken.notify_all()
        self._queue.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def need(self) -> None:
        """Somebody wants to hear: keeps the source open until `release` is called as often."""
        with self._woken:
            self._needs += 1
            self._woken.notify_all()

    def release(self) -> None:
        """Undoes one `need`."""
        with self._woken:
            self._needs -= 1

    def mark(self) -> int:
        """Only sound from now on shall count. Published as `MarkReached` with this number once that is so.

        The utterance that is under way is ended there, so that no window holds sound of before.
        """
        with self._woken:
            number = next(self._mark_numbers)
            self._marks.append((number, time.monotonic()))
            return number

    def use(self, recogniser: Recogniser) -> None:
        """Swaps model, voices and rule, from the next batch on."""
        self._recogniser = recogniser

    @property
    def needs(self) -> int:
        """How often `need` was called and not undone."""
        return self._needs

    @property
    def alive(self) -> bool:
        """Whether both threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def source(self) -> Source:
        """The source that is listened to."""
        return self._source

    @property
    def state(self) -> SourceChanged:
        """Where the source stands."""
        return self._state

    def counters(self) -> Counters:
        """A consistent enough copy: each number is right, at about the same time."""
        return Counters(
            self._cut,
            self._embedded,
            self._refused,
            self._failed,
            self._queue.dropped,
            self._queue.depth,
            self._reopened,
            tuple(self._latencies),
            tuple(self._forwards),
        )

    # The capture thread

    def _guard(self, work: Callable[[], None]) -> None:
        """A thread that dies takes its heartbeat with it; the watchdog and the status see that. Here it is logged."""
        try:
            work()
        except Exception:
            log.exception("the %s thread died", threading.current_thread().name)

    def _capture(self) -> None:
        backoff = self._audio.backoff
        try:
            while not self._stopping:
                self.capture_alive = time.monotonic()
                if not self._wanted():
                    self._rest()
                    continue
                try:
                    self._ensure_open()
                    if self._listen():
                        backoff = self._audio.backoff
                except EOFError:
                    self._end(f"the end of {self._source.description}")
                except AudioError as failure:
                    log.error("%s", failure)
                    self.failure = failure
                    self._end(str(failure))
                except SourceError as failure:
                    self._lose(failure, backoff)
                    backoff = min(2 * backoff, self._audio.backoff_limit)
        finally:
            self._source.close()

    def _end(self, detail: str) -> None:
        """No more sound will come. Told to the world behind the last window."""
        self._deliver_flush()
        self._source.close()
        self._state = SourceChanged(SourceState.ENDED, detail)
        self._enqueue(self._state)

    def _wanted(self) -> bool:
        if self._state.state is SourceState.ENDED:
            return False
        return self._needs > 0 or self._source.held_open or self._audio.always_on

    def _rest(self) -> None:
        """Nobody needs the source: closes it, and waits."""
        if self._state.state not in (SourceState.CLOSED, SourceState.ENDED):
            self._deliver_flush()
            self._source.close()
            self._change(SourceState.CLOSED, self._source.description)
        if self._state.state is SourceState.ENDED:
            self._serve_marks(None)  # so that whoever waits learns that no sound will come
        with self._woken:
            self._woken.wait_for(lambda: self._stopping or self._wanted(), POLL_INTERVAL)

    def _ensure_open(self) -> None:
        if self._state.state is SourceState.OPEN:
            return
        lost = self._state.state is SourceState.LOST
        if not lost:
            self._change(SourceState.OPENING, self._source.description)
        self._source.open()
        self._segmenter.restart()  # what the room was like when it was closed says nothing of now
        self._reopened += lost
        self._change(SourceState.OPEN, self._source.description)

    def _listen(self) -> bool:
        """Whether sound came. A device that opens and stays dumb is not back."""
        hurried = self._marks or not self._segmenter.idle
        block = self._source.read(POLL_INTERVAL, 0.0 if hurried else IDLE_BLOCK_SECONDS)
        if block is None:
            return False
        self._serve_marks(block)
        for found in self._segmenter.push(block):
            self._deliver(found)
        return True

    def _serve_marks(self, block: Block | None) -> None:
        """Starts a new stretch at the first block that was heard wholly after a mark was set."""
        while self._marks:
            number, since = self._marks[0]
            if block is not None and self._source.live and block.captured - len(block.samples) / RATE < since:
                return
            self._marks.popleft()
            self._deliver_flush()
            self._segmenter.reset()
            self._publish(MarkReached(number, self._segmenter.utterances))

    def _lose(self, failure: SourceError, backoff: float) -> None:
        log.warning("%s; trying again in %.1f s", failure, backoff)
        self._deliver_flush()
        self._source.close()
        self._change(SourceState.LOST, str(failure))
        deadline = time.monotonic() + backoff
        while not self._stopping and self._wanted() and (left := deadline - time.monotonic()) > 0:
            self.capture_alive = time.monotonic()
            with self._woken:
                self._woken.wait(min(left, POLL_INTERVAL))

    def _deliver_flush(self) -> None:
        for found in self._segmenter.flush(time.monotonic()):
            self._deliver(found)

    def _deliver(self, found: SpeechBegan | Window | SpeechEnded) -> None:
        if isinstance(found, SpeechBegan):
            self._publish(found)
            return
        self._cut += isinstance(found, Window)
        self._enqueue(found)

    def _enqueue(self, item: Item) -> None:
        if self._source.live:
            if dropped := self._queue.offer(item):
                self._publish(WindowsDropped(dropped))
            return
        while not self._stopping and not self._queue.put(item, POLL_INTERVAL):
            self.capture_alive = time.monotonic()  # it waits because the worker is slow, not because it hangs

    def _change(self, state: SourceState, detail: str) -> None:
        changed = SourceChanged(state, detail)
        if changed != self._state:
            self._state = changed
            self._publish(changed)

    # The worker thread

    def _work(self) -> None:
        while not self._stopping:
            self.worker_alive = time.monotonic()
            items = self._queue.take(self._batch, POLL_INTERVAL)
            windows = [item for item in items if isinstance(item, Window)]
            if windows:
                self._recognise(windows)
            for item in items:
                if not isinstance(item, Window):
                    self.over = isinstance(item, SourceChanged)
                    self._publish(item)

    def _recognise(self, windows: list[Window]) -> None:
        for result in self._recogniser.recognise(windows):
            if isinstance(result, FailedWindow):
                self._failed += 1
                log.error("a window could not be embedded: %s", result.detail)
            elif isinstance(result, RefusedWindow):
                self._refused += 1
            else:
                self._embedded += 1
                self._forwards.append(result.forward)
                self._latencies.append(time.monotonic() - result.window.captured)
            self._publish(result)
