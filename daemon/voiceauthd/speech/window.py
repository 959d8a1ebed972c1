"""A window of speech, what the embedding is computed from."""

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
    """

    net_speech: float
    snr_db: float | None
    clipping: float
    level_dbfs: float


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Contiguous 16 kHz sound out of one utterance, ready for the model.

    start      samples since the source was first opened, before this window
    captured   seconds on `time.monotonic()`'s clock at which the last sample was heard
    utterance  ordinal of the utterance since the source was first opened, from 1
    last       no more windows of this utterance follow
    """

    samples: Samples
    start: int
    captured: float
    utterance: int
    last: bool
    quality: Quality

    @property
    def duration(self) -> float:
        """Seconds from the first sample to the last."""
        return len(self.samples) / RATE

    @property
    def began(self) -> float:
        """Seconds on `time.monotonic()`'s clock at which the first sample was heard."""
        return self.captured - self.duration
