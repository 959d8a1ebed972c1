"""Raw PCM from a pipe: signed 16-bit little-endian, 16 kHz, mono, as `arecord -f S16_LE -r 16000 -t raw` writes it."""

from __future__ import annotations

import os
import stat
import time

from voiceauthd.audio.block import RATE, Block
from voiceauthd.audio.pcm import SAMPLE_BYTES, from_pcm16
from voiceauthd.audio.wakeup import Wakeup
from voiceauthd.errors import SourceError

EXAMPLE = "arecord -q -f S16_LE -r 16000 -c 1 -t raw | voiceauth run --source -"


class PcmSource:
    """A `Source` that reads raw PCM from a descriptor, which it neither opens nor closes.

    A pipe is live: its writer loses audio when it is not read. A redirected file waits. A writer that pauses does not
    count as a lost device; there is just nothing to read.
    """

    held_open = True
    finite = True

    def __init__(self, descriptor: int, block_ms: int) -> None:
        """descriptor: 0 for standard input. block_ms: length of a block in milliseconds."""
        self._descriptor = descriptor
        self._block_bytes = RATE * block_ms // 1000 * SAMPLE_BYTES
        self._wakeup = Wakeup()
        self._pending = bytearray()
        self._is_open = False
        self._ended = False
        self._start = 0
        self._gap = False
        self.live = not _is_regular(descriptor)

    @property
    def description(self) -> str:
        """Such as "standard input, raw PCM at 16000 Hz"."""
        name = "standard input" if self._descriptor == 0 else f"descriptor {self._descriptor}"
        return f"{name}, raw PCM at {RATE} Hz"

    @property
    def overflows(self) -> int:
        """Always 0: audio that the writer loses cannot be noticed here."""
        return 0

    def open(self) -> None:
        """Start reading. Raises `SourceError` if the descriptor is closed, a terminal or a folder."""
        try:
            folder = stat.S_ISDIR(os.fstat(self._descriptor).st_mode)
        except OSError as error:
            raise SourceError(f"{self.description}: closed; pipe audio into it: {EXAMPLE}") from error
        if folder or os.isatty(self._descriptor):
            what = "a folder" if folder else "a terminal"
            raise SourceError(f"{self.description}: this is {what}; pipe audio into it: {EXAMPLE}")
        self._wakeup.clear()
        self._gap = self._start > 0
        self._pending.clear()
        self._is_open = True

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        """Return the next block, or None if none was complete within `timeout` seconds, or when closed.

        The last block may be shorter; a single byte after it is dropped. Raises `EOFError` when the writer has ended,
        and `SourceError` if the descriptor cannot be read.
        """
        deadline = time.monotonic() + timeout
        while self._is_open:
            missing = self._block_bytes - len(self._pending)
            if missing <= 0 or (self._ended and len(self._pending) >= SAMPLE_BYTES):
                return self._block()
            if self._ended:
                raise EOFError(f"{self.description}: the writer has ended")
            if self._wakeup.wait(deadline - time.monotonic(), self._descriptor):
                self._take(missing)
            elif time.monotonic() >= deadline:
                return None
        return None

    def close(self) -> None:
        """Stop reading, and end a `read` that waits in another thread."""
        self._is_open = False
        self._wakeup.set()

    def _take(self, size: int) -> None:
        try:
            data = os.read(self._descriptor, size)
        except BlockingIOError:
            return
        except OSError as error:
            raise SourceError(f"{self.description}: cannot be read ({error.strerror})") from error
        self._ended = not data
        self._pending += data

    def _block(self) -> Block:
        size = min(len(self._pending), self._block_bytes) // SAMPLE_BYTES * SAMPLE_BYTES
        samples = from_pcm16(bytes(self._pending[:size]))
        del self._pending[:size]
        block = Block(samples, self._start, time.monotonic(), self._gap)
        self._start += len(samples)
        self._gap = False
        return block


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
