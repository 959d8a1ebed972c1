"""`Window`, the piece of speech from which an embedding is computed, and the events that the segmenter returns."""

from __future__ import annotations

from dataclasses import dataclass

from voiceauthd.audio.block import RATE, Samples


@dataclass(frozen=True, slots=True)
class Quality:
    """How usable the audio of a window is.

    net_speech  seconds that the voice activity detection calls speech
    snr_db      power of the speech over the power of the noise around it, in dB; None while the noise is unknown
    clipping    share of samples at full scale, 0 to 1
    level_dbfs  root mean square of the speech, in dB relative to a full-scale square wave
    bandwidth   frequency in Hz up to which the speech has energy; None if unknown
    """

    net_speech: float
    snr_db: float | None
    clipping: float
    level_dbfs: float
    bandwidth: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """16 kHz audio, ready for the model.

    Contiguous, and from one utterance. If utterances are too short on their own, a window joins several consecutive
    ones, without the pauses between them.

    start, end  number of samples before its first and up to its last one, since the source was first opened
    captured    when the last sample was captured, in seconds on the clock of `time.monotonic()`
    utterance   ordinal of the (last) utterance since the source was first opened, from 1
    new_speech  seconds of speech that are in no earlier window: windows overlap, and speech counts once
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
        """Seconds of audio."""
        return len(self.samples) / RATE

    @property
    def began(self) -> float:
        """When the first sample was captured, in seconds on the clock of `time.monotonic()`."""
        return self.captured - (self.end - self.start) / RATE

    def within(self, other: Window) -> bool:
        """Whether the other window, cut from the same stream, contains all of this one."""
        return other.start <= self.start and self.end <= other.end


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """An utterance began.

    start     number of samples before it, since the source was first opened
    captured  when the beginning was recognised, in seconds on the clock of `time.monotonic()`
    """

    utterance: int
    start: int
    captured: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """An utterance ended, `hangover` ago. None of its windows follow this event.

    start       number of samples up to its end (its last speech and a short pad), since the source was first opened
    captured    when the end was recognised, in seconds on the clock of `time.monotonic()`
    net_speech  seconds of speech in the whole utterance
    """

    utterance: int
    start: int
    captured: float
    net_speech: float


SpeechEvent = SpeechBegan | Window | SpeechEnded
"""What the segmenter returns for a stream of blocks, in order."""
