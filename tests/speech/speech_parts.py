"""What the tests of this folder are made of: sounds, blocks of them, and a detector that obeys a script.

`Obedient` stands in for the first detector where a test is about the cutting: it calls a frame speech whose samples
are positive. `numbered` makes such sound, in which every sample tells its own place, so that nothing can be in the
wrong window unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import voiceauthd.demo
from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import Speech, SpeechBegan, SpeechEnded, Window

VOICES = Path(voiceauthd.demo.__file__).parent / "voices"
FRAME = RATE // 50
"""Samples of a frame of 20 ms, the default."""

CLOCK = 1000.0
"""When sample 0 was heard, in tests."""

STEP = 2.0**-23
"""Between two numbered samples: exact in float32 for 8 million samples, and far from full scale."""


class Obedient:
    """A first detector that calls positive sound speech."""

    def __init__(self, aggressiveness: int) -> None:
        assert aggressiveness in range(4)

    def voiced(self, frame: Samples) -> bool:
        return bool(frame[0] > 0.0)


def numbered(pattern: Iterable[bool], first: int = 0) -> Samples:
    """A frame for each of `pattern`: positive where it says speech. Sample n is ±(first + n + 1) steps."""
    signs = np.repeat([1.0 if speech else -1.0 for speech in pattern], FRAME)
    return (signs * (np.arange(len(signs)) + first + 1) * STEP).astype(np.float32)


def numbers(samples: Samples) -> NDArray[np.int64]:
    """The places of numbered samples."""
    return np.round(np.abs(samples.astype(np.float64)) / STEP).astype(np.int64) - 1


def frames(*lengths: float) -> list[bool]:
    """Seconds of silence, of speech, of silence, … as frames."""
    return [bool(index % 2) for index, seconds in enumerate(lengths) for _ in range(round(seconds * RATE / FRAME))]


def voice(*names: str, pause: float = 0.0) -> Samples:
    """Committed recordings of the demo, one behind the other, with room noise of -70 dBFS under all of it."""
    silence = np.zeros(round(pause * RATE), np.float32)
    pieces = [piece for name in names for piece in (read_recording(VOICES / f"{name}.flac"), silence)]
    speech = np.concatenate((np.zeros(RATE // 2, np.float32), *pieces))
    return speech + white(len(speech) / RATE, -70.0)


def white(seconds: float, dbfs: float, seed: int = 0) -> Samples:
    """White noise of that root mean square."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (noise * 10.0 ** (dbfs / 20.0)).astype(np.float32)


def as_blocks(samples: Samples, cuts: Sequence[int] = (), first: int = 0) -> list[Block]:
    """Cut at these places, in any order; sample n was heard n / 16000 s after `CLOCK`."""
    bounds = (0, *sorted(cuts), len(samples))
    return [
        Block(samples[begin:end], first + begin, CLOCK + (first + end) / RATE)
        for begin, end in pairwise(bounds)
        if end > begin
    ]


def every(samples: Samples, length: int) -> list[Block]:
    """In blocks of equal length."""
    return as_blocks(samples, range(length, len(samples), length))


def found_in(samples: Samples, segmenter: Segmenter) -> list[Speech]:
    """In a recording, as one block."""
    return list(segment(as_blocks(samples), segmenter))


def windows(found: Iterable[Speech]) -> list[Window]:
    return [each for each in found if isinstance(each, Window)]


def utterances(found: Iterable[Speech]) -> Iterator[tuple[SpeechBegan, list[Window], SpeechEnded]]:
    """The beginning, the windows and the end of each. Fails if they are not in that order."""
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


def same(one: Speech, other: Speech) -> bool:
    """Equal to the last bit, but for the rounding of the clock."""
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
    """The first detector alone."""
    return SpeechConfig(confirm=False, **changes)  # type: ignore[arg-type]
