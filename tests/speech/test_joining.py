"""Words that are too short for a window of their own: which are joined, which are not, and how speech is counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_parts import (
    CLOCK,
    FRAME,
    MAX_SEGMENTER_BYTES,
    as_blocks,
    events_in,
    frames,
    numbered,
    numbers,
    same,
    sign_segmenter,
    two_minutes_of,
    utterances,
    voice,
    white,
    windows,
)

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import MAX_JOIN_PAUSE, MIN_WORD, PAD, PRE_ROLL, Segmenter
from voiceauthd.speech.window import SpeechEnded, SpeechEvent, Window

BEFORE = PRE_ROLL + 0.1 - 0.08
"""Seconds of an utterance before its first word: the pre-roll and the onset, minus the voiced part of the onset."""


def words(count: int, spoken: float = 0.5, pause: float = 1.0) -> Samples:
    """Return `count` words, each after a pause, and silence at the end."""
    return numbered(frames(*[pause, spoken] * count, 2.0))


def stretches(samples: Samples) -> list[tuple[float, float]]:
    """Return start and end, in seconds, of each contiguous piece."""
    places = numbers(samples)
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    return [(piece[0] / RATE, (piece[-1] + 1) / RATE) for piece in np.split(places, breaks)]


def spoken_places(samples: Samples) -> set[int]:
    return {int(place) for place in numbers(samples)[samples > 0]}


# What is joined


def test_words_called_out_one_by_one_are_joined(cutter: Segmenter) -> None:
    found = windows(events_in(words(3), cutter))
    assert [window.utterance for window in found] == [2, 3]
    assert stretches(found[0].samples) == [
        pytest.approx((word - BEFORE, word + 0.5 + PAD), abs=1e-4) for word in (1.0, 2.5)
    ]
    assert len(stretches(found[1].samples)) == 3
    assert [window.new_speech for window in found] == pytest.approx([1.0, 0.5])
    assert [window.quality.net_speech for window in found] == pytest.approx([1.0, 1.5])


def test_a_joined_window_comes_before_the_end_of_its_last_word(cutter: Segmenter) -> None:
    *_, before, last = events_in(words(2), cutter)
    assert isinstance(before, Window)
    assert isinstance(last, SpeechEnded)
    assert before.utterance == last.utterance == 2
    assert before.end == last.start


def test_a_joined_window_has_the_times_of_its_first_and_its_last_sample(cutter: Segmenter) -> None:
    (window,) = windows(events_in(words(2), cutter))
    assert (window.start, window.end) == (numbers(window.samples)[0], numbers(window.samples)[-1] + 1)
    assert window.captured == pytest.approx(CLOCK + 3.0 + PAD), "the end of the speech, not of the hangover"
    assert window.began == pytest.approx(CLOCK + 1.0 - BEFORE)
    assert window.duration == pytest.approx(2 * (BEFORE + 0.5 + PAD)), "without the pause"


def test_joined_windows_reach_back_no_further_than_a_window_and_count_each_word_once(cutter: Segmenter) -> None:
    found = windows(events_in(words(12), cutter))
    assert [window.utterance for window in found] == list(range(2, 13))
    assert all(window.duration <= 3.0 for window in found)
    assert found[-1].duration == 3.0
    assert [one.within(other) for one, other in pairwise(found[:3])] == [True, False]
    assert sum(window.new_speech for window in found) == pytest.approx(12 * 0.5)


def test_very_short_words_wait_until_there_is_enough_speech_for_a_window(cutter: Segmenter) -> None:
    found = windows(events_in(words(12, spoken=0.3), cutter))
    assert [window.utterance for window in found] == [4, 6, 8, 10, 12]
    assert [window.new_speech for window in found] == pytest.approx([1.2, 0.6, 0.6, 0.6, 0.6])


@pytest.mark.parametrize(("spoken", "joined"), [(MIN_WORD - 0.02, False), (MIN_WORD, True)])
def test_clicks_and_coughs_are_not_joined(cutter: Segmenter, spoken: float, joined: bool) -> None:
    found = events_in(words(20, spoken=spoken), cutter)
    assert len(list(utterances(found))) == 20
    assert bool(windows(found)) == joined


def test_a_click_between_two_words_does_not_separate_them(cutter: Segmenter) -> None:
    (window,) = windows(events_in(numbered(frames(1.0, 0.5, 1.0, 0.1, 1.0, 0.5, 1.0)), cutter))
    assert window.utterance == 3
    assert len(stretches(window.samples)) == 2


@pytest.mark.parametrize("frame_ms", [20, 30])
def test_words_of_real_speech_are_joined(frame_ms: int) -> None:
    """Half-second pieces of a recording, one second apart, in a quiet room."""
    segmenter = Segmenter(SpeechConfig(frame_ms=frame_ms))
    speech = voice("ralph-1", "ralph-2")
    sound = white(14.0, -70.0, seed=4)
    for word in range(8):
        piece = speech[round((1.0 + 0.6 * word) * RATE) :][: RATE // 2]
        sound[round((1.0 + 1.5 * word) * RATE) :][: len(piece)] += piece
    found = events_in(sound, segmenter)
    assert len(list(utterances(found))) >= 6
    joined = [window for window in windows(found) if window.end - window.start > len(window.samples)]
    assert len(joined) >= 4
    assert sum(window.new_speech for window in windows(found)) > 0.75 * segmenter.net_speech


# What is not


@pytest.mark.parametrize(("pause", "joined"), [(MAX_JOIN_PAUSE, True), (MAX_JOIN_PAUSE + 0.02, False)])
def test_a_long_pause_separates_words(cutter: Segmenter, pause: float, joined: bool) -> None:
    sound = numbered(frames(1.0, 0.6, pause + BEFORE + PAD, 0.6, 1.0))
    assert len(windows(events_in(sound, cutter))) == joined


def test_an_utterance_with_a_window_of_its_own_is_not_joined(cutter: Segmenter) -> None:
    found = events_in(numbered(frames(1.0, 0.6, 1.0, 1.2, 1.0, 0.6, 1.0)), cutter)
    (window,) = windows(found)
    assert window.utterance == 2
    assert len(stretches(window.samples)) == 1
    assert window.new_speech == pytest.approx(1.2)


def forget_by_reset(segmenter: Segmenter, end: int) -> None:
    segmenter.reset()


def forget_by_flush(segmenter: Segmenter, end: int) -> None:
    assert segmenter.flush(CLOCK) == []


def forget_by_restart(segmenter: Segmenter, end: int) -> None:
    segmenter.restart()


def forget_by_gap(segmenter: Segmenter, end: int) -> None:
    assert segmenter.push(Block(numbered([False], first=end), end, CLOCK, gap=True)) == []


def forget_by_broken_sample(segmenter: Segmenter, end: int) -> None:
    assert segmenter.push(Block(np.full(FRAME, math.nan, np.float32), end, CLOCK)) == []


@pytest.mark.parametrize(
    "forget", [forget_by_reset, forget_by_flush, forget_by_restart, forget_by_gap, forget_by_broken_sample]
)
def test_words_before_a_reset_a_gap_or_the_end_of_a_recording_are_not_joined(cutter: Segmenter, forget) -> None:
    before = numbered(frames(1.0, 0.6, 1.0))
    cutter.push(Block(before, 0, CLOCK))
    forget(cutter, len(before))
    start = len(before) + FRAME
    after = numbered(frames(0.4, 0.6, 1.0, 0.6, 1.0), first=start)
    (window,) = windows(cutter.push(Block(after, start, CLOCK)))
    assert window.utterance == cutter.utterances == 3
    assert numbers(window.samples).min() >= start
    assert window.new_speech == pytest.approx(1.2)


@pytest.mark.parametrize("gap", [True, False])
def test_a_word_cut_short_by_lost_audio_is_joined_to_those_before_but_to_none_after(
    cutter: Segmenter, gap: bool
) -> None:
    samples = numbered(frames(1.0, 0.6, 1.0, 0.6))
    found = cutter.push(Block(samples, 0, CLOCK))
    after = np.full(FRAME, -0.1 if gap else math.nan, np.float32)
    (window,) = windows(found + cutter.push(Block(after, len(samples), CLOCK, gap)))
    assert window.new_speech == pytest.approx(1.2)
    again = numbered(frames(0.4, 0.6, 1.0), first=len(samples) + FRAME)
    assert windows(cutter.push(Block(again, len(samples) + FRAME, CLOCK))) == []


# Any speech


def tail_after_every_block(segmenter: Segmenter, blocks: Sequence[Block]) -> list[SpeechEvent]:
    found: list[SpeechEvent] = []
    for block in blocks:
        found += segmenter.push(block)
        first, second = segmenter.tail(), segmenter.tail()
        assert (first is None) == (second is None)
        assert first is None or second is None or same(first, second)
    return found + segmenter.flush(CLOCK)


WORDS = st.lists(st.tuples(st.integers(20, 180), st.integers(3, 60)), min_size=1, max_size=6)
"""Frames of pause and of speech."""


def pattern_of(lengths: list[tuple[int, int]]) -> list[bool]:
    return [speech for pause, spoken in lengths for speech in (False,) * pause + (True,) * spoken]


@settings(max_examples=25, deadline=None)
@given(lengths=WORDS, cuts=st.lists(st.integers(1, 20_000), max_size=8))
def test_joining_depends_neither_on_the_blocks_nor_on_calls_of_tail(
    lengths: list[tuple[int, int]], cuts: list[int]
) -> None:
    samples = numbered(pattern_of(lengths))
    with sign_segmenter() as one, sign_segmenter() as other:
        whole = one.push(as_blocks(samples)[0]) + one.flush(CLOCK)
        pieces = tail_after_every_block(other, as_blocks(samples, [cut for cut in set(cuts) if cut < len(samples)]))
    assert len(whole) == len(pieces)
    assert all(same(each, twin) for each, twin in zip(whole, pieces, strict=True))


@settings(max_examples=25, deadline=None)
@given(lengths=WORDS, share=st.floats(0.0, 1.0))
def test_the_tail_is_what_flush_would_cut(lengths: list[tuple[int, int]], share: float) -> None:
    samples = numbered(pattern_of(lengths))
    with sign_segmenter() as segmenter:
        segmenter.push(as_blocks(samples[: max(1, round(share * len(samples)))])[0])
        tail = segmenter.tail()
        cut = windows(segmenter.flush(CLOCK))
    assert len(cut) == (tail is not None)
    assert tail is None or same(tail, cut[0])


@settings(max_examples=25, deadline=None)
@given(lengths=WORDS)
def test_no_speech_counts_as_new_in_two_windows(lengths: list[tuple[int, int]]) -> None:
    counted: set[int] = set()
    with sign_segmenter() as segmenter:
        found = windows(events_in(numbered(pattern_of(lengths)), segmenter))
    for window in found:
        new = spoken_places(window.samples) - counted
        assert window.new_speech == pytest.approx(len(new) / RATE)
        counted |= new


def test_words_without_end_take_no_more_memory_than_a_window(cutter: Segmenter) -> None:
    cut, peak = two_minutes_of(numbered(frames(0.7, 0.3)), cutter)
    assert cut == 60
    assert peak < MAX_SEGMENTER_BYTES
