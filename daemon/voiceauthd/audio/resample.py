"""From a device's or a file's own frames to 16 kHz mono: the one way that all sound takes.

The resampler must be quick to give back what it was given, because everything behind it waits. Measured with soxr
1.1, 20 ms blocks, as the time between a sample that goes in and the same sample coming out:

    mode             48 kHz (min to max)   44.1 kHz           7 kHz      8.5 kHz    cost of one core
    LQ               2.5 to 20 ms          1.7 to 21.7 ms     -13 dB     -110 dB    0.05 %
    MQ               5.1 to 37.6 ms        5.4 to 40.9 ms      -0.1 dB   -117 dB    0.05 %
    HQ               6.1 to 36.6 ms        6.5 to 39.6 ms       0.0 dB   -136 dB    0.05 %
    VHQ              8.8 to 76 ms          9.0 to 84 ms         0.0 dB   -158 dB    0.06 %
    variable rate    12.5 ms, constant     13.6 ms, constant    0.0 dB   -119 dB    0.34 %

The fixed-rate modes filter in the frequency domain, in long pieces, so their output comes in bursts. The variable-rate
mode filters in the time domain: a constant delay, every block comes out as long as it went in, and the whole band up
to 7.9 kHz is kept, which the models see. The cost is that of a tight loop; woken fifty times a second, with cold
caches, it was about 1.2 %, against 0.5 % for HQ, which `at_least` of `Source.read` spares in a quiet room. It is paid
only while somebody listens. The mode shifts the sound by 0.1 ms, which nothing here notices. QQ has no delay and no
filter against aliasing: unusable.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Samples

MIN_RATE = 1_000
"""Below this a recording has no band that speech lives in."""

MAX_RATE = 768_000
"""The highest rate that sound hardware offers."""


class Resampler:
    """Mixes frames down to mono and brings them to 16 kHz, keeping its state from block to block.

    The samples that come out are the same, to the bit, however the frames are cut into blocks. 16 kHz mono passes
    unchanged. The frames must be finite: the filter is recursive, and one NaN would stay in it for good.
    """

    def __init__(self, rate: int, channels: int) -> None:
        """rate: frames a second that go in. channels: samples a frame. Raises `ValueError` for impossible ones."""
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"a rate of {rate} Hz is not between {MIN_RATE} and {MAX_RATE} Hz")
        if channels < 1:
            raise ValueError(f"{channels} channels")
        self._rate = rate
        self._channels = channels
        self._stream = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32", vr=True)
        self._taken = 0
        self._given = 0

    @property
    def pending(self) -> float:
        """Seconds of sound that went in and have not come out yet. Never negative."""
        return max(0.0, self._taken / self._rate - self._given / RATE)

    def push(self, frames: NDArray[np.float32]) -> Samples:
        """Frames of shape (n, channels) at `rate`; gives what is ready of them, a new array, maybe an empty one."""
        mono = mix_down(frames)
        self._taken += len(mono)
        return self._give(mono, last=False)

    def flush(self) -> Samples:
        """What is still inside, at the end of the sound. Nothing may be pushed after it."""
        return self._give(np.zeros(0, dtype=np.float32), last=True)

    def _give(self, mono: Samples, last: bool) -> Samples:
        samples: Samples = mono if self._stream is None else self._stream.resample_chunk(mono, last=last)
        self._given += len(samples)
        return samples


def mix_down(frames: NDArray[np.float32]) -> Samples:
    """The mean of the channels, as a new array. Shape (n, channels) to (n,); one channel passes unchanged."""
    channels = frames.shape[1]
    mono: Samples = frames[:, 0].copy()
    for channel in range(1, channels):  # one by one: numpy's own mean adds in an order that depends on n
        mono += frames[:, channel]
    if channels > 1:
        mono *= np.float32(1.0 / channels)
    return mono
