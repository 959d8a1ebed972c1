"""All speech of one request, pooled into one embedding that is compared with the enrolled voices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voiceauthd.embed.embedding import Embedding, unit_mean
from voiceauthd.errors import ModelError
from voiceauthd.profiles.take import mean_snr
from voiceauthd.speech.window import Window


@dataclass(frozen=True, slots=True, eq=False)
class PooledSpeech:
    """The pooled embedding, and the amount and quality of speech in it.

    net_speech  seconds of speech, each counted once
    snr_db      SNR of the speech; None if no noise was measured
    agreement   lowest cosine between two windows that do not overlap; 1 if there are no two
    """

    embedding: Embedding
    net_speech: float
    snr_db: float | None
    agreement: float = 1.0


class Pool:
    """The windows of one request so far. Their embeddings are averaged, weighted by net speech."""

    def __init__(self) -> None:
        self._windows: list[Window] = []
        self._embeddings: list[Embedding] = []
        self.net_speech = 0.0

    def add(self, window: Window, embedding: Embedding) -> None:
        """Add a window. Raises `ModelError`, reason `wrong_model`, if its model differs from the earlier ones."""
        if self._embeddings and embedding.model != self._embeddings[0].model:
            raise ModelError("the model changed during the request", "wrong_model")
        self._windows.append(window)
        self._embeddings.append(embedding)
        self.net_speech += window.new_speech

    def voice(self) -> PooledSpeech | None:
        """Return the pooled speech so far; None before the first window.

        Raises `ModelError`, reason `no_direction`, for embeddings that cancel out.
        """
        if not self._embeddings:
            return None
        weights = [window.quality.net_speech for window in self._windows]
        vector = unit_mean([embedding.vector for embedding in self._embeddings], weights)
        snr = mean_snr(zip((window.quality.snr_db for window in self._windows), weights, strict=True))
        return PooledSpeech(Embedding(vector, self._embeddings[0].model), self.net_speech, snr, self._agreement())

    def _agreement(self) -> float:
        """Return the lowest cosine between windows that share no audio, which shows a change of speaker. NaN if any
        embedding contains NaN."""
        vectors = np.asarray([embedding.vector for embedding in self._embeddings], np.float64)
        starts = np.array([window.start for window in self._windows])
        ends = np.array([window.end for window in self._windows])
        apart = ends[:, np.newaxis] <= starts
        return float(np.min((vectors @ vectors.T)[apart], initial=1.0))
