"""A window of speech, what the embedding is computed from, and the utterance it is cut from."""

from __future__ import annotations

from dataclasses import dataclass

from voiceauthd.audio.block import RATE, Samples


@dataclass(frozen=True, slots=True)
class Quality:
    """How usable a stretch of sound is.

    net_speech  seconds that the voice activity detection calls speech
    snr_db      power of the speech over the power of the noise around it, in dB; None if no noise was heard yet
    clipping    share of samples at full scale, 0 to 1
    level_dbfs  root mean square of the speech, in dB below a full-scale square wave
    bandwidth   Hz, up to which the speech has energy; None if that is not known
    """

    net_speech: float
    snr_db: float | None
    clipping: float
    level_dbfs: float
    bandwidth: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """16 kHz sound, ready for the model: contiguous, out of one utterance; or, where each is too short by itself, out
    of several that follow one another, without the pauses between them.

    start, end  samples since the source was first opened, before its first sample and behind its last
    captured    seconds on `time.monotonic()`'s clock at which the last sample was heard
    utterance   ordinal of the (last) utterance since the source was first opened, from 1
    new_speech  seconds of speech that no earlier window held: windows overlap, and speech counts once
    """

    samples: Samples
    start: int
    end: int
    captured: float
    utterance: int
    quality: Quality
    new_speech: float

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / RATE

    @property
    def began(self) -> float:
        """Seconds on `time.monotonic()`'s clock at which the first sample was heard."""
        return self.captured - (self.end - self.start) / RATE

    def within(self, other: Window) -> bool:
        """Whether the other window, cut from the same sound, holds all of this one."""
        return other.start <= self.start and self.end <= other.end


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """An utterance began. `start` in samples since the source was first opened; `captured` as in `Window`."""

    utterance: int
    start: int
    captured: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """An utterance ended, `hangover` ago: no more of its windows follow.

    start       samples since the source was first opened, before its last sample of speech and the pad behind it
    captured    seconds on `time.monotonic()`'s clock at which the end was recognised
    net_speech  seconds of speech in all of it
    """

    utterance: int
    start: int
    captured: float
    net_speech: float


Speech = SpeechBegan | Window | SpeechEnded
"""What comes out of a stream of blocks, in order."""
