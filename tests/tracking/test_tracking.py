"""`Tracker`: who speaks now, as one label from many windows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from score_parts import RATIOS, RULE, score
from tracking_parts import ANNA, BEN, CONFIG, HOLDING, STRANGER, WindowStream, name_of, speaking

from voiceauthd.audio.block import RATE
from voiceauthd.scoring.decide import open_set_bound
from voiceauthd.scoring.decision import Recognition, Score
from voiceauthd.speech.window import SpeechBegan
from voiceauthd.tracking.tracker import Label, holding_bound

# Giving a label


def test_nobody_speaks_in_the_beginning() -> None:
    assert WindowStream().label == "nobody"
    assert WindowStream().tracker.expires is None


def test_an_enrolled_person_is_named_at_the_first_good_window() -> None:
    stream = speaking(ANNA)
    assert stream.labels == [Label(Recognition.KNOWN, "anna", 0.0, 0.8)]
    late = speaking(STRANGER, ANNA, ANNA)
    assert late.labels == [Label(Recognition.KNOWN, "anna", 1.5, 0.8)]


def test_unknown_needs_more_than_the_dwell_of_speech() -> None:
    assert speaking(STRANGER).names == []
    assert speaking(STRANGER, STRANGER, STRANGER).labels == [Label(Recognition.UNKNOWN, None, 0.0, 0.1)]


def test_an_ambiguous_voice_is_unknown() -> None:
    assert speaking([0.8, 0.79], [0.8, 0.79]).names == ["somebody"]


def test_the_score_of_a_label_is_the_measure_of_the_rule() -> None:
    stream = WindowStream(rule=RATIOS)
    stream.begin()
    stream.scored([Score("anna", 0.7, 0.5, 9.25), Score("ben", 0.1, 0.0, -8.0)])
    assert stream.labels[-1].score == 9.25


# Keeping a label


def test_a_lower_score_is_enough_to_keep_the_label_than_to_get_it() -> None:
    for cosine in (0.5, 0.45, HOLDING):
        assert speaking(ANNA, *[[cosine, 0.1]] * 8).names == ["anna"]


def test_below_the_holding_bound_the_label_is_lost_after_more_than_the_dwell() -> None:
    stream = speaking(ANNA, [HOLDING - 0.01, 0.1])
    assert stream.names == ["anna"]
    stream.say([HOLDING - 0.01, 0.1])
    assert stream.labels[1:] == [Label(Recognition.UNKNOWN, None, 1.5, HOLDING - 0.01)]


def test_without_hysteresis_the_bound_for_keeping_is_the_bound_for_getting() -> None:
    config = replace(CONFIG, hysteresis=0.0)
    assert speaking(ANNA, [0.49, 0.1], [0.49, 0.1], config=config).names == ["anna", "somebody"]


def test_another_voice_that_leads_by_the_margin_takes_the_label_although_the_score_would_keep_it() -> None:
    ben_leads = [0.55, 0.8]
    assert speaking(ANNA, ben_leads, ben_leads).names == ["anna", "ben"]
    ben_hardly_leads = [0.55, 0.59]
    assert speaking(ANNA, *[ben_hardly_leads] * 8).names == ["anna"]


BAD = {
    "unknown": lambda stream: stream.say(STRANGER),
    "another": lambda stream: stream.say(BEN),
    "refused or failed": lambda stream: stream.unscored(),
    "not a number": lambda stream: stream.say([math.nan, 0.9]),
    "too little speech": lambda stream: stream.say(BEN, 0.5, net_speech=0.5),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_single_bad_window_changes_nothing(bad) -> None:
    stream = speaking(ANNA)
    for _ in range(5):
        assert bad(stream) is None
        assert stream.say(ANNA) is None
    assert stream.names == ["anna"]


# Another speaker


def test_another_speaker_takes_the_label_after_more_than_the_dwell() -> None:
    assert speaking(ANNA, BEN).names == ["anna"]
    stream = speaking(ANNA, ANNA, BEN, BEN, BEN)
    assert stream.labels[1:] == [Label(Recognition.KNOWN, "ben", 3.0, 0.8)]


def test_after_a_pause_another_speaker_takes_the_label_at_the_first_window() -> None:
    stream = speaking(ANNA, ANNA)
    stream.pause(0.6)
    stream.say(BEN)
    assert stream.labels[1:] == [Label(Recognition.KNOWN, "ben", 3.6, 0.8)]


def test_after_a_pause_the_label_does_not_become_unknown_at_the_first_window() -> None:
    stream = speaking(ANNA, ANNA)
    stream.pause(0.6)
    assert stream.say(STRANGER) is None
    assert stream.say(ANNA) is None
    stream.pause(0.6)
    stream.say(STRANGER)
    stream.say(STRANGER)
    assert stream.names == ["anna", "somebody"]


def test_a_label_that_was_confirmed_since_the_pause_lasts_for_the_dwell() -> None:
    stream = speaking(ANNA, ANNA)
    stream.pause(0.6)
    stream.say(ANNA)
    assert stream.say(BEN) is None
    assert name_of(stream.say(BEN) or stream.tracker.label) == "ben"


def test_a_label_lasts_for_the_dwell_even_if_utterances_are_short() -> None:
    stream = WindowStream(replace(CONFIG, dwell=5.0))
    stream.begin()
    stream.say(ANNA, 2.0)
    stream.pause(0.6)
    assert stream.say(BEN, 2.0) is None
    stream.pause(0.6)
    stream.say(BEN, 2.0)
    assert stream.names == ["anna", "ben"]


def test_a_stranger_is_not_named_because_of_single_windows() -> None:
    stream = speaking(STRANGER, STRANGER, BEN, STRANGER, BEN, STRANGER)
    assert stream.names == ["somebody"]


def test_a_window_with_a_name_restarts_the_time_for_unknown() -> None:
    stream = speaking(ANNA)
    for values, seconds in ((STRANGER, 0.8), (BEN, 0.6), (STRANGER, 0.8)):
        assert stream.say(values, seconds) is None
    assert name_of(stream.say(STRANGER, 0.8) or stream.tracker.label) == "somebody"


def test_without_a_dwell_every_window_counts() -> None:
    config = replace(CONFIG, dwell=0.0)
    assert speaking(ANNA, BEN, STRANGER, ANNA, config=config).names == ["anna", "ben", "somebody", "anna"]


# Silence


def test_a_pause_keeps_the_label_and_the_dwell_of_silence_ends_it() -> None:
    stream = speaking(ANNA, ANNA)
    assert stream.pause(1.4) is None
    stream.say(ANNA)
    assert stream.names == ["anna"]
    assert stream.pause(1.6) == Label(Recognition.UNDECIDED, None, 5.9)
    stream.say(STRANGER)
    assert stream.say(ANNA) is not None
    assert stream.names == ["anna", "nobody", "anna"]


def test_expires_says_when_the_label_ends_unless_speech_begins() -> None:
    stream = speaking(ANNA)
    assert stream.tracker.expires is None
    stream.place += 0.25
    stream.end()
    assert stream.tracker.expires == pytest.approx(1000.0 + 1.5 + 0.25 + 1.5)
    assert stream.tracker.silence() == Label(Recognition.UNDECIDED, None, 1.75)
    assert stream.tracker.expires is None
    assert stream.tracker.silence() is None
    assert stream.begin() is None


def test_a_label_does_not_expire_once_speech_begins_again() -> None:
    stream = speaking(ANNA)
    stream.pause(0.5)
    assert stream.tracker.expires is None
    assert stream.tracker.silence() is None
    assert stream.label == "anna"


@pytest.mark.parametrize(("seconds", "names"), [(1.4, ["anna"]), (1.6, ["anna", "nobody"])])
def test_a_beginning_that_overtakes_the_windows_before_it_is_not_silence(seconds: float, names: list[str]) -> None:
    """As when the worker is behind."""
    stream = speaking(ANNA)
    ends = stream.place + 1.5
    stream.tracker.speech_began(SpeechBegan(2, round((ends + seconds) * RATE), 0.0))
    stream.say(ANNA)
    assert stream.names == ["anna"]
    stream.end()
    assert stream.names == names
    assert stream.tracker.expires is None


def test_speech_without_any_evidence_withdraws_the_label() -> None:
    stream = speaking(ANNA)
    stream.unscored()
    stream.unscored()
    assert stream.labels[1:] == [Label(Recognition.UNDECIDED, None, 1.5)]
    for _ in range(8):
        assert stream.unscored() is None
    stream.say(ANNA)
    assert stream.names == ["anna", "nobody", "anna"]


# Lost events, and changes


def test_a_lost_end_of_an_utterance_does_not_keep_the_label_for_ever() -> None:
    stream = speaking(ANNA)
    stream.tracker.events_lost()
    assert stream.tracker.expires == pytest.approx(1000.0 + 1.5 + 1.5)
    stream.say(ANNA)
    assert stream.tracker.expires is None
    assert stream.names == ["anna"]
    stream.tracker.events_lost()
    assert stream.tracker.silence() == Label(Recognition.UNDECIDED, None, 3.0)
    WindowStream().tracker.events_lost()


def test_a_new_stream_begins_with_nobody() -> None:
    stream = speaking(ANNA, ANNA)
    assert stream.tracker.restart() == Label(Recognition.UNDECIDED, None, 3.0)
    assert stream.tracker.restart() is None
    stream.place, stream.utterance = 0.0, 0
    stream.begin()
    stream.say(BEN)
    assert stream.label == "ben"


def test_a_person_who_is_no_longer_enrolled_loses_the_label_at_once() -> None:
    stream = speaking(ANNA)
    assert stream.scored([score("ben", 0.1)]) == Label(Recognition.UNDECIDED, None, 1.5)
    renamed = speaking(ANNA)
    assert renamed.scored([score("anne", 0.8), score("ben", 0.1)]) == Label(Recognition.KNOWN, "anne", 1.5, 0.8)
    everybody = speaking(ANNA)
    assert everybody.scored([]) == Label(Recognition.UNDECIDED, None, 1.5)
    assert [everybody.scored([]) for _ in range(8)] == [None] * 8


def test_a_new_rule_applies_from_the_next_window_on() -> None:
    stream = speaking(ANNA)
    stream.tracker.rule = replace(RULE, accept=0.95, reject=0.9)
    stream.say(ANNA)
    stream.say(ANNA)
    assert stream.names == ["anna", "somebody"]


# The holding bound


def test_the_holding_bound_is_the_hysteresis_below_the_bound() -> None:
    assert holding_bound(RULE, 4, 0.0) == RULE.accept
    assert holding_bound(RULE, 4, 0.5) == pytest.approx(0.4)
    assert holding_bound(RULE, 4, 1.0) == pytest.approx(RULE.reject)
    bound = open_set_bound(RATIOS, 4)
    assert holding_bound(RATIOS, 4, 0.0) == bound
    assert holding_bound(RATIOS, 4, 0.25) == pytest.approx(0.75 * bound)
