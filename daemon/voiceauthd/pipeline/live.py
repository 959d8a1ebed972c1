"""The live pipeline: a capture thread, a bounded queue and a worker thread around the functions of `recogniser.py`.

The path of a block of audio, from the microphone to the socket, in the order of the methods below:

    audio/ring.py            PortAudio's callback copies the frames into a ring.
    Live._capture            Capture thread: keeps the source open while it is needed, and reads it.
    Live._read_block         Reads a block (audio/microphone.py mixes it down and resamples it to 16 kHz), and gives it
                             to the segmenter (speech/segmenter.py), which cuts windows out of utterances.
    Live._deliver            Publishes the beginning of an utterance at once; windows and ends are queued.
    Live._enqueue            WindowQueue (window_queue.py) is bounded: a live source drops its oldest windows, a file
                             waits.
    Live._work               Worker thread: takes windows of equal length as one batch.
    Live._recognise          Recogniser (recogniser.py) refuses or embeds each window, compares and identifies it.
    publish                  The daemon's event bus (service/event_bus.py) passes the event to the requests in its
                             asyncio thread, which write their replies to the socket (service/, server/).

`publish` is called from both threads and must not block. It gets every event of events.py once, in order, except that
the beginning of an utterance and the state of the source overtake the windows that are still waiting; the end of a
finite source does not.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voiceauthd.audio.block import RATE, Block, Source
from voiceauthd.config.schema import AudioConfig, QueueConfig
from voiceauthd.errors import AudioError, SourceError
from voiceauthd.pipeline.events import MarkReached, PipelineEvent, SourceChanged, SourceState, WindowsDropped
from voiceauthd.pipeline.meter import Meter
from voiceauthd.pipeline.recogniser import FailedWindow, Recogniser, RefusedWindow
from voiceauthd.pipeline.window_queue import Item, WindowQueue
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import SpeechBegan, SpeechEvent, Window

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.25
"""Seconds that either thread waits for work before it updates its sign of life."""

IDLE_BLOCK_SECONDS = 0.2
"""Audio that is read at a time while nobody speaks, to wake up less often. The beginning of speech is noticed later
because of it; no window is delayed."""

TIMINGS_KEPT = 1000
"""Number of forward times and latencies kept for the medians in the status."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Numbers of windows and other counts since the start, and recent timings.

    depth      windows waiting now
    reopened   times that a lost source was opened again
    latencies  seconds from the end of a window to its publication
    forwards   seconds of the model alone
    """

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
    """Follows one source with two threads, while `need` has been called more often than `release`.

    failure         why a file could not be read, or not to its end; None if there was no failure
    ended           the end of a finite source was published, or is about to be: no events follow
    capture_alive   monotonic times at which the two threads last showed that they work
    worker_alive
    """

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
        self._marks: deque[tuple[int, float]] = deque()  # number, and when it was set
        self._mark_numbers = itertools.count(1)
        self._meters: tuple[Meter, ...] = ()
        self._cut = self._embedded = self._refused = self._failed = self._reopened = 0
        self._latencies: deque[float] = deque(maxlen=TIMINGS_KEPT)
        self._forwards: deque[float] = deque(maxlen=TIMINGS_KEPT)
        self._trouble = ""  # the last reason that was logged; "" once audio arrives
        self.failure: AudioError | None = None
        self.ended = False
        self.capture_alive = self.worker_alive = time.monotonic()
        self._threads = [
            threading.Thread(target=self._guard, args=(self._capture,), name="capture", daemon=True),
            threading.Thread(target=self._guard, args=(self._work,), name="worker", daemon=True),
        ]

    # Methods for other threads

    def start(self) -> None:
        """Start both threads. The source is opened when it is needed."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> bool:
        """End both threads and close the source. Returns False if a thread did not end within `timeout` seconds."""
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
        """Keep the source open until `release` is called as often as this."""
        with self._woken:
            self._needs += 1
            self._woken.notify_all()

    def release(self) -> None:
        """Undo one `need`."""
        with self._woken:
            self._needs -= 1

    def mark(self) -> int:
        """Let only audio captured from now on count. `MarkReached` is published with this number when that is so.

        The current utterance is ended there, so that no window contains earlier audio.
        """
        with self._woken:
            number = next(self._mark_numbers)
            self._marks.append((number, time.monotonic()))
            return number

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Provide a level meter that follows the source until the block ends. Without one, nothing is measured."""
        meter = Meter()
        with self._woken:
            self._meters = (*self._meters, meter)
        try:
            yield meter
        finally:
            with self._woken:
                self._meters = tuple(other for other in self._meters if other is not meter)

    def use(self, recogniser: Recogniser) -> None:
        """Replace model, voices and rule, from the next batch on."""
        self._recogniser = recogniser

    @property
    def needs(self) -> int:
        """How often `need` was called and not undone."""
        return self._needs

    @property
    def alive(self) -> bool:
        """Whether both threads are running."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def source(self) -> Source:
        """The source that is read."""
        return self._source

    @property
    def state(self) -> SourceChanged:
        """The current state of the source."""
        return self._state

    def counters(self) -> Counters:
        """Return a copy of the counters. Each number is correct, but they are not read at exactly the same time."""
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

    # The capture thread: from blocks to queued windows

    def _guard(self, work: Callable[[], None]) -> None:
        """Run a thread. If it dies, its sign of life stops, which the watchdog and the status notice; log it here."""
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
                    if self._read_block():
                        backoff, self._trouble = self._audio.backoff, ""
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

    def _read_block(self) -> bool:
        """Read a block and segment it. Returns whether there was one: a device that opens may still deliver nothing."""
        hurry = self._marks or not self._segmenter.idle
        block = self._source.read(POLL_INTERVAL, 0.0 if hurry else IDLE_BLOCK_SECONDS)
        if block is None:
            return False
        self._serve_marks(block)
        for event in self._segmenter.push(block):
            self._deliver(event)
        for meter in self._meters:
            meter.add(block.samples, *self._segmenter.running)
        return True

    def _serve_marks(self, block: Block | None) -> None:
        """Reset the segmenter at the first block that was captured completely after a mark was set.

        block: the block that was just read; None serves all marks now
        """
        while self._marks:
            number, since = self._marks[0]
            if block is not None and self._source.live and block.captured - len(block.samples) / RATE < since:
                return
            self._marks.popleft()
            self._deliver_flush()
            self._segmenter.reset()
            self._publish(MarkReached(number, self._segmenter.utterances))

    def _deliver_flush(self) -> None:
        for event in self._segmenter.flush(time.monotonic()):
            self._deliver(event)

    def _deliver(self, event: SpeechEvent) -> None:
        if isinstance(event, SpeechBegan):
            self._publish(event)
            return
        self._cut += isinstance(event, Window)
        self._enqueue(event)

    def _enqueue(self, item: Item) -> None:
        if self._source.live:
            if dropped := self._queue.offer(item):
                self._publish(WindowsDropped(dropped))
            return
        while not self._stopping and not self._queue.put(item, POLL_INTERVAL):
            self.capture_alive = time.monotonic()  # this thread waits for a slow worker; it does not hang

    # The worker thread: from queued windows to published results

    def _work(self) -> None:
        while not self._stopping:
            self.worker_alive = time.monotonic()
            items = self._queue.take(self._batch, POLL_INTERVAL)
            windows = [item for item in items if isinstance(item, Window)]
            if windows:
                self._recognise(windows)
            for item in items:
                if not isinstance(item, Window):
                    self.ended = isinstance(item, SourceChanged)
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

    # The capture thread: opening, losing and closing the source

    def _wanted(self) -> bool:
        if self._state.state is SourceState.ENDED:
            return False
        return self._needs > 0 or self._source.held_open or self._audio.always_on

    def _rest(self) -> None:
        """Close the source if nobody needs it, and wait until somebody does."""
        if self._state.state not in (SourceState.CLOSED, SourceState.ENDED):
            self._deliver_flush()
            self._source.close()
            self._change(SourceState.CLOSED, self._source.description)
        if self._state.state is SourceState.ENDED:
            self._serve_marks(None)  # so that waiting requests learn that no audio will follow
        with self._woken:
            self._woken.wait_for(lambda: self._stopping or self._wanted(), POLL_INTERVAL)

    def _ensure_open(self) -> None:
        if self._state.state is SourceState.OPEN:
            return
        lost = self._state.state is SourceState.LOST
        if not lost:
            self._change(SourceState.OPENING, self._source.description)
        self._source.open()
        self._segmenter.restart()  # the noise of the room may have changed while the source was closed
        self._reopened += lost
        self._change(SourceState.OPEN, self._source.description)

    def _lose(self, failure: SourceError, backoff: float) -> None:
        """Close a source that failed, and wait `backoff` seconds before the next attempt."""
        # Once per trouble: a machine without a microphone would fill its journal.
        level = logging.DEBUG if str(failure) == self._trouble else logging.WARNING
        self._trouble = str(failure)
        log.log(level, "%s; trying again until it works, next in %.1f s", failure, backoff)
        self._deliver_flush()
        self._source.close()
        self._change(SourceState.LOST, str(failure))
        deadline = time.monotonic() + backoff
        while not self._stopping and self._wanted() and (left := deadline - time.monotonic()) > 0:
            self.capture_alive = time.monotonic()
            with self._woken:
                self._woken.wait(min(left, POLL_INTERVAL))

    def _end(self, detail: str) -> None:
        """Close a source without further audio. Its end is published after the last window."""
        self._deliver_flush()
        self._source.close()
        self._state = SourceChanged(SourceState.ENDED, detail)
        self._enqueue(self._state)

    def _change(self, state: SourceState, detail: str) -> None:
        changed = SourceChanged(state, detail)
        if changed != self._state:
            self._state = changed
            self._publish(changed)
