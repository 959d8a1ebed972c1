"""`Decoder`, what reads the frames of an audio file, and the one for libsndfile: WAV, FLAC, OGG, MP3 and more."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

TOLERATED_REST = 4096
"""Bytes that may follow the sound, such as tags."""


class DecodeError(Exception):
    """The file, or the rest of it, cannot be decoded. The message is the library's reason, without a full stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Consecutive frames of a file.

    samples  shape (n, channels), at least one frame; valid until the decoder reads on
    rate     frames per second, which may change within a file
    """

    samples: NDArray[np.float32]
    rate: int


class Decoder(Protocol):
    """Reads a file from start to end, a block at a time. The file's descriptor stays the caller's.

    rate      frames per second at the start
    channels  at the start
    """

    rate: int
    channels: int

    @property
    def seconds(self) -> float | None:
        """The length that the header gives, if it gives one."""
        ...

    def read(self) -> Frames | None:
        """Return the next block; None at the end. Raises `DecodeError` where the file is damaged."""
        ...

    def close(self) -> None:
        """Free what the library holds."""
        ...


class SoundFileDecoder:
    """A `Decoder` of the formats that libsndfile reads."""

    def __init__(self, descriptor: int, block_ms: int) -> None:
        """descriptor: of a regular file, at its start. Raises `DecodeError` for a format that it does not know."""
        try:
            self._file = soundfile.SoundFile(descriptor, closefd=False)
        except soundfile.LibsndfileError as error:
            raise DecodeError(_reason(error)) from error
        # After each read of a seekable file, soundfile seeks to the current position. That breaks MP3 decoding: a
        # tone lost a third to two thirds of its level. It also trusts the length in the header of a truncated file.
        self._file.seekable = lambda: False
        self._descriptor = descriptor
        self._ended = False
        if self._file.frames == 0 and self._bytes_left() > TOLERATED_REST:
            self._file.close()
            raise DecodeError("its header says that it is empty, but it is not")  # as a recorder leaves it that crashed
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self._size = max(1, self.rate * block_ms // 1000)
        self._buffer: NDArray[np.float32] | None = None

    @property
    def seconds(self) -> float | None:
        """The length that the header gives."""
        return float(self._file.frames / self.rate)

    def read(self) -> Frames | None:
        """Return the next block; None at the end. Raises `DecodeError` where the file is damaged."""
        if self._ended:
            return None
        if self._buffer is None:  # only now, when the caller has seen that the header's numbers are sane
            self._buffer = np.zeros((self._size, self.channels), dtype=np.float32)
        try:
            samples = self._file.read(out=self._buffer)
        except soundfile.LibsndfileError as error:
            raise DecodeError(_reason(error)) from error
        self._ended = len(samples) < self._size
        return Frames(samples, self.rate) if len(samples) > 0 else None

    @property
    def stopped_early(self) -> bool:
        """True at the end if the file goes on: libsndfile reads the first of joined OGG or MP3 files only."""
        return self._ended and self._file.format in {"OGG", "MP3", "MPEG"} and self._bytes_left() > TOLERATED_REST

    def close(self) -> None:
        """Free what libsndfile holds."""
        self._file.close()

    def _bytes_left(self) -> int:
        return os.fstat(self._descriptor).st_size - os.lseek(self._descriptor, 0, os.SEEK_CUR)


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
