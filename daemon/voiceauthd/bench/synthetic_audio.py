"""The audio that a measured daemon receives: continuous speech of the demo's synthetic voices, and noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import voiceauthd
from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.errors import AudioError

VOICES = Path(voiceauthd.__file__).parent / "demo" / "voices"

AUDIBLE = 0.01
"""Of full scale. Both ends of a recording are cut off where they are quieter: speech must follow speech."""


def continuous_speech(seconds: float) -> Samples:
    """`seconds` of the demo's recordings without pauses in between. Raises `AudioError` if they are missing."""
    clips = [_trimmed(read_recording(path)) for path in sorted(VOICES.glob("*.flac"))]
    if not clips:
        raise AudioError(f"{VOICES}: the demo's recordings are missing; install voiceauthd again")
    once = np.concatenate(clips)
    length = round(seconds * RATE)
    return np.tile(once, 1 + length // len(once))[:length]


def white_noise(seconds: float, level_dbfs: float | None) -> Samples:
    """White noise with that root mean square; None: digital silence."""
    length = round(seconds * RATE)
    if level_dbfs is None:
        return np.zeros(length, dtype=np.float32)
    generator = np.random.default_rng(20)
    return generator.normal(0.0, 10.0 ** (level_dbfs / 20.0), length).astype(np.float32)


def _trimmed(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]
