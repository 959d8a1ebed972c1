"""All speech of one request as one voice: what is compared with the enrolled ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voiceauthd.embed.embedding import Embedding, unit_mean
from voiceauthd.errors import ModelError
from voiceauthd.profiles.take import mean_snr
from voiceauthd.speech.window import Window


@dataclass(frozen=True, slots=True, eq=False)
class PooledSpeech:
    """An embedding, and how much stands behind it.

    net_speech  seconds of speech, each counted once
    snr_db      of the speech; None if no noise was heard to compare with
    agreement   the lowest cosine between two windows that do not overlap; 1 where there are no two
    """

    embedding: Embedding
    net_speech: float
    snr_db: float | None
    agreement: float = 1.0


class Pool:
    """The windows of one request, which grow: the mean of their embeddings, weighted by their net speech."""

    def __init__(self) -> None:
        self._windows: list[Window] = []
        self._embeddings: list[Embedding] = []
        self.net_speech = 0.0

    def add(self, window: Window, embedding: Embedding) -> None:
        """Raises `ModelError`, reason `wrong_model`, if the model changed in the middle."""
        if self._embeddings and embedding.model != self._embeddings[0].model:
            raise ModelError("the model changed while somebody spoke", "wrong_model")
        self._windows.append(window)
        self._embeddings.append(embedding)
        self.net_speech += window.new_speech

    def voice(self) -> PooledSpeech | None:
        """What was said so far; None before the first window.

        Raises `ModelError`, reason `no_direction`, for embeddings that cancel out.
        """
        if not self._embeddings:
            return None
        weights = [window.quality.net_speech for window in self._windows]
        vector = unit_mean([embedding.vector for embedding in self._embeddings], weights)
        snr = mean_snr(zip((window.quality.snr_db for window in self._windows), weights, strict=True))
        return PooledSpeech(Embedding(vector, self._embeddings[0].model), self.net_speech, snr, self._agreement())

    def _agreement(self) -> float:
        """A change of the speaker shows between windows that share no sound. NaN if any embedding has one."""
        vectors = np.asarray([embedding.vector for embedding in self._embeddings], np.float64)
        starts = np.array([window.start for window in self._windows])
        ends = np.array([window.end for window in self._windows])
        apart = ends[:, np.newaxis] <= starts
        return float(np.min((vectors @ vectors.T)[apart], initial=1.0))
