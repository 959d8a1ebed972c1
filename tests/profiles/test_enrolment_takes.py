"""How takes become exemplars: sentences, paragraphs, separate words; conditions; advice on accepted takes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from enrolment_parts import ANNA, BERTA, GOOD, Speaker, cut, enrol, joined, near
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_parts import MODEL, profile

import voiceauthd
from voiceauthd.audio.block import RATE, Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import EnrollConfig, SpeechConfig
from voiceauthd.profiles.enrolment import Enrolment
from voiceauthd.profiles.profile import Exemplar, timestamp
from voiceauthd.profiles.take import chunks, counted_windows
from voiceauthd.profiles.take_verdict import ADVICE
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import Window

VOICES = Path(voiceauthd.__file__).parent / "demo" / "voices"


def test_five_sentences_in_one_recording_count_as_much_as_five_takes() -> None:
    speaker = enrol()
    windows = [window for _ in range(5) for window in speaker.utter(4.0)]
    verdict = speaker.enrolment.take(windows, speaker.embed([ANNA] * len(windows)))
    assert (verdict.exemplars, verdict.net_speech, verdict.complete) == (5, pytest.approx(20.0), True)


def test_twenty_seconds_without_a_pause_make_five_exemplars() -> None:
    verdict = enrol().say(20.0)
    assert (verdict.exemplars, verdict.complete) == (5, True)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 30))
def test_separate_words_in_a_recording_count_once(words: int) -> None:
    speaker = enrol()
    windows = joined(words)
    verdict = speaker.enrolment.take(windows, speaker.embed([ANNA] * len(windows)))
    assert verdict.accepted
    assert verdict.net_speech == pytest.approx(0.6 * words, abs=0.01)
    assert verdict.exemplars <= max(1, math.ceil(0.6 * words / 2.0))


def test_separate_words_at_the_microphone_count_once() -> None:
    """Each take is a window that shares most of its words with the previous one, and makes no new exemplar."""
    speaker = enrol()
    words = joined(12)
    verdicts = [speaker.enrolment.take([window], speaker.embed([ANNA])) for window in words]
    assert [verdict.exemplars for verdict in verdicts[:3]] == [1] * 3
    assert [verdict.net_speech for verdict in verdicts[:3]] == pytest.approx([1.2, 1.8, 2.4])
    # From here on a word alone is too short, but not together with the next one.
    assert [verdict.accepted for verdict in verdicts[3:7]] == [False, True, True, True]
    assert [verdict.exemplars for verdict in verdicts[3:7]] == [1, 2, 2, 2]
    assert verdicts[-2].net_speech == pytest.approx(0.6 * 11)
    assert verdicts[-2].exemplars == 3


def test_another_persons_word_does_not_affect_the_words_before() -> None:
    speaker = enrol()
    first, second, *_ = joined(4)
    assert speaker.say(4.0).accepted
    late = [dataclasses.replace(w, start=w.start + 160_000, end=w.end + 160_000) for w in (first, second)]
    assert speaker.enrolment.take([late[0]], speaker.embed([ANNA])).net_speech == pytest.approx(5.2)
    verdict = speaker.enrolment.take([late[1]], speaker.embed([BERTA]))
    assert (verdict.accepted, verdict.exemplars, verdict.net_speech) == (False, 2, pytest.approx(5.2))


def test_real_words_separated_by_pauses_count_once() -> None:
    """Windows of the real segmenter, from a recording cut into words of 0.5 s, each followed by 1 s of silence."""
    segmenter = Segmenter(SpeechConfig(confirm=False))
    speech = read_recording(VOICES / "ralph-1.flac")
    words = [speech[at : at + RATE // 2] for at in range(0, len(speech) - RATE // 2, RATE // 2)]
    samples = np.concatenate([part for word in words for part in (word, np.zeros(RATE, np.float32))])
    found = list(segment([Block(samples, start=0, captured=len(samples) / RATE)], segmenter))
    windows = [each for each in found if isinstance(each, Window)]
    assert any(later.start < earlier.end for earlier, later in itertools.pairwise(windows)), "they share audio"
    speaker = enrol()
    take = counted_windows(windows, speaker.embed([ANNA] * len(windows)))
    assert sum(each.speech for each in take) == pytest.approx(sum(window.new_speech for window in windows))
    assert sum(chunk.net_speech for chunk in chunks(take)) <= segmenter.net_speech + 0.001
    for window in windows:
        verdict = speaker.enrolment.take([window], speaker.embed([ANNA]))
    assert verdict.net_speech <= segmenter.net_speech + 0.01
    assert verdict.exemplars <= math.ceil(segmenter.net_speech / 2.0)


def test_a_second_take_with_a_headset_is_compared_with_the_first() -> None:
    """A headset may change a voice so much that it is only similar to itself."""
    headset = (0.3 * ANNA + math.sqrt(1.0 - 0.3**2) * (BERTA - np.dot(ANNA, BERTA) * ANNA)).astype(np.float32)
    headset /= np.linalg.norm(headset)
    rng = np.random.default_rng(0)
    exemplars = tuple(
        Exemplar(near(vector, rng), 4.0, 20.0, condition, timestamp())
        for vector, condition in [(ANNA, "default")] * 5 + [(headset, "headset")] * 2
    )
    old = dataclasses.replace(profile(), exemplars=exemplars)
    speaker = enrol(existing=old, mode="add")
    verdict = speaker.say(4.0, headset)
    assert (verdict.accepted, verdict.exemplars) == (True, 8)
    alone = enrol(existing=dataclasses.replace(old, exemplars=exemplars[:5]), mode="add")
    assert alone.say(4.0, headset).reason == "different_voice"


def test_a_narrow_band_take_is_kept_with_advice() -> None:
    narrow = dataclasses.replace(GOOD, bandwidth=3600.0)
    verdict = enrol().say(4.0, quality=narrow)
    assert verdict.accepted
    assert verdict.advice is not None
    assert "separate condition" in verdict.advice
    assert enrol().say(4.0, quality=dataclasses.replace(GOOD, bandwidth=7900.0)).advice is None


def test_a_narrow_band_take_with_its_own_condition_gets_no_advice() -> None:
    enrolment = Enrolment("anna", MODEL, EnrollConfig(), condition="headset")
    assert Speaker(enrolment).say(4.0, quality=dataclasses.replace(GOOD, bandwidth=3600.0)).advice is None


def test_advice_says_that_part_of_a_take_was_left_out() -> None:
    speaker = enrol()
    windows = cut(6.0)
    verdict = speaker.enrolment.take(windows, speaker.embed([ANNA] * len(windows)), ["clipped"])
    assert verdict.accepted
    assert verdict.advice is not None
    assert "left out" in verdict.advice
    assert ADVICE["clipped"] in verdict.advice


def test_a_take_that_is_mostly_bad_is_refused() -> None:
    speaker = enrol()
    windows = cut(2.0)
    verdict = speaker.enrolment.take(windows, speaker.embed([ANNA] * len(windows)), ["noisy", "noisy", "clipped"])
    assert (verdict.accepted, verdict.reason, verdict.advice) == (False, "noisy", ADVICE["noisy"])
    assert speaker.enrolment.exemplars == 0


def test_every_refusal_has_advice() -> None:
    for reason, advice in ADVICE.items():
        assert enrol().enrolment.refuse(reason, None).advice == advice
        assert advice.endswith(".")
