"""How an utterance is cut into windows. The detectors themselves are looked at in `test_detection.py`."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_parts import (
    CLOCK,
    FRAME,
    Obedient,
    as_blocks,
    every,
    found_in,
    frames,
    numbered,
    numbers,
    same,
    unconfirmed,
    utterances,
    voice,
    white,
    windows,
)

from voiceauthd.audio.block import RATE, Block
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import PAD, PRE_ROLL, Segmenter
from voiceauthd.speech.window import Speech, SpeechBegan, SpeechEnded, Window


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceauthd.speech.segmenter.FirstGate", Obedient)


@pytest.fixture
def cutter(obedient: None) -> Segmenter:
    return Segmenter(unconfirmed())


@pytest.fixture(scope="module")
def real() -> Segmenter:
    """With both detectors, as in the daemon."""
    return Segmenter(SpeechConfig())


def seconds(window: Window) -> tuple[float, float]:
    """Its begin and end."""
    return window.start / RATE, window.end / RATE


# Blocks

SPOKEN = voice("turn-01-ralph", "turn-02-susan", pause=0.8)


@pytest.fixture(scope="module")
def expected(real: Segmenter) -> list[Speech]:
    """What is found in `SPOKEN` as one block."""
    found = found_in(SPOKEN, real)
    assert len(windows(found)) >= 4
    return found


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, len(SPOKEN) - 1), max_size=40))
def test_windows_do_not_depend_on_how_the_sound_comes_in_blocks(
    real: Segmenter, expected: list[Speech], cuts: list[int]
) -> None:
    real.restart()
    found = [each for block in as_blocks(SPOKEN, cuts) for each in real.push(block)]
    found += real.flush(CLOCK + len(SPOKEN) / RATE)
    numbering = found[0].utterance - expected[0].utterance
    assert len(found) == len(expected)
    assert all(
        same(one, replace(other, utterance=other.utterance + numbering))
        for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("length", [1, 7, FRAME - 1, FRAME, FRAME + 1, 512, 4096])
def test_blocks_of_any_length_give_the_same_windows(obedient: None, length: int) -> None:
    sound = numbered(frames(0.5, 2.1, 0.7, 1.2))
    whole = found_in(sound, Segmenter(unconfirmed()))
    pieces = Segmenter(unconfirmed())
    found = [each for block in every(sound, length) for each in pieces.push(block)]
    found += pieces.flush(CLOCK + len(sound) / RATE)
    assert len(windows(whole)) >= 2
    assert all(same(one, other) for one, other in zip(found, whole, strict=True))


def test_a_recording_gives_the_same_whatever_was_heard_before_it(real: Segmenter) -> None:
    def said(segmenter: Segmenter) -> list[tuple[int, float | None]]:
        return [(window.start, window.quality.snr_db) for window in windows(found_in(SPOKEN, segmenter))]

    found_in(np.concatenate((white(3.0, -25.0), voice("ralph-1"))), real)
    assert said(real) == said(Segmenter(SpeechConfig()))


# Where windows are cut


BEGIN = 1.0 + 0.08 - PRE_ROLL - 0.1
"""Where an utterance begins whose first word does at 1 s: when four fifths of the onset, 0.1 s, are speech, all of the
onset and the pre-roll before it belong to it."""


def test_the_first_window_ends_a_second_and_a_half_after_the_utterance_began(cutter: Segmenter) -> None:
    began, first, *_ = found_in(numbered(frames(1.0, 4.0)), cutter)
    assert isinstance(began, SpeechBegan)
    assert isinstance(first, Window)
    assert began.start == round(BEGIN * RATE)
    assert began.captured == pytest.approx(CLOCK + 1.08)
    assert seconds(first) == pytest.approx((BEGIN, BEGIN + 1.5))
    assert first.captured == pytest.approx(CLOCK + BEGIN + 1.5)


def test_windows_grow_to_three_seconds_and_advance_by_the_hop(cutter: Segmenter) -> None:
    found = windows(found_in(numbered(frames(1.0, 9.0)), cutter))
    assert [seconds(window) for window in found[:5]] == [
        pytest.approx((BEGIN + begin, BEGIN + end))
        for begin, end in [(0.0, 1.5), (0.0, 3.0), (1.5, 4.5), (3.0, 6.0), (4.5, 7.5)]
    ]


def test_the_windows_of_a_long_utterance_leave_nothing_out_and_count_nothing_twice(cutter: Segmenter) -> None:
    (_, inside, ended), *_ = utterances(found_in(numbered(frames(0.2, 7.36, 0.3, 4.0, 2.0)), cutter))
    assert ended.net_speech == pytest.approx(11.36)
    assert sum(window.new_speech for window in inside) == pytest.approx(11.36)


@pytest.mark.parametrize(("spoken", "tail"), [(3.26, False), (3.28, True), (3.5, True)])
def test_a_tail_needs_half_a_second_of_speech_that_is_new(cutter: Segmenter, spoken: float, tail: bool) -> None:
    found = windows(found_in(numbered(frames(1.0, spoken, 2.0)), cutter))
    assert [seconds(window)[1] for window in found[:2]] == pytest.approx([BEGIN + 1.5, BEGIN + 3.0])
    assert len(found) == 2 + tail
    if tail:
        end = 1.0 + spoken + PAD
        assert seconds(found[2]) == pytest.approx((end - 3.0, end))
        assert found[2].new_speech == pytest.approx(1.0 + spoken - BEGIN - 3.0)
        assert found[2].captured == pytest.approx(CLOCK + end), "not when the hangover was over"


@pytest.mark.parametrize(("last_word", "tail"), [(0.48, False), (0.5, True)])
def test_a_tail_needs_a_second_of_speech(cutter: Segmenter, last_word: float, tail: bool) -> None:
    found = windows(found_in(numbered(frames(1.0, 0.5, 0.4, last_word, 2.0)), cutter))
    assert len(found) == tail
    if tail:
        assert seconds(found[0]) == pytest.approx((BEGIN, 1.9 + last_word + PAD))


def test_a_short_utterance_by_itself_gives_no_window(cutter: Segmenter) -> None:
    found = found_in(numbered(frames(1.0, 0.9, 1.0)), cutter)
    assert [type(each) for each in found] == [SpeechBegan, SpeechEnded]


def test_no_window_is_shorter_than_a_model_takes(obedient: None) -> None:
    cutter = Segmenter(unconfirmed(min_speech=0.5))
    found = found_in(numbered(frames(1.0, 0.6, 4.0, 0.66, 4.0, 0.68, 1.0)), cutter)
    assert [(window.utterance, window.duration) for window in windows(found)] == [(3, pytest.approx(1.0))]


def test_a_pause_is_not_embedded_again_and_again(obedient: None) -> None:
    cutter = Segmenter(unconfirmed(hop=0.25, hangover=3.0))
    found = windows(found_in(numbered(frames(0.0, 2.0, 2.8, 1.0)), cutter))
    assert all(window.new_speech > 0.0 for window in found)


def test_a_long_onset_does_not_delay_the_first_window_by_a_hop(obedient: None) -> None:
    began, first, *_ = found_in(
        numbered(frames(1.0, 4.0)), Segmenter(unconfirmed(onset=1.0, first=1.0, min_speech=0.5))
    )
    assert (first.start, first.captured - began.captured) == (began.start, pytest.approx(FRAME / RATE))


PATTERNS = st.lists(st.integers(1, 120), min_size=1, max_size=8)
SETTINGS = st.builds(
    unconfirmed,
    onset=st.sampled_from((0.02, 0.1, 1.0)),
    hangover=st.sampled_from((0.1, 0.5, 2.0)),
    first=st.sampled_from((1.0, 1.5, 3.0)),
    hop=st.sampled_from((0.25, 1.5, 3.0)),
    min_speech=st.sampled_from((0.5, 1.0)),
)


@settings(max_examples=50, deadline=None)
@given(lengths=PATTERNS, config=SETTINGS)
def test_what_holds_for_every_speech_and_every_setting(lengths: list[int], config: SpeechConfig) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voiceauthd.speech.segmenter.FirstGate", Obedient)
        cutter = Segmenter(config)
        pattern = [bool(index % 2) for index, length in enumerate(lengths, 1) for _ in range(length)]
        sound = numbered(pattern)
        heard: set[int] = set()  # frames of speech that were in a window
        end_of_last = 0
        for ordinal, (began, inside, ended) in enumerate(utterances(found_in(sound, cutter)), 1):
            assert began.utterance == ended.utterance == ordinal
            assert end_of_last <= began.start <= ended.start <= len(sound)
            end_of_last = ended.start
            ends = [window.end for window in inside]
            assert ends == sorted(set(ends))
            for window in inside:
                places = numbers(window.samples)
                assert np.array_equal(window.samples, sound[places])
                assert (np.diff(places) > 0).all()
                assert (places[0], places[-1] + 1) == (window.start, window.end)
                joined = window.start < began.start
                assert not joined or len(inside) == 1
                assert joined or window.end - window.start == len(places)
                assert RATE <= len(window.samples) <= round(config.window * RATE)
                spoken = {frame for frame in places[::FRAME] // FRAME if pattern[frame]}
                assert window.quality.net_speech == pytest.approx(len(spoken) * FRAME / RATE)
                assert window.quality.net_speech >= config.min_speech
                assert window.new_speech == pytest.approx(len(spoken - heard) * FRAME / RATE)
                assert window.new_speech > 0.0
                assert window.utterance == ordinal
                heard |= spoken


def test_hours_of_speech_take_no_more_memory_than_a_window(cutter: Segmenter) -> None:
    second = numbered(frames(0.0, 1.0))
    for block in range(10):
        cutter.push(Block(second, block * RATE, CLOCK + block))
    tracemalloc.start()
    try:
        cut = 0
        for block in range(10, 130):
            cut += len(windows(cutter.push(Block(second.copy(), block * RATE, CLOCK + block))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cut == 80
    assert peak < 2_000_000  # the sound is 8 MB, a window with its frames 0.2 MB


# Ends: gaps, flush, reset


def test_a_gap_ends_the_utterance_and_no_window_spans_it(cutter: Segmenter) -> None:
    before, after = numbered(frames(0.5, 2.2)), numbered(frames(0.0, 2.0), first=100 * RATE)
    found = cutter.push(Block(before, 0, CLOCK + 2.7))
    found += cutter.push(Block(after, len(before), CLOCK + 60.0, gap=True))
    found += cutter.flush(CLOCK + 60.0)
    (_, one, ended), (again, two, _) = utterances(found)
    assert [len(part) >= 1 for part in (one, two)] == [True, True]
    assert max(numbers(one[-1].samples)) < len(before)
    assert min(numbers(two[0].samples)) >= 100 * RATE
    assert again.start == ended.start == len(before)
    assert one[-1].captured == pytest.approx(CLOCK + 2.7), "when its last sample was heard, not when the gap was seen"


def test_flush_gives_the_tail_and_the_end_once(cutter: Segmenter) -> None:
    sound = numbered(frames(0.5, 2.2))
    first = cutter.push(Block(sound, 0, CLOCK + 2.7))
    (_, inside, ended), *more = utterances(first + cutter.flush(CLOCK + 9.0))
    assert not more
    assert seconds(inside[-1])[1] == pytest.approx(2.7)
    assert inside[-1].captured == pytest.approx(CLOCK + 2.7)
    assert ended.captured == CLOCK + 9.0
    assert cutter.flush(CLOCK + 10.0) == []


@pytest.mark.parametrize("before", [0.05, 0.3, 1.4, 2.9, 4.2])
@pytest.mark.parametrize("odd", [0, 1, FRAME - 1])
def test_nothing_from_before_a_reset_is_in_a_window_after_it(cutter: Segmenter, before: float, odd: int) -> None:
    sound = numbered(frames(1.0, before + 4.0))
    at = round((1.0 + before) * RATE) + odd
    old, new = as_blocks(sound, [at])
    cutter.push(old)
    began = cutter.utterances
    cutter.reset()
    found = cutter.push(new) + cutter.flush(CLOCK + 99.0)
    (start, inside, _), *_ = utterances(found)
    assert start.utterance == began + 1
    assert start.start >= at
    assert len(inside) >= 3
    assert all(min(numbers(window.samples)) >= at for window in inside)


def test_reset_keeps_the_noise_of_the_room_and_restart_forgets_it(cutter: Segmenter) -> None:
    def snr() -> float | None:
        return windows(cutter.push(as_blocks(numbered(frames(0.0, 2.0), first=RATE))[0]))[0].quality.snr_db

    cutter.push(as_blocks(numbered(frames(2.0)))[0])
    cutter.reset()
    assert snr() is not None
    cutter.restart()
    assert snr() is None
