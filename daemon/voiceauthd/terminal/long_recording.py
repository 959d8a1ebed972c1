"""Recordings to enrol from: short ones whole, long ones in parts that are cut at pauses and read one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import Recording
from voiceauthd.audio.pcm import pcm16

MAX_TAKE_SECONDS = 300
"""The longest recording that the daemon takes as one take."""

PART_SECONDS = 30.0, 15.0
"""Length of a part of a longer recording, at most and at least. A part in which somebody else speaks, too, is refused
whole, so parts are short."""

PAUSE_SECONDS = 0.3
"""Length of the quietest stretch, in whose middle a recording is cut: the end of a sentence."""

MAX_SECONDS = 3600.0
"""How far a long recording is read: an enrolment needs less than a minute of speech."""

MIN_REST_SECONDS = 2.0
"""A shorter rest at the end is left out: it could only be refused as too short."""

_BLOCK_MS = 100


class LongRecording:
    """A recording of more than `MAX_TAKE_SECONDS`, of which at most one part is in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def parts(self) -> Iterator[bytes]:
        """Yield the parts of the first `MAX_SECONDS`, as mono 16 kHz signed 16-bit little-endian.

        Raises `AudioError` where the file is damaged.
        """
        recording = Recording(self._path, _BLOCK_MS)
        longest, shortest = (round(seconds * RATE) for seconds in PART_SECONDS)
        pending: list[Samples] = []
        waiting = taken = 0
        while taken + waiting < MAX_SECONDS * RATE:
            try:
                pending.append(recording.next())
            except EOFError:
                break
            waiting += len(pending[-1])
            if waiting >= longest:
                samples = np.concatenate(pending)
                cut = quietest(samples, shortest, longest)
                yield pcm16(samples[:cut])
                pending = [samples[cut:]]
                waiting, taken = waiting - cut, taken + cut
        if waiting >= MIN_REST_SECONDS * RATE:
            yield pcm16(np.concatenate(pending))


def quietest(samples: Samples, begin: int, end: int) -> int:
    """Return the middle of the quietest `PAUSE_SECONDS` between two positions."""
    size = round(PAUSE_SECONDS * RATE)
    energy = np.cumsum(np.square(samples[begin:end], dtype=np.float64))
    return begin + int(np.argmin(energy[size:] - energy[:-size])) + size // 2


def read_takes(paths: Sequence[str]) -> list[bytes | LongRecording]:
    """Return each recording whole, as 16-bit PCM, or to be read in parts if it is long.

    Raises `AudioError` for the first one that cannot be used.
    """
    return [_read(Path(path)) for path in paths]


def _read(path: Path) -> bytes | LongRecording:
    recording = Recording(path, _BLOCK_MS)
    pieces: list[Samples] = []
    length = 0
    while length <= MAX_TAKE_SECONDS * RATE:
        try:
            pieces.append(recording.next())
        except EOFError:
            return pcm16(np.concatenate(pieces))
        length += len(pieces[-1])
    return LongRecording(path)
