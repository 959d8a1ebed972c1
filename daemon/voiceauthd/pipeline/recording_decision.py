"""The decision on a recording: what a verification or an identification would say if it were spoken now.

It is reached in the same way as for the microphone, window by window, and ends as soon as it is clear.
"""

from __future__ import annotations

import logging
import time
from typing import Generic

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.recogniser import FailedWindow, Recogniser, RefusedWindow, Result, ScoredWindow
from voiceauthd.scoring.sequential import SequentialTest, Verdict
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import SpeechEvent, Window

log = logging.getLogger(__name__)

PIECE_SECONDS = 1.0
"""Length of the pieces that a whole recording is divided into: the model is not asked for more than is needed."""


class RecordingDecision(Generic[Verdict]):
    """One recording, compared as it arrives. For one thread at a time; every method may take seconds."""

    def __init__(self, decider: SequentialTest[Verdict], segmenter: Segmenter, recogniser: Recogniser) -> None:
        self._decider: SequentialTest[Verdict] = decider
        self._segmenter = segmenter
        self._recogniser = recogniser
        self._position = 0
        segmenter.restart()

    def push(self, samples: Samples) -> Verdict | None:
        """Continue with samples of shape (n,) at 16 kHz. Return the decision if it is clear; None for more audio."""
        block = Block(samples, self._position, time.monotonic())
        self._position += len(samples)
        return self._add(self._segmenter.push(block))

    def end(self) -> Verdict:
        """Return the decision on what was pushed. Raises `ModelError`."""
        verdict = self._add(self._segmenter.flush(time.monotonic()))
        return self._decider.decide() if verdict is None else verdict

    def decide(self, samples: Samples) -> Verdict:
        """Return the decision on a whole recording. Raises `ModelError`."""
        step = round(PIECE_SECONDS * RATE)
        for start in range(0, len(samples), step):
            verdict = self.push(samples[start : start + step])
            if verdict is not None:
                return verdict
        return self.end()

    def _add(self, events: list[SpeechEvent]) -> Verdict | None:
        for event in events:
            if not isinstance(event, Window):
                continue
            for result in self._recogniser.recognise([event]):
                verdict = add_result(self._decider, result)
                if verdict is not None:
                    return verdict
        return None


def add_result(decider: SequentialTest[Verdict], result: Result) -> Verdict | None:
    """Add the result of a window. Return the decision if it is clear, or if the model has failed: never an accept."""
    if isinstance(result, FailedWindow):
        return decider.undecided("embedding_failed")
    if isinstance(result, ScoredWindow):
        try:
            return decider.add(result.window, result.embedding)
        except ModelError as failure:
            log.error("a window could not be compared: %s", failure)
            return decider.model_failed()
    if isinstance(result, RefusedWindow):
        decider.add_refusal(result.reason)
    return None
