"""`Recogniser`: from windows to decisions, with models that fail; and `follow`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_parts import (
    BROKEN,
    MODEL,
    OPEN,
    OTHER,
    RULE,
    ScriptedModel,
    axis,
    one_block,
    places,
    profile,
    raising,
    recogniser,
    sign_segmenter,
    talk,
)

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import GateConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.pipeline.recogniser import FailedWindow, Recogniser, RefusedWindow, ScoredWindow, follow
from voiceauthd.scoring.decision import Recognition
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.window import Quality, Window

GOOD = Quality(net_speech=1.5, snr_db=20.0, clipping=0.0, level_dbfs=-20.0)
REFUSED = {
    "too_quiet": replace(GOOD, level_dbfs=-61.0),
    "clipped": replace(GOOD, clipping=0.02),
    "noisy": replace(GOOD, snr_db=-1.0),
}


def window(number: int = 0, quality: Quality = GOOD, level: float = 1e-3) -> Window:
    samples = np.full(round(1.5 * RATE), level, np.float32)
    return Window(samples, number, number + len(samples), 0.0, 1, quality, quality.net_speech)


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_a_model_that_fails_gives_a_failure_for_each_window(answer: Callable[[Sequence[Samples]], object]) -> None:
    model = ScriptedModel()
    model.answer = answer
    for count in (1, 3):
        given = [window(number) for number in range(count)]
        results = recogniser(model).recognise(given)
        assert [type(result) for result in results] == [FailedWindow] * count
        assert [result.window for result in results] == given
        assert all(isinstance(result, FailedWindow) and result.detail for result in results)


def test_a_recogniser_works_again_after_a_failure() -> None:
    model = ScriptedModel()
    recognising = recogniser(model)
    model.answer = raising(RuntimeError("out of memory"))
    recognising.recognise([window()])
    model.answer = model.right
    assert isinstance(recognising.recognise([window()])[0], ScoredWindow)


@pytest.mark.parametrize("level", [math.nan, 0.0])
def test_a_bad_window_in_a_batch_fails_alone(level: float) -> None:
    model = ScriptedModel()
    given = [window(0), window(1, level=level), window(2)]
    results = recogniser(model).recognise(given)
    assert [type(result) for result in results] == [ScoredWindow, FailedWindow, ScoredWindow]
    assert [result.window for result in results] == given


def test_a_single_embedding_of_nan_fails_alone() -> None:
    model = ScriptedModel()
    vectors = {0.001: axis(0), 0.002: axis(0) * np.float32(math.nan), 0.003: axis(1)}
    model.answer = lambda clips: [Embedding(vectors[round(float(clip[0]), 3)], MODEL) for clip in clips]
    results = recogniser(model).recognise([window(level=level) for level in vectors])
    assert [type(result) for result in results] == [ScoredWindow, FailedWindow, ScoredWindow]


def test_windows_are_embedded_together_and_returned_in_order() -> None:
    model = ScriptedModel()
    given = [window(number) for number in range(4)]
    results = recogniser(model).recognise(given)
    assert model.batches == [[len(given[0].samples)] * 4]
    assert [result.window for result in results] == given


def test_a_voice_is_compared_with_everybody_and_identified() -> None:
    (scored,) = recogniser(ScriptedModel()).recognise([window()])
    assert isinstance(scored, ScoredWindow)
    assert [(score.name, score.cosine) for score in scored.scores] == [("anna", 1.0), ("ben", 0.0)]
    assert (scored.identified.recognition, scored.identified.identity) == (Recognition.KNOWN, "anna")
    assert scored.identified.margin == 1.0


def test_a_window_with_too_little_speech_is_not_decided() -> None:
    (scored,) = recogniser(ScriptedModel()).recognise([window(quality=replace(GOOD, net_speech=0.9))])
    assert isinstance(scored, ScoredWindow)
    assert scored.identified.recognition is Recognition.UNDECIDED


def test_windows_and_pooled_speech_are_compared_in_the_same_way() -> None:
    recognising = recogniser(ScriptedModel())
    (scored,) = recognising.recognise([window()])
    assert isinstance(scored, ScoredWindow)
    assert list(scored.scores) == recognising.compare(PooledSpeech(scored.embedding, GOOD.net_speech, GOOD.snr_db))


# The gate


@pytest.mark.parametrize(
    ("reason", "quality"),
    [
        *REFUSED.items(),
        ("too_quiet", replace(GOOD, level_dbfs=math.nan)),
        ("clipped", replace(GOOD, clipping=math.nan)),
        ("noisy", replace(GOOD, snr_db=math.nan)),
    ],
)
def test_a_window_that_does_not_pass_the_gate_never_reaches_the_model(reason: str, quality: Quality) -> None:
    model = ScriptedModel()
    bad = window(quality=quality)
    (refused,) = recogniser(model, GateConfig()).recognise([bad])
    assert isinstance(refused, RefusedWindow)
    assert (refused.window, refused.reason) == (bad, reason)
    assert model.batches == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["good", "nan", *REFUSED]), max_size=8))
def test_results_of_any_kind_are_returned_in_order(kinds: list[str]) -> None:
    model = ScriptedModel()
    windows = [
        window(number, REFUSED.get(kind, GOOD), math.nan if kind == "nan" else 1e-3)
        for number, kind in enumerate(kinds)
    ]
    results = recogniser(model, GateConfig()).recognise(windows)
    assert [result.window for result in results] == windows
    types = {"good": ScoredWindow, "nan": FailedWindow}
    assert [type(result) for result in results] == [types.get(kind, RefusedWindow) for kind in kinds]
    assert [result.reason for result in results if isinstance(result, RefusedWindow)] == [
        kind for kind in kinds if kind in REFUSED
    ]
    reached = sum(kind not in REFUSED for kind in kinds)
    assert len(model.batches) == 0 if reached == 0 else len(model.batches[0]) == reached, "embedded as one batch"


def test_another_gate_applies_from_the_next_batch_on() -> None:
    recognising = recogniser(ScriptedModel(), GateConfig())
    noisy = window(quality=REFUSED["noisy"])
    assert isinstance(recognising.recognise([noisy])[0], RefusedWindow)
    recognising.gate = GateConfig(min_snr_db=-5.0)
    assert isinstance(recognising.recognise([noisy])[0], ScoredWindow)


# Other changes


def test_a_profile_that_is_deleted_during_the_forward_is_not_recognised() -> None:
    model = ScriptedModel()
    recognising = recogniser(model)

    def answer(clips: Sequence[Samples]) -> list[Embedding]:
        recognising.gallery = make_gallery([profile("ben", axis(1))], MODEL)
        return model.right(clips)

    model.answer = answer
    (scored,) = recognising.recognise([window()])
    assert isinstance(scored, ScoredWindow)
    assert scored.identified.recognition is Recognition.UNKNOWN


def test_profiles_of_another_model_recognise_nobody() -> None:
    (failed,) = Recogniser(ScriptedModel(), make_gallery([], OTHER), RULE, OPEN).recognise([window()])
    assert isinstance(failed, FailedWindow)
    assert "cannot be compared" in failed.detail


def test_without_enrolled_people_a_window_is_scored_with_that_reason() -> None:
    (scored,) = Recogniser(ScriptedModel(), make_gallery([], MODEL), RULE, OPEN).recognise([window()])
    assert isinstance(scored, ScoredWindow)
    assert scored.identified.reason == "nobody_enrolled"


def test_two_threads_share_the_model_one_at_a_time() -> None:
    model = ScriptedModel()  # fails if it is called while it is busy
    recognising = recogniser(model)
    model.may_run.clear()
    results: list[ScoredWindow | RefusedWindow | FailedWindow] = []
    threads = [threading.Thread(target=lambda: results.extend(recognising.recognise([window()]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert model.busy.wait(20.0)
    model.may_run.set()
    for thread in threads:
        thread.join(20.0)
    assert [type(result) for result in results] == [ScoredWindow, ScoredWindow]


def test_the_time_of_a_forward_is_measured() -> None:
    model = ScriptedModel()

    def slow(clips: Sequence[Samples]) -> list[Embedding]:
        time.sleep(0.05)
        return model.right(clips)

    model.answer = slow
    (scored,) = recogniser(model).recognise([window()])
    assert isinstance(scored, ScoredWindow)
    assert 0.05 <= scored.forward < 5.0


# Recordings


def test_a_recording_is_followed_to_its_end() -> None:
    sound = talk(0.5, 4.0, 1.0, 2.0)
    scored = list(follow([one_block(sound)], sign_segmenter(), recogniser(ScriptedModel())))
    found = places(each for each in scored if isinstance(each, ScoredWindow))
    assert len(found) == len(scored) == 5
    assert found[-1][1] == len(sound) - 1
    assert all(one[1] < other[1] for one, other in pairwise(found))


def test_two_recordings_in_a_row_do_not_mix() -> None:
    segmenter, recognising = sign_segmenter(), recogniser(ScriptedModel())
    one, other = talk(0.5, 1.4), talk(0.0, 2.2, first=50 * RATE)
    assert len(list(follow([one_block(one)], segmenter, recognising))) == 1
    scored = list(follow([Block(other, 0, 1.0)], segmenter, recognising))
    assert [place >= 50 * RATE for place, _ in places(each for each in scored if isinstance(each, ScoredWindow))] == [
        True
    ] * 2


def test_a_recording_without_speech_gives_no_results() -> None:
    assert list(follow([one_block(talk(3.0))], sign_segmenter(), recogniser(ScriptedModel()))) == []
    assert list(follow([], sign_segmenter(), recogniser(ScriptedModel()))) == []
