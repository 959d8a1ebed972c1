"""Recordings: WAV, FLAC, OGG, MP3 and the other formats of libsndfile, at any rate, with any number of channels."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.resample import MAX_RATE, MIN_RATE, Resampler
from voiceauthd.audio.wakeup import Wakeup
from voiceauthd.errors import AudioError

MAX_RECORDING_SECONDS = 600.0
"""The longest recording that is read into memory at once: 10 minutes take 38 MB."""

MAX_CHANNELS = 64
"""No recorder has more; a header that claims more is damaged, and would allocate that much memory."""

MAX_LAG = 0.25
"""Seconds that a real-time reader may be late and still catch up. If it is later, playback is postponed."""

Pace = Literal["realtime", "fast"]


class FileSource:
    """A `Source` that plays a recording block by block, without loading it all into memory.

    It waits for its reader, so nothing is dropped. `open` after `close` plays it again from the beginning.
    """

    live = False
    held_open = False
    finite = True

    def __init__(self, path: Path, block_ms: int, pace: Pace) -> None:
        """pace: "realtime" delivers each block when it is due, counted from the first `read`; "fast" at once."""
        self._path = path
        self._block_ms = block_ms
        self._pace = pace
        self._recording: Recording | None = None
        self._wakeup = Wakeup()
        self._start = 0
        self._gap = False
        self._origin = 0.0  # monotonic time at which sample 0 of this playback is due
        self._played = 0
        self._not_due: Samples | None = None  # samples already read from the file, whose time has not come

    @property
    def description(self) -> str:
        """Such as "recording 'talk.flac' in real time"."""
        pace = "in real time" if self._pace == "realtime" else "as fast as possible"
        return f"recording {str(self._path)!r} {pace}"

    @property
    def overflows(self) -> int:
        """Always 0: a recording waits for its reader."""
        return 0

    def open(self) -> None:
        """Start from the beginning. Raises `AudioError` if the file is missing, unreadable, empty or not audio."""
        self.close()
        self._wakeup.clear()
        self._recording = Recording(self._path, self._block_ms)
        self._gap = self._start > 0
        self._origin = 0.0
        self._played = 0
        self._not_due = None

    def read(self, timeout: float, at_least: float = 0.0) -> Block | None:
        """Return the next block, or None if it is not due within `timeout` seconds, or when closed.

        Raises `EOFError` at the end and `AudioError` where the file is damaged.
        """
        recording = self._recording
        if recording is None:
            return None
        samples = recording.next() if self._not_due is None else self._not_due
        self._not_due = samples
        captured = now = time.monotonic()
        if self._pace == "realtime":
            duration = (self._played + len(samples)) / RATE
            if self._played == 0 and self._origin == 0.0:
                self._origin = now
            self._origin = max(self._origin, now - MAX_LAG - duration)
            captured = self._origin + duration
            if not self._wakeup.sleep_until(min(captured, now + timeout)) or time.monotonic() < captured:
                return None
        block = Block(samples, self._start, captured, self._gap)
        self._not_due = None
        self._start += len(samples)
        self._played += len(samples)
        self._gap = False
        return block

    def close(self) -> None:
        """Stop playing, and end a `read` that waits in another thread."""
        self._recording = None  # the descriptor closes with the last reference, which a reading thread may still hold
        self._wakeup.set()


class Recording:
    """An open audio file, read from start to end as 16 kHz mono."""

    def __init__(self, path: Path, block_ms: int) -> None:
        """Open the file. Raises `AudioError`, which says what is wrong with the file and what to do."""
        self._path = path
        self._descriptor = _open(path)
        try:
            self._file = soundfile.SoundFile(self._descriptor, closefd=False)
        except soundfile.LibsndfileError as error:
            os.close(self._descriptor)
            raise AudioError(f"{path}: not audio ({_reason(error)}): use WAV, FLAC, OGG or MP3") from error
        except BaseException:
            os.close(self._descriptor)
            raise
        # After each read of a seekable file, soundfile seeks to the current position. That breaks MP3 decoding: a
        # tone lost a third to two thirds of its level. It also trusts the length in the header of a truncated file.
        self._file.seekable = lambda: False
        rate, channels = self._file.samplerate, self._file.channels
        if not (MIN_RATE <= rate <= MAX_RATE and channels <= MAX_CHANNELS):
            raise AudioError(f"{path}: not usable audio ({rate} Hz, {channels} channels): its header may be damaged")
        self._resampler = Resampler(rate, channels)
        self._frames: NDArray[np.float32] = np.zeros((max(1, rate * block_ms // 1000), channels), dtype=np.float32)
        self._frames_read = 0
        self._ended = False

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
            os.close(self._descriptor)

    def next(self) -> Samples:
        """Return the next samples, at least one.

        Raises `EOFError` at the end, and `AudioError` for a damaged file or one without any samples.
        """
        while not self._ended:
            try:
                frames = self._file.read(out=self._frames)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"{self._path}: damaged after {self._seconds:.2f} s ({_reason(error)})") from error
            if not np.isfinite(frames).all():
                raise AudioError(f"{self._path}: damaged after {self._seconds:.2f} s (samples that are not numbers)")
            self._frames_read += len(frames)
            self._ended = len(frames) < len(self._frames)
            samples = self._resampler.push(frames)
            if self._ended:
                samples = np.concatenate((samples, self._resampler.flush()))
            if self._frames_read == 0:
                raise AudioError(f"{self._path}: contains no audio, perhaps because it was cut off: record it again")
            if len(samples) > 0:
                return samples
        raise EOFError(f"{self._path}: the end of the recording")

    @property
    def _seconds(self) -> float:
        return self._frames_read / float(self._file.samplerate)


def read_recording(path: Path) -> Samples:
    """Return a whole recording as 16 kHz mono, shape (n,), resampled exactly as `FileSource` does it.

    Raises `AudioError` as `FileSource` does, and with reason `too_long` if it is longer than `MAX_RECORDING_SECONDS`.
    """
    recording = Recording(path, block_ms=100)
    pieces: list[Samples] = []
    total = 0
    while True:
        try:
            pieces.append(recording.next())
        except EOFError:
            return np.concatenate(pieces)
        total += len(pieces[-1])
        if total > MAX_RECORDING_SECONDS * RATE:
            raise AudioError(f"{path}: longer than {MAX_RECORDING_SECONDS / 60:.0f} minutes: cut it", "too_long")


def _open(path: Path) -> int:
    """Return a descriptor of a regular, non-empty file. Raises `AudioError` for anything else."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file: check the path") from error
    except PermissionError as error:
        raise AudioError(f"{path}: this user may not read it: change its permissions, or copy it") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    status = os.fstat(descriptor)
    problem = None
    if stat.S_ISDIR(status.st_mode):
        problem = "a folder: name a recording in it"
    elif not stat.S_ISREG(status.st_mode):
        problem = "not a regular file: pipe raw PCM into standard input instead (source `-`)"
    elif status.st_size == 0:
        problem = "an empty file: record it again"
    if problem is not None:
        os.close(descriptor)
        raise AudioError(f"{path}: {problem}")
    return descriptor


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
