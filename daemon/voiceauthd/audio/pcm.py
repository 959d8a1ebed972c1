"""Samples as signed 16-bit PCM, the form in which audio travels through pipes and over the socket."""

from __future__ import annotations

import numpy as np

from voiceauthd.audio.block import Samples

SAMPLE_BYTES = 2

FULL_SCALE = 32768.0
"""The value of 1.0 in signed 16-bit PCM: -32768 is exactly -1.0, and the highest value is one step below 1.0."""


def pcm16(samples: Samples) -> bytes:
    """Return `samples`, shape (n,), full scale ±1.0, as signed 16-bit little-endian; clips at full scale."""
    scaled = np.clip(np.rint(samples.astype(np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1.0)
    return scaled.astype("<i2").tobytes()


def from_pcm16(pcm: bytes) -> Samples:
    """Return signed 16-bit little-endian PCM, of whole samples, as samples of shape (n,), full scale ±1.0."""
    samples: Samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(FULL_SCALE)
    return samples
