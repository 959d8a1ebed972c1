"""The decision on a recording: the same as for the microphone, and never an accept when something fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from live_parts import BROKEN, RULE, ScriptedModel, axis, recogniser, sign_segmenter, talk

from voiceauthd.audio.block import Samples
from voiceauthd.config.schema import VerifyConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.recording_decision import RecordingDecision
from voiceauthd.scoring.decision import Outcome, Recognition
from voiceauthd.scoring.sequential import Identification, Verification

CONFIG = VerifyConfig(speech=2.0, max_speech=6.0)
SILENCE = talk(2.0)


def speech(seconds: float) -> Samples:
    return talk(0.5, seconds, 1.0)


def verification(model: ScriptedModel, name: str = "anna") -> RecordingDecision:
    voices = recogniser(model)
    return RecordingDecision(Verification(name, voices.compare, RULE, CONFIG), sign_segmenter(), voices)


def identification(model: ScriptedModel) -> RecordingDecision:
    voices = recogniser(model)
    return RecordingDecision(Identification(voices.compare, RULE, CONFIG), sign_segmenter(), voices)


def test_the_right_voice_is_accepted_as_soon_as_it_is_clear(model: ScriptedModel) -> None:
    decision = verification(model)
    pieces = np.array_split(speech(20.0), 21)
    decided = next((index, found) for index, piece in enumerate(pieces) if (found := decision.push(piece)) is not None)
    assert decided[1].outcome is Outcome.ACCEPT
    assert decided[0] < 5
    assert verification(model).decide(speech(20.0)).outcome is Outcome.ACCEPT
    assert identification(model).decide(speech(4.0)).identity == "anna"


def test_another_voice_is_rejected_and_a_stranger_unknown(model: ScriptedModel) -> None:
    assert verification(model, "ben").decide(speech(4.0)).outcome is Outcome.REJECT
    model.answer = lambda clips: [Embedding(axis(3), model.model) for _ in clips]
    assert identification(model).decide(speech(4.0)).recognition is Recognition.UNKNOWN


def test_too_little_speech_and_silence_decide_nothing(model: ScriptedModel) -> None:
    assert verification(model).decide(speech(1.2)).reason == "too_little_speech"
    assert verification(model).decide(SILENCE).reason == "no_speech"
    assert identification(model).decide(np.zeros(0, np.float32)).recognition is Recognition.UNDECIDED


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_no_failure_of_the_model_accepts(answer: Callable[[Sequence[Samples]], object], model: ScriptedModel) -> None:
    model.answer = answer
    decided = verification(model).decide(speech(5.0))
    assert decided.outcome is not Outcome.ACCEPT
    assert decided.reason == "embedding_failed"
    assert identification(model).decide(speech(5.0)).recognition is Recognition.UNDECIDED


def test_a_comparison_that_fails_rejects(model: ScriptedModel) -> None:
    def failing(_voice: object) -> list:
        raise ModelError("another model", "wrong_model")

    decided = RecordingDecision(
        Verification("anna", failing, RULE, CONFIG), sign_segmenter(), recogniser(model)
    ).decide(speech(5.0))
    assert (decided.outcome, decided.reason) == (Outcome.REJECT, "embedding_failed")
