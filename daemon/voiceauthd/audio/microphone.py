"""`Microphone`, the source that records through PortAudio, at the device's own rate, and delivers 16 kHz mono."""

from __future__ import annotations

import threading
import time

import numpy as np

from voiceauthd.audio.block import RATE, Block
from voiceauthd.audio.portaudio import CALLBACK_MS, PORTAUDIO, Device, Stream
from voiceauthd.audio.resample import Resampler
from voiceauthd.audio.ring import CapturedFrames
from voiceauthd.errors import SourceError

FIRST_BLOCK_TIMEOUT = 3.0
"""Seconds that a device may take to deliver its first frames. A Bluetooth headset changes its profile in 1 to 2 s, and
PulseAudio's null sink first fills a buffer of 2 s."""

CLOCK_TOLERANCE = 0.01
"""Relative amount by which audio time may advance faster than the nominal rate. Crystals are accurate to 1e-4; the rest
corrects an estimate that was too early, from a driver's first guess, within seconds."""

MAX_CLOCK_LAG = 0.25
"""Seconds by which the expected time may lag behind the observed one. Beyond that, audio was lost without notice."""

MAX_BLOCK_SECONDS = 0.2
"""Length of the longest block. Frames that are already waiting are delivered together, up to this length."""


class Microphone:
    """A `Source` that records from a sound device.

    If the device disappears, the stream ends or stops delivering, and `read` raises. A sound server may instead move
    the stream to another microphone; PortAudio does not report that, so this class cannot notice it.
    """

    live = True
    held_open = False
    finite = False

    def __init__(self, device: str | int | None, block_ms: int, stall: float) -> None:
        """device: name, part of a name, PortAudio's index, or None for the default.
        block_ms: length of a block, rounded down to whole callbacks.
        stall: seconds without any frames after which the device counts as lost."""
        self._device = device
        self._block_ms = block_ms
        self._stall = stall
        self._swap = threading.Lock()  # between `open` and a `close` from another thread; not used in the callback
        self._stream: Stream | None = None
        self._resampler = Resampler(RATE, 1)
        self._last: Device | None = None
        self._detail = ""
        self._overflows = 0
        self._start = 0
        self._gap = False
        self._last_frames = 0.0  # when frames last arrived, on the monotonic clock
        self._stall_limit = stall  # seconds without frames after which the device counts as lost
        self._expected: float | None = None
        self._zeros = 0

    @property
    def description(self) -> str:
        """Such as "microphone 'pulse' at 44100 Hz, 2 channels"; without the format until it is first opened."""
        if self._last is not None:
            return f"microphone {self._last.name!r} {self._detail}"
        return "the default microphone" if self._device is None else f"microphone {self._device!r}"

    @property
    def overflows(self) -> int:
        """How often PortAudio or a full ring lost frames, since this object was created."""
        stream = self._stream
        return self._overflows + (stream.ring.overflows if stream is not None else 0)

    @property
    def silent_for(self) -> float:
        """Seconds of exact digital zero up to now. A live microphone always has some noise; zeros mean it is muted."""
        return self._zeros / RATE

    @property
    def finding(self) -> str | None:
        """What was wrong with its channels, and which are used; None if nothing was, since it was last opened."""
        return self._resampler.finding

    def open(self) -> None:
        """Start recording. Raises `SourceError` if the device is missing, ambiguous, or cannot be opened."""
        self.close()
        stream = PORTAUDIO.open(self._device)
        self._resampler = Resampler(stream.rate, stream.channels)
        self._last = stream.device
        self._detail = f"at {stream.rate} Hz, {stream.channels} channel{'s' if stream.channels > 1 else ''}"
        self._gap = self._start > 0
        self._last_frames = time.monotonic()
        self._stall_limit = max(self._stall, FIRST_BLOCK_TIMEOUT)
        self._expected = None
        self._zeros = 0
        with self._swap:
            self._stream = stream

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        """Return the next block, None after `timeout` seconds without one, and None at once when closed.

        Raises `SourceError`, reason `device_lost`, if the stream has ended or nothing arrived for `stall` seconds.
        """
        deadline = time.monotonic() + timeout
        max_callbacks = round(MAX_BLOCK_SECONDS * 1000.0) // CALLBACK_MS
        wanted = min(max_callbacks, max(1, round(max(at_least * 1000.0, self._block_ms)) // CALLBACK_MS))
        while (stream := self._stream) is not None:
            now = time.monotonic()
            stream.ring.wait(wanted, min(deadline, self._last_frames + self._stall_limit + 0.001) - now)
            ended = stream.ring.finished
            frames = stream.ring.take(max_callbacks)
            if frames is not None:
                block = self._block(stream, frames)
                if block is not None:
                    return block
                continue
            if stream is not self._stream:
                return None
            now = time.monotonic()
            if ended or now - self._last_frames > self._stall_limit:
                what = "has ended" if ended else f"has delivered nothing for {self._stall_limit:g} s"
                raise SourceError(
                    f"{self.description} {what}: unplugged, suspended, or without its sound server; reconnect it",
                    "device_lost",
                )
            if now >= deadline:
                return None
        return None

    def close(self) -> None:
        """Stop recording. May be called from any thread, at any time, twice; never waits for a driver that hangs."""
        with self._swap:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.ring.release()
            PORTAUDIO.close(stream)
            self._overflows += stream.ring.overflows

    def _block(self, stream: Stream, captured_frames: CapturedFrames) -> Block | None:
        """Return the frames as a block at 16 kHz; None if the resampler still holds all of them back."""
        self._last_frames = time.monotonic()
        self._stall_limit = self._stall
        frames, gap = captured_frames.frames, captured_frames.gap
        if not np.isfinite(frames).all():
            raise SourceError(f"{self.description} delivers samples that are not numbers: its driver is broken")
        captured = self._capture_time(captured_frames.captured, len(frames) / stream.rate, gap)
        self._gap = self._gap or gap
        samples = self._resampler.push(frames)
        if len(samples) == 0:
            return None
        self._zeros = 0 if samples.any() else self._zeros + len(samples)
        block = Block(samples, self._start, captured - self._resampler.pending, self._gap)
        self._start += len(samples)
        self._gap = False
        return block

    def _capture_time(self, observed: float, duration: float, gap: bool) -> float:
        """Return when the last frame was captured.

        A callback can be late but never early, and the device records at a steady rate, so a block was captured no
        later than its duration after the one before it.
        """
        if self._expected is None or gap or observed - self._expected > MAX_CLOCK_LAG:
            self._expected = observed
        else:
            self._expected = min(observed, self._expected + duration * (1.0 + CLOCK_TOLERANCE))
        return self._expected
