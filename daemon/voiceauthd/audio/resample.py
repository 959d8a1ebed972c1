"""`Resampler`, which turns the frames of every source into 16 kHz mono.

Its delay must be short, because everything after it waits. Delay between a sample that goes in and the same sample
coming out, measured with soxr 1.1 and blocks of 20 ms:

    mode             48 kHz (min to max)   44.1 kHz           7 kHz      8.5 kHz    cost of one core
    LQ               2.5 to 20 ms          1.7 to 21.7 ms     -13 dB     -110 dB    0.05 %
    MQ               5.1 to 37.6 ms        5.4 to 40.9 ms      -0.1 dB   -117 dB    0.05 %
    HQ               6.1 to 36.6 ms        6.5 to 39.6 ms       0.0 dB   -136 dB    0.05 %
    VHQ              8.8 to 76 ms          9.0 to 84 ms         0.0 dB   -158 dB    0.06 %
    variable rate    12.5 ms, constant     13.6 ms, constant    0.0 dB   -119 dB    0.34 %

The fixed-rate modes filter in the frequency domain, in long pieces, so their output comes in bursts. The variable-rate
mode, used here, filters in the time domain: its delay is constant, every block comes out as long as it went in, and it
keeps the whole band up to 7.9 kHz, which the models use. The costs above are those of a tight loop; woken 50 times a
second, with cold caches, it costs about 1.2 % and HQ 0.5 %. `at_least` of `Source.read` avoids that in a quiet room,
and it is spent only while the microphone is open. The mode shifts the audio by 0.1 ms, which does not matter here. QQ
has no delay, but no anti-aliasing filter either, so it is unusable.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.mixdown import MixDown

MIN_RATE = 1_000
"""Hz. At a lower rate a recording cannot contain the frequencies of speech."""

MAX_RATE = 768_000
"""Hz. The highest rate that audio hardware offers."""


class Resampler:
    """Mixes frames down to mono and resamples them to 16 kHz, keeping its state from block to block.

    The output is the same, to the bit, however the frames are split into blocks. 16 kHz mono passes unchanged. The
    frames must be finite: the filter is recursive, and would never recover from a NaN.
    """

    def __init__(self, rate: int, channels: int) -> None:
        """rate: of the input, in frames per second. channels: samples per frame. Raises `ValueError` outside bounds."""
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"a rate of {rate} Hz is not between {MIN_RATE} and {MAX_RATE} Hz")
        if channels < 1:
            raise ValueError(f"{channels} channels")
        self._rate = rate
        self._mix = MixDown(rate, channels)
        self._stream = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32", vr=True)
        self._frames_in = 0
        self._samples_out = 0

    @property
    def pending(self) -> float:
        """Seconds of audio that went in and have not come out yet. Never negative."""
        return max(0.0, self._frames_in / self._rate - self._samples_out / RATE)

    @property
    def finding(self) -> str | None:
        """What is wrong with the channels, and which are used instead; None if all of them are used."""
        return self._mix.finding

    def look_ahead(self, frames: NDArray[np.float32]) -> None:
        """Look at the channels of the first frames, which are pushed afterwards."""
        self._mix.look_ahead(frames)

    def push(self, frames: NDArray[np.float32]) -> Samples:
        """Take frames of shape (n, channels) at `rate`. Return the samples that are ready, perhaps none, as a copy."""
        mono = self._mix.push(frames)
        self._frames_in += len(mono)
        return self._resample(mono, last=False)

    def flush(self) -> Samples:
        """Return the pending samples at the end of the audio. Nothing may be pushed after it."""
        return self._resample(np.zeros(0, dtype=np.float32), last=True)

    def _resample(self, mono: Samples, last: bool) -> Samples:
        samples: Samples = mono if self._stream is None else self._stream.resample_chunk(mono, last=last)
        self._samples_out += len(samples)
        return samples
