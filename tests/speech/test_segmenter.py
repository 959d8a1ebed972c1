"""How an utterance is cut into windows. `test_detection.py` tests the detectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_parts import (
    CLOCK,
    FRAME,
    MAX_SEGMENTER_BYTES,
    as_blocks,
    blocks_of,
    events_in,
    frames,
    numbered,
    numbers,
    same,
    sign_segmenter,
    two_minutes_of,
    unconfirmed,
    utterances,
    voice,
    white,
    windows,
)

from voiceauthd.audio.block import RATE, Block
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import PAD, PRE_ROLL, Segmenter
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, SpeechEvent, Window


@pytest.fixture(scope="module")
def real() -> Segmenter:
    """A segmenter with both detectors, as in the daemon."""
    return Segmenter(SpeechConfig())


def seconds(window: Window) -> tuple[float, float]:
    """Return the start and the end of a window in seconds."""
    return window.start / RATE, window.end / RATE


# Blocks

SPOKEN = voice("turn-01-ralph", "turn-02-susan", pause=0.8)


@pytest.fixture(scope="module")
def expected(real: Segmenter) -> list[SpeechEvent]:
    """The events in `SPOKEN`, given as one block."""
    found = events_in(SPOKEN, real)
    assert len(windows(found)) >= 4
    return found


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, len(SPOKEN) - 1), max_size=40))
def test_windows_do_not_depend_on_how_the_audio_is_split_into_blocks(
    real: Segmenter, expected: list[SpeechEvent], cuts: list[int]
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


@pytest.mark.parametrize("length", [1, 7, FRAME - 1, FRAME, FRAME + 1, 4096])
def test_blocks_of_any_length_give_the_same_windows(sign_detector: None, length: int) -> None:
    """A long utterance, a shorter one, and two words, which are joined."""
    samples = numbered(frames(0.5, 2.1, 0.7, 1.2, 0.7, 0.5, 0.7, 0.5, 0.7))
    whole = events_in(samples, Segmenter(unconfirmed()))
    pieces = Segmenter(unconfirmed())
    found = [each for block in blocks_of(samples, length) for each in pieces.push(block)]
    found += pieces.flush(CLOCK + len(samples) / RATE)
    assert len(windows(whole)) >= 4
    assert all(same(one, other) for one, other in zip(found, whole, strict=True))


def test_a_recording_gives_the_same_windows_whatever_came_before_it(real: Segmenter) -> None:
    def found(segmenter: Segmenter) -> list[tuple[int, float | None]]:
        return [(window.start, window.quality.snr_db) for window in windows(events_in(SPOKEN, segmenter))]

    events_in(np.concatenate((white(3.0, -25.0), voice("ralph-1"))), real)
    assert found(real) == found(Segmenter(SpeechConfig()))


# Where windows are cut


BEGIN = 1.0 + 0.08 - PRE_ROLL - 0.1
"""Where an utterance begins if its first word begins at 1 s: once four fifths of the onset time, 0.1 s, are speech, the
whole onset and the pre-roll before it belong to the utterance."""


def test_the_first_window_ends_a_second_and_a_half_after_the_utterance_began(cutter: Segmenter) -> None:
    began, first, *_ = events_in(numbered(frames(1.0, 4.0)), cutter)
    assert isinstance(began, SpeechBegan)
    assert isinstance(first, Window)
    assert began.start == round(BEGIN * RATE)
    assert began.captured == pytest.approx(CLOCK + 1.08)
    assert seconds(first) == pytest.approx((BEGIN, BEGIN + 1.5))
    assert first.captured == pytest.approx(CLOCK + BEGIN + 1.5)


def test_windows_grow_to_three_seconds_and_advance_by_the_hop(cutter: Segmenter) -> None:
    found = windows(events_in(numbered(frames(1.0, 9.0)), cutter))
    assert [seconds(window) for window in found[:5]] == [
        pytest.approx((BEGIN + begin, BEGIN + end))
        for begin, end in [(0.0, 1.5), (0.0, 3.0), (1.5, 4.5), (3.0, 6.0), (4.5, 7.5)]
    ]


def test_all_speech_of_a_long_utterance_is_in_its_windows_and_counts_once(cutter: Segmenter) -> None:
    (_, inside, ended), *_ = utterances(events_in(numbered(frames(0.2, 7.36, 0.3, 4.0, 2.0)), cutter))
    assert ended.net_speech == pytest.approx(11.36)
    assert sum(window.new_speech for window in inside) == pytest.approx(11.36)


@pytest.mark.parametrize(("spoken", "tail"), [(3.26, False), (3.28, True), (3.5, True)])
def test_a_tail_needs_half_a_second_of_speech_that_is_new(cutter: Segmenter, spoken: float, tail: bool) -> None:
    found = windows(events_in(numbered(frames(1.0, spoken, 2.0)), cutter))
    assert [seconds(window)[1] for window in found[:2]] == pytest.approx([BEGIN + 1.5, BEGIN + 3.0])
    assert len(found) == 2 + tail
    if tail:
        end = 1.0 + spoken + PAD
        assert seconds(found[2]) == pytest.approx((end - 3.0, end))
        assert found[2].new_speech == pytest.approx(1.0 + spoken - BEGIN - 3.0)
        assert found[2].captured == pytest.approx(CLOCK + end), "the end of the speech, not of the hangover"


@pytest.mark.parametrize(("last_word", "tail"), [(0.48, False), (0.5, True)])
def test_a_tail_needs_a_second_of_speech(cutter: Segmenter, last_word: float, tail: bool) -> None:
    found = windows(events_in(numbered(frames(1.0, 0.5, 0.4, last_word, 2.0)), cutter))
    assert len(found) == tail
    if tail:
        assert seconds(found[0]) == pytest.approx((BEGIN, 1.9 + last_word + PAD))


def test_a_short_utterance_alone_gives_no_window(cutter: Segmenter) -> None:
    found = events_in(numbered(frames(1.0, 0.9, 1.0)), cutter)
    assert [type(each) for each in found] == [SpeechBegan, SpeechEnded]


def test_no_window_is_shorter_than_a_model_accepts(sign_detector: None) -> None:
    cutter = Segmenter(unconfirmed(min_speech=0.5))
    found = events_in(numbered(frames(1.0, 0.6, 4.0, 0.66, 4.0, 0.68, 1.0)), cutter)
    assert [(window.utterance, window.duration) for window in windows(found)] == [(3, pytest.approx(1.0))]


def test_no_window_consists_only_of_speech_that_was_embedded_before(sign_detector: None) -> None:
    cutter = Segmenter(unconfirmed(hop=0.25, hangover=3.0))
    found = windows(events_in(numbered(frames(0.0, 2.0, 2.8, 1.0)), cutter))
    assert all(window.new_speech > 0.0 for window in found)


def test_a_long_onset_does_not_delay_the_first_window_by_a_hop(sign_detector: None) -> None:
    began, first, *_ = events_in(
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
def test_invariants_for_any_speech_and_any_setting(lengths: list[int], config: SpeechConfig) -> None:
    with sign_segmenter(config) as cutter:
        pattern = [bool(index % 2) for index, length in enumerate(lengths, 1) for _ in range(length)]
        samples = numbered(pattern)
        counted: set[int] = set()  # frames of speech that were in a window
        end_of_last = 0
        for ordinal, (began, inside, ended) in enumerate(utterances(events_in(samples, cutter)), 1):
            assert began.utterance == ended.utterance == ordinal
            assert end_of_last <= began.start <= ended.start <= len(samples)
            end_of_last = ended.start
            ends = [window.end for window in inside]
            assert ends == sorted(set(ends))
            for window in inside:
                places = numbers(window.samples)
                assert np.array_equal(window.samples, samples[places])
                assert (np.diff(places) > 0).all()
                assert (places[0], places[-1] + 1) == (window.start, window.end)
                joined = window.start < began.start
                assert not joined or len(inside) == 1
                assert joined or window.end - window.start == len(places)
                assert RATE <= len(window.samples) <= round(config.window * RATE)
                spoken = {frame for frame in places[::FRAME] // FRAME if pattern[frame]}
                assert window.quality.net_speech == pytest.approx(len(spoken) * FRAME / RATE)
                assert window.quality.net_speech >= config.min_speech
                assert window.new_speech == pytest.approx(len(spoken - counted) * FRAME / RATE)
                assert window.new_speech > 0.0
                assert window.utterance == ordinal
                counted |= spoken


def test_speech_without_a_pause_takes_no_more_memory_than_a_window(cutter: Segmenter) -> None:
    cut, peak = two_minutes_of(numbered(frames(0.0, 1.0)), cutter)
    assert cut == 80
    assert peak < MAX_SEGMENTER_BYTES


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
    assert one[-1].captured == pytest.approx(CLOCK + 2.7), "the time of its last sample, not of the gap"


def test_flush_returns_the_tail_and_the_end_once(cutter: Segmenter) -> None:
    sound = numbered(frames(0.5, 2.2))
    first = cutter.push(Block(sound, 0, CLOCK + 2.7))
    (_, inside, ended), *more = utterances(first + cutter.flush(CLOCK + 9.0))
    assert not more
    assert seconds(inside[-1])[1] == pytest.approx(2.7)
    assert inside[-1].captured == pytest.approx(CLOCK + 2.7)
    assert ended.captured == CLOCK + 9.0
    assert cutter.flush(CLOCK + 10.0) == []


@pytest.mark.parametrize("before", [0.05, 0.3, 1.4, 2.9, 4.2])
def test_nothing_from_before_a_reset_is_in_a_window_after_it(cutter: Segmenter, before: float) -> None:
    for within_a_frame in (0, 1, FRAME - 1):
        cutter.restart()
        at = round((1.0 + before) * RATE) + within_a_frame
        old, new = as_blocks(numbered(frames(1.0, before + 4.0)), [at])
        cutter.push(old)
        began = cutter.utterances
        cutter.reset()
        found = cutter.push(new) + cutter.flush(CLOCK + 99.0)
        (start, inside, _), *_ = utterances(found)
        assert start.utterance == began + 1
        assert start.start >= at
        assert len(inside) >= 3
        assert all(min(numbers(window.samples)) >= at for window in inside)


def test_reset_keeps_the_noise_level_of_the_room_and_restart_forgets_it(cutter: Segmenter) -> None:
    def snr() -> float | None:
        return windows(cutter.push(as_blocks(numbered(frames(0.0, 2.0), first=RATE))[0]))[0].quality.snr_db

    cutter.push(as_blocks(numbered(frames(2.0)))[0])
    cutter.reset()
    assert snr() is not None
    cutter.restart()
    assert snr() is None
