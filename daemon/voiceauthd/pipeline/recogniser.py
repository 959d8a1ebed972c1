"""`Recogniser`, which says whose voice is in a window, and `follow`, which does that for a finite stream of blocks.

The path of a block of audio, from samples to a speaker:

    Block         16 kHz mono samples from a source                         audio/block.py
      segment     finds utterances and cuts them into windows               speech/segmenter.py
    Window        1 to 3 s of speech, and its quality                       speech/window.py
      refusal     refuses a window that is too quiet, clipped or noisy      speech/quality_gate.py
      embed       runs the model, on windows of equal length together       embed/embedding.py
    Embedding     a unit vector
      compare     compares it with every enrolled voice                     scoring/similarity.py
    Score         cosine and log-likelihood ratio, one score per identity   scoring/decision.py
      identify    decides who it is: one identity, or nobody enrolled       scoring/decide.py
    Identified    the decision; with its scores, a `ScoredWindow`

`follow` runs all of it in one thread, for files, enrolment and tests. `live.py` runs the same `Segmenter` in its
capture thread and the same `Recogniser` in its worker thread. There is no second implementation.
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
"""How far the squared length of an embedding may differ from 1, due to rounding. A longer vector would score too high.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWindow:
    """A window that was embedded and compared.

    scores   one per identity, best first
    forward  seconds that the model took for the batch with this window
    """

    window: Window
    embedding: Embedding
    scores: tuple[Score, ...]
    identified: Identified
    forward: float


@dataclass(frozen=True, slots=True, eq=False)
class FailedWindow:
    """A window for which the model returned no usable embedding. It is evidence for nobody. `detail`: why."""

    window: Window
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class RefusedWindow:
    """A window that did not pass the quality gate and was not embedded. `reason`: the gate's stable code."""

    window: Window
    reason: str


Result = ScoredWindow | RefusedWindow | FailedWindow
"""The outcome for a window."""


class Recogniser:
    """The gate, the model, the enrolled voices and the rule. All except the model may be replaced at any time, from
    any thread.

    The model serves one caller at a time; an enrolment from recordings shares it with the worker thread.
    """

    def __init__(self, embedder: Embedder, gallery: Gallery, rule: Rule, gate: GateConfig) -> None:
        self.embedder = embedder
        self.gate = gate
        self.gallery = gallery
        self.rule = rule
        self._model_in_use = threading.Lock()

    def recognise(self, windows: Sequence[Window]) -> list[Result]:
        """Return one result per window, in order. Windows of equal length share a forward pass.

        Never raises because of bad audio.
        """
        gate = self.gate
        reasons = [refusal(window.quality, gate) for window in windows]
        accepted = [window for window, reason in zip(windows, reasons, strict=True) if reason is None]
        recognised = iter(self._recognise(accepted) if accepted else ())
        return [
            next(recognised) if reason is None else RefusedWindow(window, reason)
            for window, reason in zip(windows, reasons, strict=True)
        ]

    def _recognise(self, windows: Sequence[Window]) -> list[ScoredWindow | FailedWindow]:
        """Embed windows that passed the gate, compare them, and identify the speaker of each."""
        began = time.monotonic()
        embedded = self.embed(windows)
        forward = time.monotonic() - began
        gallery, rule = self.gallery, self.rule  # read after the forward: whoever was deleted meanwhile cannot match
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
        """Return one result per window, in order. If a batch fails, each window is embedded alone to find the cause."""
        try:
            return list(self._forward(windows))
        except ModelError as failure:
            detail = str(failure)
        if len(windows) == 1:
            return [FailedWindow(windows[0], detail)]
        return [result for window in windows for result in self.embed([window])]

    def compare(self, voice: PooledSpeech) -> list[Score]:
        """Compare with the voices that are enrolled now. Raises `ModelError`, reason `wrong_model`."""
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
            raise ModelError(f"the model returned {len(embeddings)} embeddings for {len(windows)} windows")
        if not usable:
            raise ModelError("the model returned an unusable embedding (not finite, or of wrong length or dimension)")
        return embeddings


def _is_usable(embedding: Embedding) -> bool:
    vector = embedding.vector
    # The type matters: `float` below would ignore the imaginary part of complex numbers.
    if vector.dtype != np.float32 or vector.shape != (embedding.model.dimension,):
        return False
    return abs(float(np.dot(vector, vector)) - 1.0) < UNIT_TOLERANCE


def follow(blocks: Iterable[Block], segmenter: Segmenter, recogniser: Recogniser) -> Iterator[Result]:
    """Yield the result of every window in a finite stream of blocks."""
    for event in segment(blocks, segmenter):
        if isinstance(event, Window):
            yield from recogniser.recognise([event])
