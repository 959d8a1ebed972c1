"""Helpers for the tests of `speech/`: audio, blocks of it, and a detector that a test controls.

`SignDetector` replaces the first detector in tests of the cutting: it calls a frame speech if its samples are positive.
`numbered` makes such audio, in which the value of every sample says where it belongs, so that a test notices any sample
in the wrong window.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import voiceauthd.demo
from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, SpeechEvent, Window

VOICES = Path(voiceauthd.demo.__file__).parent / "voices"
FRAME = RATE // 50
"""Samples of a frame of 20 ms, the default."""

CLOCK = 1000.0
"""Monotonic time at which sample 0 was captured."""

STEP = 2.0**-23
"""Difference between two numbered samples: exact in float32 for 8 million samples, and far from full scale."""

MAX_SEGMENTER_BYTES = 2_000_000
"""Memory that two minutes in a segmenter may add: the audio itself is 8 MB, a window with its frames 0.2 MB."""


class SignDetector:
    """A first detector that calls positive samples speech."""

    def __init__(self, aggressiveness: int) -> None:
        assert aggressiveness in range(4)

    def voiced(self, frame: Samples) -> bool:
        return bool(frame[0] > 0.0)


def numbered(pattern: Iterable[bool], first: int = 0) -> Samples:
    """Return one frame per item of `pattern`, positive for speech. Sample n is ±(first + n + 1) steps."""
    signs = np.repeat([1.0 if speech else -1.0 for speech in pattern], FRAME)
    return (signs * (np.arange(len(signs)) + first + 1) * STEP).astype(np.float32)


def numbers(samples: Samples) -> NDArray[np.int64]:
    """Return the numbers of numbered samples: their places in the stream."""
    return np.round(np.abs(samples.astype(np.float64)) / STEP).astype(np.int64) - 1


def frames(*lengths: float) -> list[bool]:
    """Return a pattern for `numbered`. lengths: seconds of silence, of speech, of silence, and so on."""
    return [bool(index % 2) for index, seconds in enumerate(lengths) for _ in range(round(seconds * RATE / FRAME))]


def voice(*names: str, pause: float = 0.0) -> Samples:
    """Return recordings of the demo one after another, each followed by `pause`, in room noise of -70 dBFS."""
    silence = np.zeros(round(pause * RATE), np.float32)
    pieces = [piece for name in names for piece in (read_recording(VOICES / f"{name}.flac"), silence)]
    speech = np.concatenate((np.zeros(RATE // 2, np.float32), *pieces))
    return speech + white(len(speech) / RATE, -70.0)


def white(seconds: float, dbfs: float, seed: int = 0) -> Samples:
    """Return white noise whose root mean square is `dbfs`."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (noise * 10.0 ** (dbfs / 20.0)).astype(np.float32)


def as_blocks(samples: Samples, cuts: Sequence[int] = (), first: int = 0) -> list[Block]:
    """Split at `cuts`, given in any order. Sample n was captured n / 16000 s after `CLOCK`."""
    bounds = (0, *sorted(cuts), len(samples))
    return [
        Block(samples[begin:end], first + begin, CLOCK + (first + end) / RATE)
        for begin, end in pairwise(bounds)
        if end > begin
    ]


def blocks_of(samples: Samples, length: int) -> list[Block]:
    """Split into blocks of equal length."""
    return as_blocks(samples, range(length, len(samples), length))


def events_in(samples: Samples, segmenter: Segmenter) -> list[SpeechEvent]:
    """Return what the segmenter finds in `samples`, given as one block."""
    return list(segment(as_blocks(samples), segmenter))


def windows(found: Iterable[SpeechEvent]) -> list[Window]:
    return [each for each in found if isinstance(each, Window)]


def utterances(found: Iterable[SpeechEvent]) -> Iterator[tuple[SpeechBegan, list[Window], SpeechEnded]]:
    """Yield the beginning, the windows and the end of each utterance. Fails if they are in another order."""
    began: SpeechBegan | None = None
    inside: list[Window] = []
    for each in found:
        if isinstance(each, SpeechBegan):
            assert began is None
            began, inside = each, []
        elif isinstance(each, Window):
            inside.append(each)
        else:
            assert began is not None
            yield began, inside, each
            began = None
    assert began is None


def same(one: SpeechEvent, other: SpeechEvent) -> bool:
    """Whether two events are equal to the last bit, except for the rounding of the clock."""
    if type(one) is not type(other) or abs(one.captured - other.captured) > 1e-6 or one.start != other.start:
        return False
    if isinstance(one, Window) and isinstance(other, Window):
        return (
            np.array_equal(one.samples, other.samples)
            and one.end == other.end
            and one.quality == other.quality
            and (one.utterance, one.new_speech) == (other.utterance, other.new_speech)
        )
    return one.utterance == other.utterance and getattr(one, "net_speech", 0) == getattr(other, "net_speech", 0)


def unconfirmed(**changes: object) -> SpeechConfig:
    """Return a configuration with the first detector alone."""
    return SpeechConfig(confirm=False, **changes)  # type: ignore[arg-type]


@contextmanager
def sign_segmenter(config: SpeechConfig | None = None) -> Iterator[Segmenter]:
    """Make a segmenter for numbered audio, as a context for tests that Hypothesis calls many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voiceauthd.speech.segmenter.FirstGate", SignDetector)
        yield Segmenter(config or unconfirmed())


def two_minutes_of(second: Samples, segmenter: Segmenter) -> tuple[int, int]:
    """Push the same second 120 times. Return the number of windows cut, and the peak of the memory added in bytes."""
    for block in range(10):
        segmenter.push(Block(second, block * RATE, CLOCK + block))
    tracemalloc.start()
    try:
        cut = 0
        for block in range(10, 130):
            cut += len(windows(segmenter.push(Block(second.copy(), block * RATE, CLOCK + block))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return cut, peak
