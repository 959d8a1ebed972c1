"""The way of the sound, as plain functions: blocks to windows to embeddings to scores to a decision.

    Block --segment--> Window --gate, embed--> Embedding --compare--> Score --identify--> Identified

`follow` is the whole of it in one thread, for files, enrolment and tests. `live.py` runs the same `Segmenter` in the
capture thread and the same `Recogniser` in the worker thread. There is no second implementation.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import Block
from voiceauthd.config.schema import GateConfig
from voiceauthd.embed.embedding import Embedder, Embedding
from voiceauthd.errors import ModelError
from voiceauthd.scoring.decide import Rule, identify
from voiceauthd.scoring.decision import Identified, Score
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.scoring.similarity import Gallery, compare
from voiceauthd.speech.quality_gate import refusal
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import Window

log = logging.getLogger(__name__)

UNIT_TOLERANCE = 1e-3
"""How far the squared length of an embedding may be from 1: rounding. Longer vectors would score too high."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWindow:
    """A window that was embedded and compared.

    scores   one an identity, best first
    forward  seconds that the model took for the batch this window was in
    """

    window: Window
    embedding: Embedding
    scores: tuple[Score, ...]
    identified: Identified
    forward: float


@dataclass(frozen=True, slots=True, eq=False)
class FailedWindow:
    """A window that the model gave no usable embedding for. It counts for nothing."""

    window: Window
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class RefusedWindow:
    """A window that did not pass the gate, so that the model never saw it. `reason`: the stable code."""

    window: Window
    reason: str


Result = ScoredWindow | RefusedWindow | FailedWindow
"""What becomes of a window."""


class Recogniser:
    """The gate, the model, the enrolled voices and the rule. All but the model may be swapped at any time, from any
    thread.

    The model itself serves one caller at a time; an enrolment from recordings shares it with the worker thread.
    """

    def __init__(self, embedder: Embedder, gallery: Gallery, rule: Rule, gate: GateConfig) -> None:
        self.embedder = embedder
        self.gate = gate
        self.gallery = gallery
        self.rule = rule
        self._model_in_use = threading.Lock()

    def recognise(self, windows: Sequence[Window]) -> list[Result]:
        """One result a window, in order. Windows of equal length share a forward. Never raises for bad sound."""
        gate = self.gate
        against = [refusal(window.quality, gate) for window in windows]
        good = [window for window, reason in zip(windows, against, strict=True) if reason is None]
        heard = iter(self._recognise(good) if good else ())
        return [
            next(heard) if reason is None else RefusedWindow(window, reason)
            for window, reason in zip(windows, against, strict=True)
        ]

    def _recognise(self, windows: Sequence[Window]) -> list[ScoredWindow | FailedWindow]:
        began = time.monotonic()
        embedded = self.embed(windows)
        forward = time.monotonic() - began
        gallery, rule = self.gallery, self.rule  # as they are now: who was deleted during the forward is not heard
        results: list[ScoredWindow | FailedWindow] = []
        for window, embedding in zip(windows, embedded, strict=True):
            if isinstance(embedding, FailedWindow):
                results.append(embedding)
                continue
            try:
                quality = window.quality
                scores = compare(PooledSpeech(embedding, quality.net_speech, quality.snr_db), gallery)
            except ModelError as failure:
                results.append(FailedWindow(window, str(failure)))
                continue
            identified = identify(scores, quality.net_speech, 1.0, rule)  # one window agrees with itself
            results.append(ScoredWindow(window, embedding, tuple(scores), identified, forward))
        return results

    def embed(self, windows: Sequence[Window]) -> list[Embedding | FailedWindow]:
        """One result a window, in order. A window that spoils its batch is found by embedding each alone."""
        try:
            return list(self._forward(windows))
        except ModelError as failure:
            detail = str(failure)
        if len(windows) == 1:
            return [FailedWindow(windows[0], detail)]
        return [result for window in windows for result in self.embed([window])]

    def compare(self, voice: PooledSpeech) -> list[Score]:
        """Against the voices that are enrolled now. Raises `ModelError`, reason `wrong_model`."""
        return compare(voice, self.gallery)

    def _forward(self, windows: Sequence[Window]) -> list[Embedding]:
        try:
            with self._model_in_use:
                embeddings = list(self.embedder.embed([window.samples for window in windows]))
            usable = all(_is_usable(embedding) for embedding in embeddings)
        except ModelError:
            raise
        except Exception as failure:
            log.exception("the model failed")
            raise ModelError(f"the model failed: {failure!r}") from failure
        if len(embeddings) != len(windows):
            raise ModelError(f"the model gave {len(embeddings)} embeddings for {len(windows)} windows")
        if not usable:
            raise ModelError("the model gave no usable embedding (not finite, of another length or dimension)")
        return embeddings


def _is_usable(embedding: Embedding) -> bool:
    vector = embedding.vector
    if vector.dtype != np.float32 or vector.shape != (embedding.model.dimension,):  # of complex numbers a part is lost
        return False
    return abs(float(np.dot(vector, vector)) - 1.0) < UNIT_TOLERANCE


def follow(blocks: Iterable[Block], segmenter: Segmenter, recogniser: Recogniser) -> Iterator[Result]:
    """Everything that is heard in a finite stream of blocks, window by window."""
    for found in segment(blocks, segmenter):
        if isinstance(found, Window):
            yield from recogniser.recognise([found])
