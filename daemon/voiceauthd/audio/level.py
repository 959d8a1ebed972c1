"""How loud a microphone is: a short recording and its level, for `doctor` and `setup`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.microphone import Microphone
from voiceauthd.errors import SourceError

START_TIMEOUT = 4.0
"""Seconds that a microphone may take to deliver its first block: a Bluetooth headset takes two."""

METER_SECONDS = 0.5
"""Seconds of audio behind one reading of the level meter."""

MUTED_DBFS = -85.0
"""Below this level a microphone picks up nothing, not even the room: it is muted, or nothing is plugged in."""

MIN_SPEECH_DBFS = -45.0
"""Speech that stays below this is too quiet for most decisions; a near speaker gives -35 to -15 on most microphones."""

MAX_CLIPPING = 0.01
"""Share of samples at full scale above which the recording level is too high; the quality gate is as strict."""


CHANNEL_FIX = "nothing is lost; for other programs, record one channel, or check the cable and the mixer"
"""What to do about `Level.channels`."""


@dataclass(frozen=True, slots=True)
class Level:
    """The level of a recording.

    seconds   length of the recording
    average   root mean square in dBFS; -inf for digital silence
    loudest   root mean square of the loudest `METER_SECONDS`, in dBFS
    clipping  share of samples at full scale, 0 to 1
    channels  what is wrong with the microphone's channels, and which are used; None if nothing is
    """

    seconds: float
    average: float
    loudest: float
    clipping: float
    channels: str | None = None


def measure_level(microphone: Microphone, seconds: float, show: Callable[[float], None] | None = None) -> Level:
    """Record `seconds` of audio and return its level. The audio is not kept.

    show  called with the level of the latest `METER_SECONDS`, in dBFS

    Raises `SourceError` if the microphone cannot be opened, or delivers too little within `START_TIMEOUT` more seconds.
    """
    recorded: list[Samples] = []
    needed, meter_samples = round(seconds * RATE), round(METER_SECONDS * RATE)
    have = not_shown = 0
    deadline = time.monotonic() + START_TIMEOUT + seconds
    try:
        microphone.open()
        while have < needed and time.monotonic() < deadline:
            block = microphone.read(METER_SECONDS)
            if block is None:
                continue
            recorded.append(block.samples)
            have += len(block.samples)
            not_shown += len(block.samples)
            if show is not None and not_shown >= meter_samples:
                show(level_dbfs(np.concatenate(recorded[-meter_samples // len(block.samples) :])))
                not_shown = 0
    finally:
        microphone.close()
    if have < needed:
        raise SourceError(f"{microphone.description} delivered {have / RATE:.1f} of {seconds:.1f} s of audio")
    return replace(level_of(np.concatenate(recorded)), channels=microphone.finding)


def level_of(samples: Samples) -> Level:
    """Return the level of `samples`, full scale 1.0."""
    size = round(METER_SECONDS * RATE)
    parts = [samples[start : start + size] for start in range(0, max(1, len(samples) - size + 1), size)]
    loudest = max((level_dbfs(part) for part in parts), default=-math.inf)
    clipping = float(np.mean(np.abs(samples) >= 1.0)) if len(samples) else 0.0
    return Level(len(samples) / RATE, level_dbfs(samples), loudest, clipping)


def level_dbfs(samples: Samples) -> float:
    """Return the root mean square in dBFS; -inf for digital silence and for no samples."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    return 10.0 * math.log10(power) if power > 0.0 else -math.inf
