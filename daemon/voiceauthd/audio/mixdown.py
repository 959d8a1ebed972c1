"""`MixDown`, which turns the channels of a recording or a microphone into one.

That is their mean, unless the mean would lose the voice:

- Opposite in phase. Some laptops' microphones deliver one channel with its sign turned. The mean of such channels is
  silence. With n channels that have nothing in common its energy is 1/n of theirs; far less is only possible if they
  cancel one another.
- Dead. One channel carries nothing; the mean halves the other.
- Noise. One channel carries only a steady noise: an input that nothing is plugged into. Noise is steady, speech is not:
  the energy of its syllables is far above that of its pauses.

The measures change with each `HOP_SECONDS`, a grid that begins with the first frame, so the result does not depend on
the blocks that the frames come in. What a hop shows takes effect in the next, with no delay of the sound: channels that
cancel are found within `MIN_HOPS` of the first sound, and a recording is looked at before it is mixed (`look_ahead`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import Samples

HOP_SECONDS = 0.01

LOOK_AHEAD_SECONDS = 2.0
"""How much of a recording is looked at before its first sample is mixed, and the memory for steady noise."""

MIN_HOPS = 2
"""Hops with sound before anything is decided."""

MEMORY_HOPS = 30
"""Time constant of the energies, in hops with sound."""

ACTIVE = 0.003
"""Energy of a hop relative to the recent peak from which it counts (-25 dB): pauses say nothing about the voice."""

PEAK_MEMORY_HOPS = 500

OPPOSITE, NOT_OPPOSITE = 0.3, 0.6
"""Energy of the mean relative to that of channels without anything in common: below the first they cancel one another
(two of equal level: correlation below -0.7), above the second no longer (above -0.4)."""

DEAD, ALIVE = 1e-6, 1e-5
"""Energy relative to the loudest channel: below the first a channel carries nothing, above the second it does."""

CLEARLY_LOUDER = 4.0
"""Ratio of energies (6 dB) that moves the choice from one of the channels to another."""

STEADY_DB, NOT_STEADY_DB, SPEECH_DB = 6.0, 10.0, 15.0
"""Difference between loud and quiet hops (90th and 10th percentile). Below the first a channel is only noise, above
the second no longer, and from the third on there is speech. White noise has 1 dB, hum and wind at most 6, speech in a
noisy room 15 and more."""

NOISE_EVERY = 10
"""Hops between two looks for steady noise."""

MIN_NOISE_HOPS = 100
"""Hops (1 s) that are needed to tell noise from speech."""


class MixDown:
    """Mixes frames of several channels down to one, with state from block to block."""

    def __init__(self, rate: int, channels: int) -> None:
        """rate: frames per second. channels: samples per frame, at least 1."""
        self._channels = channels
        self._hop = max(1, round(rate * HOP_SECONDS))
        self._rest: NDArray[np.float32] = np.zeros((0, channels), dtype=np.float32)  # of the hop that is not complete
        self._energy = [0.0] * channels
        self._mean_energy = 0.0
        self._peak = 0.0
        self._hops = 0
        self._history: NDArray[np.float64] = np.zeros((round(LOOK_AHEAD_SECONDS / HOP_SECONDS), channels + 1))
        self._seen = 0
        self._opposite = False
        self._dead = [False] * channels
        self._noise = [False] * channels
        self._best = 0
        self._mean = np.full(channels, 1.0 / channels)
        self._weights = self._mean
        self._before = self._mean  # the weights of the hop before this one, from which this one fades

    @property
    def finding(self) -> str | None:
        """What is wrong with the channels and what is used instead of their mean; None if nothing is wrong."""
        used = self._used()
        if len(used) == self._channels:
            return None
        names = ("the left one", "the right one") if self._channels == 2 else [f"number {n + 1}" for n in range(64)]
        kept = " and ".join(names[channel] for channel in used)
        kept += " is used" if len(used) == 1 else " are used"
        count = "two" if self._channels == 2 else str(self._channels)
        if self._opposite:
            return f"its {count} channels are opposite in phase; {kept}"
        what = "nothing but steady noise" if any(self._noise) else "no sound"
        return f"one of its {count} channels carries {what}; {kept}"

    def look_ahead(self, frames: NDArray[np.float32]) -> None:
        """Look at the first frames of a recording, so that the mix is right from its first sample on.

        frames: shape (n, channels), which are pushed afterwards. They count twice, which only makes the state firmer.
        """
        if self._channels == 1:
            return
        for energies in self._energies(frames[: len(frames) // self._hop * self._hop]):
            self._learn(energies)
        self._before = self._weights

    def push(self, frames: NDArray[np.float32]) -> Samples:
        """Return one sample for each frame, as a copy. frames: finite, shape (n, channels)."""
        if self._channels == 1:
            return mean_of(frames)
        joined = np.concatenate((self._rest, frames))
        weights = []
        done = len(self._rest)
        complete = len(joined) // self._hop
        for energies in self._energies(joined[: complete * self._hop]):
            weights.append((self._before, self._weights))
            self._before = self._weights
            self._learn(energies)
        weights.append((self._before, self._weights))
        self._rest = joined[complete * self._hop :]
        if all(before is self._mean and after is self._mean for before, after in weights):
            return mean_of(frames)
        samples = np.empty(len(joined), dtype=np.float32)
        for number, (before, after) in enumerate(weights):
            part = joined[number * self._hop : (number + 1) * self._hop]
            samples[number * self._hop : (number + 1) * self._hop] = self._mixed(part, before, after)
        return samples[done:]

    def _mixed(self, part: NDArray[np.float32], before: NDArray[np.float64], after: NDArray[np.float64]) -> Samples:
        """One hop, or its beginning, with weights that go from one set to the other without a click."""
        if before is after:
            if after is self._mean:
                return mean_of(part)
            mixed = sum(part[:, c] * np.float32(after[c]) for c in range(self._channels) if after[c] > 0.0)
            return np.asarray(mixed, dtype=np.float32)
        progress = (np.arange(1, len(part) + 1) / self._hop)[:, None]
        faded = part * (before + (after - before) * progress)
        return np.asarray(sum(faded[:, c] for c in range(self._channels)), dtype=np.float32)

    def _energies(self, frames: NDArray[np.float32]) -> list[list[float]]:
        """The energy of each channel and of their mean, without its constant part, for each complete hop."""
        if len(frames) == 0:
            return []
        hops = np.empty((self._channels + 1, len(frames) // self._hop, self._hop))
        hops[:-1] = frames.T.reshape(self._channels, -1, self._hop)
        hops[-1] = hops[:-1].sum(axis=0) / self._channels
        constant = hops.sum(axis=2) ** 2 / self._hop
        found: list[list[float]] = np.maximum(np.einsum("chi,chi->ch", hops, hops) - constant, 0.0).T.tolist()
        return found

    def _learn(self, energies: list[float]) -> None:
        self._history[self._seen % len(self._history)] = energies
        self._seen += 1
        loudest = max(energies[:-1])
        # The peak follows a loud hop within a few, so that a single click does not count for a voice.
        self._peak = max(self._peak * (1.0 - 1.0 / PEAK_MEMORY_HOPS), self._peak + (loudest - self._peak) / 4.0)
        if loudest > 0.0 and loudest >= ACTIVE * self._peak:
            keep = 1.0 - 1.0 / MEMORY_HOPS
            self._energy = [kept * keep + new for kept, new in zip(self._energy, energies, strict=False)]
            self._mean_energy = self._mean_energy * keep + energies[-1]
            self._hops += 1
            if self._hops >= MIN_HOPS:
                self._judge()
        if self._seen >= MIN_NOISE_HOPS and self._seen % NOISE_EVERY == 0:
            self._judge_noise()
        self._choose()

    def _judge(self) -> None:
        loudest = max(self._energy)
        for channel, energy in enumerate(self._energy):
            self._dead[channel] = energy < (ALIVE if self._dead[channel] else DEAD) * loudest
        apart = sum(self._energy) / self._channels**2  # energy of the mean of channels with nothing in common
        self._opposite = self._mean_energy < (NOT_OPPOSITE if self._opposite else OPPOSITE) * apart

    def _judge_noise(self) -> None:
        past = self._history[: min(self._seen, len(self._history))]
        ranked = np.sort(past[:, :-1], axis=0)
        quiet, loud = ranked[len(ranked) // 10], ranked[len(ranked) * 9 // 10]
        span = 10.0 * np.log10((loud + 1e-20) / (quiet + 1e-20))
        if span.max() < SPEECH_DB:
            return  # nobody speaks: nothing is known
        for channel in range(self._channels):
            steady = span[channel] < (NOT_STEADY_DB if self._noise[channel] else STEADY_DB)
            self._noise[channel] = bool(steady and quiet[channel] > 0.0)

    def _used(self) -> list[int]:
        alive = [c for c in range(self._channels) if not (self._dead[c] or self._noise[c])]
        if not self._opposite or len(alive) < 2:
            return alive or list(range(self._channels))
        if self._best not in alive:
            self._best = alive[0]
        return [self._best]

    def _choose(self) -> None:
        """Set the weights of the next hop."""
        best = max(range(self._channels), key=self._energy.__getitem__)
        if not self._opposite or self._energy[best] > CLEARLY_LOUDER * self._energy[self._best]:
            self._best = best
        used = self._used()
        if len(used) == self._channels:
            self._weights = self._mean
        elif [c for c in range(self._channels) if self._weights[c] > 0.0] != used:
            weights = np.zeros(self._channels)
            weights[used] = 1.0 / len(used)
            self._weights = weights


def mean_of(frames: NDArray[np.float32]) -> Samples:
    """Return the mean of the channels as a new array. Shape (n, channels) to (n,); one channel passes unchanged."""
    channels = frames.shape[1]
    mono: Samples = frames[:, 0].copy()
    for channel in range(1, channels):  # one by one, because numpy's mean adds in an order that depends on n
        mono += frames[:, channel]
    if channels > 1:
        mono *= np.float32(1.0 / channels)
    return mono
