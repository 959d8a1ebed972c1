"""Recordings: all formats that libsndfile reads and, with PyAV, those of telephones and video cameras.

At any rate, and with any number of channels.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from pathlib import Path
from typing import Literal

import numpy as np

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.decoder import DecodeError, Decoder, Frames, SoundFileDecoder
from voiceauthd.audio.media_file import BEGINNING, MediaFileDecoder, install_command, media_format
from voiceauthd.audio.mixdown import LOOK_AHEAD_SECONDS
from voiceauthd.audio.resample import MAX_RATE, MIN_RATE, Resampler
from voiceauthd.audio.wakeup import Wakeup
from voiceauthd.errors import AudioError

MAX_RECORDING_SECONDS = 600.0
"""The longest recording that is read into memory at once: 10 minutes take 38 MB."""

MAX_CHANNELS = 64
"""No recorder has more; a header that claims more is damaged, and would allocate that much memory."""

SUFFIXES = frozenset(
    {
        *(".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif"),
        *(".m4a", ".aac", ".amr", ".awb", ".3gp", ".3g2", ".3gpp", ".caf", ".wma"),
        *(".mp4", ".m4v", ".mov", ".mkv", ".mka", ".webm", ".weba", ".avi"),
    }
)
"""Names that recordings end with, where a folder is searched for them. A file that is given is read in any case."""

MAX_LAG = 0.25
"""Seconds that a real-time reader may be late and still catch up. If it is later, playback is postponed."""

MAX_LOOK_AHEAD = 1_000_000
"""Samples, of all channels together, that are read before the first one is used."""

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
        self._descriptor = -1
        self._descriptor = _open(path)
        self._decoder: Decoder | None = None
        self._block_ms = block_ms
        self._decoded = 0.0  # seconds that came from the decoder
        self._seconds = 0.0  # seconds of them that were given out
        self._ended = False
        self._ahead: deque[Frames] = deque()  # already read from the file
        self._failure: DecodeError | None = None  # comes after them
        try:
            self._decoder = _decoder(path, self._descriptor, block_ms)
            self._format = self._decoder.rate, self._decoder.channels
            self._resampler = self._new_resampler()
            self._look_ahead()
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. It also closes with the last reference to this object."""
        if self._descriptor >= 0:
            if self._decoder is not None:
                self._decoder.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def next(self) -> Samples:
        """Return the next samples, at least one.

        Raises `EOFError` at the end, and `AudioError` for a damaged file or one without any samples.
        """
        while not self._ended:
            try:
                frames = self._read()
            except DecodeError as error:
                raise self._damaged(str(error)) from error
            if frames is None:
                self._ended = True
                if self._seconds == 0.0:
                    raise AudioError(
                        f"{self._path}: contains no audio, perhaps because it was cut off: record it again"
                    )
                samples = self._resampler.flush()
            else:
                samples = self._resampled(frames)
            if len(samples) > 0:
                return samples
        raise EOFError(f"{self._path}: the end of the recording")

    def duration(self) -> float:
        """Return the seconds from start to end: from the header, or else by decoding, which ends this recording.

        Raises `AudioError` where a file whose header does not say it is damaged.
        """
        assert self._decoder is not None
        length = self._decoder.seconds
        if length is not None:
            return length
        samples = 0
        while True:
            try:
                samples += len(self.next())
            except EOFError:
                return samples / RATE

    def _resampled(self, frames: Frames) -> Samples:
        if not np.isfinite(frames.samples).all():
            raise self._damaged("samples that are not numbers")
        rest = np.zeros(0, dtype=np.float32)
        if (frames.rate, frames.samples.shape[1]) != self._format:  # files that were joined
            rest = self._resampler.flush()
            self._format = frames.rate, frames.samples.shape[1]
            self._resampler = self._new_resampler()
            self._ahead.appendleft(frames)
            self._look_ahead()
            frames = self._ahead.popleft()
        self._seconds += len(frames.samples) / frames.rate
        return np.concatenate((rest, self._resampler.push(frames.samples)))

    def _read(self) -> Frames | None:
        if self._ahead:
            return self._ahead.popleft()
        if self._failure is not None:
            raise self._failure
        return self._decode()

    def _decode(self) -> Frames | None:
        assert self._decoder is not None
        frames = self._decoder.read()
        if frames is None and isinstance(self._decoder, SoundFileDecoder) and self._decoder.stopped_early:
            frames = self._go_on()
        if frames is not None:
            self._decoded += len(frames.samples) / frames.rate
        return frames

    def _go_on(self) -> Frames | None:
        """Let PyAV read what libsndfile leaves out. Returns the first frames of that."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            decoder = MediaFileDecoder(self._descriptor, self._block_ms)
        except ImportError as error:
            raise DecodeError(
                f"another part follows, as in joined files, and needs PyAV: {install_command()}"
            ) from error
        assert self._decoder is not None
        self._decoder.close()
        self._decoder = decoder
        known = self._decoded
        while (frames := decoder.read()) is not None:
            skip = min(len(frames.samples), round(known * frames.rate))
            known -= skip / frames.rate
            if skip < len(frames.samples):
                return Frames(frames.samples[skip:], frames.rate)
        return None

    def _look_ahead(self) -> None:
        """Let the resampler see how the channels begin. A microphone's it only sees when they come."""
        rate, channels = self._format
        if channels == 1:
            return
        wanted = min(round(LOOK_AHEAD_SECONDS * rate), MAX_LOOK_AHEAD // channels)
        ahead = [Frames(frames.samples.copy(), frames.rate) for frames in self._ahead]
        while sum(len(frames.samples) for frames in ahead) < wanted:
            try:
                frames = self._decode()
            except DecodeError as error:
                self._failure = error
                break
            if frames is None:
                break
            ahead.append(Frames(frames.samples.copy(), frames.rate))  # the decoder will use its buffer again
            if (frames.rate, frames.samples.shape[1]) != self._format or not np.isfinite(frames.samples).all():
                break
        self._ahead = deque(ahead)
        usable = [f.samples for f in ahead if (f.rate, f.samples.shape[1]) == self._format]
        whole = np.concatenate(usable) if usable else np.zeros((0, channels), dtype=np.float32)
        whole = whole[:wanted]
        finite = np.isfinite(whole).all(axis=1)
        self._resampler.look_ahead(whole if finite.all() else whole[: int(np.argmin(finite))])

    def _new_resampler(self) -> Resampler:
        rate, channels = self._format
        if not (MIN_RATE <= rate <= MAX_RATE and 1 <= channels <= MAX_CHANNELS):
            raise AudioError(f"{self._path}: not usable audio ({rate} Hz, {channels} channels): it may be damaged")
        return Resampler(rate, channels)

    def _damaged(self, reason: str) -> AudioError:
        return AudioError(f"{self._path}: damaged after {self._seconds:.2f} s ({reason})")


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


def recording_seconds(path: Path) -> float:
    """Return the length of a recording, from its header where that says it. Raises `AudioError` as `Recording` does."""
    recording = Recording(path, block_ms=100)
    try:
        return recording.duration()
    finally:
        recording.close()


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


def _decoder(path: Path, descriptor: int, block_ms: int) -> Decoder:
    """Return what decodes the file: libsndfile, else PyAV. The content decides, not the name.

    Raises `AudioError` if neither can, or if PyAV could and is not installed.
    """
    try:
        return SoundFileDecoder(descriptor, block_ms)
    except DecodeError as error:
        reason = str(error)
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        return MediaFileDecoder(descriptor, block_ms)
    except DecodeError as error:
        kind = media_format(os.pread(descriptor, BEGINNING, 0))
        if kind is not None:
            reason = f"{kind}: {error}"
        advice = "use WAV, FLAC, OGG, MP3, M4A, AMR or WebM"
        raise AudioError(f"{path}: not audio ({reason}): {advice}") from error
    except ImportError as error:
        kind = media_format(os.pread(descriptor, BEGINNING, 0))
        if kind is None:
            raise AudioError(f"{path}: not audio ({reason}): use WAV, FLAC, OGG or MP3") from error
        raise AudioError(
            f"{path}: reading {kind} needs PyAV: {install_command()}; or convert it to WAV, FLAC, OGG or MP3"
        ) from error
