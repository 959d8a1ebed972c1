"""The microphone, through PortAudio: the device's own rate and channels in, 16 kHz mono blocks out."""

from __future__ import annotations

import threading
import time

import numpy as np

from voiceauthd.audio.block import RATE, Block
from voiceauthd.audio.portaudio import CALLBACK_MS, PORTAUDIO, Device, Stream
from voiceauthd.audio.resample import Resampler
from voiceauthd.audio.ring import CapturedFrames
from voiceauthd.errors import SourceError

FIRST_SOUND = 3.0
"""Seconds that a device may take to deliver its first sound. A Bluetooth headset changes its profile in 1 to 2 s, and
PulseAudio's null sink fills a buffer of 2 s first."""

CREEP = 0.01
"""How much faster than its nominal rate the sound may seem to flow. Crystals are true to 1e-4; the rest lets an
estimate that was too early, from a driver's first guess, come right within seconds."""

RESYNC = 0.25
"""Seconds by which the expected time may lag behind the observed one before sound must have been lost unnoticed."""


MAX_BLOCK = 0.2
"""Seconds. The longest block: what waits is given at once, up to this much."""


class Microphone:
    """A `Source` that listens to a sound device.

    A device that goes away ends the stream or silences it, and `read` raises. A sound server may instead move the
    stream to another microphone that it has; PortAudio is not told, so neither are we.
    """

    live = True
    held_open = False
    finite = False

    def __init__(self, device: str | int | None, block_ms: int, stall: float) -> None:
        """device: name, part of a name, PortAudio's index, or None for the default.
        block_ms: length of a block, in whole callbacks.
        stall: seconds without any sound after which the device counts as lost."""
        self._device = device
        self._block_ms = block_ms
        self._stall = stall
        self._swap = threading.Lock()  # between `open` and a `close` from another thread; never in the callback
        self._stream: Stream | None = None
        self._resampler = Resampler(RATE, 1)
        self._last: Device | None = None
        self._detail = ""
        self._overflows = 0
        self._start = 0
        self._gap = False
        self._alive = 0.0
        self._patience = stall
        self._expected: float | None = None
        self._zeros = 0

    @property
    def description(self) -> str:
        """Such as "microphone 'pulse' at 44100 Hz, 2 channels"; without the format before it was first opened."""
        if self._last is not None:
            return f"microphone {self._last.name!r} {self._detail}"
        return "the default microphone" if self._device is None else f"microphone {self._device!r}"

    @property
    def overflows(self) -> int:
        """How often PortAudio or a full ring lost sound, since this object was made."""
        stream = self._stream
        return self._overflows + (stream.ring.overflows if stream is not None else 0)

    @property
    def silent_for(self) -> float:
        """Seconds of exact digital zero up to now: a muted or dead microphone. A live one always has some noise."""
        return self._zeros / RATE

    def open(self) -> None:
        """Starts listening. Raises `SourceError` if the device is missing, ambiguous, or cannot be opened."""
        self.close()
        stream = PORTAUDIO.open(self._device)
        self._resampler = Resampler(stream.rate, stream.channels)
        self._last = stream.device
        self._detail = f"at {stream.rate} Hz, {stream.channels} channel{'s' if stream.channels > 1 else ''}"
        self._gap = self._start > 0
        self._alive = time.monotonic()
        self._patience = max(self._stall, FIRST_SOUND)
        self._expected = None
        self._zeros = 0
        with self._swap:
            self._stream = stream

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        """The next block, None after `timeout` seconds without one, and None at once when closed.

        Raises `SourceError`, reason `device_lost`, if the stream has ended or nothing came for `stall` seconds.
        """
        deadline = time.monotonic() + timeout
        most = round(MAX_BLOCK * 1000.0) // CALLBACK_MS
        wanted = min(most, max(1, round(max(at_least * 1000.0, self._block_ms)) // CALLBACK_MS))
        while (stream := self._stream) is not None:
            now = time.monotonic()
            stream.ring.wait(wanted, min(deadline, self._alive + self._patience + 0.001) - now)
            ended = stream.ring.finished
            heard = stream.ring.take(most)
            if heard is not None:
                block = self._block(stream, heard)
                if block is not None:
                    return block
                continue
            if stream is not self._stream:
                return None
            now = time.monotonic()
            if ended or now - self._alive > self._patience:
                what = "has ended" if ended else f"has given no sound for {self._patience:g} s"
                raise SourceError(
                    f"{self.description} {what}: unplugged, suspended, or without its sound server; reconnect it",
                    "device_lost",
                )
            if now >= deadline:
                return None
        return None

    def close(self) -> None:
        """Stops listening. From any thread, at any time, twice; never waits for a driver that hangs."""
        with self._swap:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.ring.release()
            PORTAUDIO.close(stream)
            self._overflows += stream.ring.overflows

    def _block(self, stream: Stream, heard: CapturedFrames) -> Block | None:
        self._alive = time.monotonic()
        self._patience = self._stall
        if not np.isfinite(heard.frames).all():
            raise SourceError(f"{self.description} delivers samples that are not numbers: its driver is broken")
        captured = self._when(heard.captured, len(heard.frames) / stream.rate, heard.gap)
        self._gap = self._gap or heard.gap
        samples = self._resampler.push(heard.frames)
        if len(samples) == 0:
            return None
        self._zeros = 0 if samples.any() else self._zeros + len(samples)
        block = Block(samples, self._start, captured - self._resampler.pending, self._gap)
        self._start += len(samples)
        self._gap = False
        return block

    def _when(self, observed: float, duration: float, gap: bool) -> float:
        """When the last frame was heard. A callback can be late but never early, and sound flows at its own steady
        rate, so a block was heard no later than its duration after the one before it."""
        if self._expected is None or gap or observed - self._expected > RESYNC:
            self._expected = observed
        else:
            self._expected = min(observed, self._expected + duration * (1.0 + CREEP))
        return self._expected
