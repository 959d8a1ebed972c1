"""Who speaks now: one label out of many windows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from score_parts import RATIOS, RULE, score
from tracking_parts import ANNA, BEN, CONFIG, HOLDING, STRANGER, Stage, name_of, speaking

from voiceauthd.audio.block import RATE
from voiceauthd.scoring.decide import open_set_bound
from voiceauthd.scoring.decision import Recognition, Score
from voiceauthd.speech.window import SpeechBegan
from voiceauthd.tracking.tracker import Label, holding_bound

# Giving a label


def test_nobody_speaks_in_the_beginning() -> None:
    assert Stage().label == "nobody"
    assert Stage().tracker.expires is None


def test_who_begins_to_speak_is_named_at_his_first_good_window() -> None:
    stage = speaking(ANNA)
    assert stage.labels == [Label(Recognition.KNOWN, "anna", 0.0, 0.8)]
    late = speaking(STRANGER, ANNA, ANNA)
    assert late.labels == [Label(Recognition.KNOWN, "anna", 1.5, 0.8)]


def test_somebody_unknown_needs_more_than_the_dwell_of_speech() -> None:
    assert speaking(STRANGER).told == []
    assert speaking(STRANGER, STRANGER, STRANGER).labels == [Label(Recognition.UNKNOWN, None, 0.0, 0.1)]


def test_an_ambiguous_voice_is_somebody_unknown() -> None:
    assert speaking([0.8, 0.79], [0.8, 0.79]).told == ["somebody"]


def test_the_score_is_what_the_rule_decides_by() -> None:
    stage = Stage(rule=RATIOS)
    stage.begin()
    stage.compared([Score("anna", 0.7, 0.5, 9.25), Score("ben", 0.1, 0.0, -8.0)])
    assert stage.labels[-1].score == 9.25


# Keeping it


@pytest.mark.parametrize("cosine", [0.5, 0.45, HOLDING])
def test_who_has_the_label_keeps_it_with_less_than_it_takes_to_get_it(cosine: float) -> None:
    assert speaking(ANNA, *[[cosine, 0.1]] * 8).told == ["anna"]


def test_far_below_the_bound_the_label_is_lost_after_more_than_the_dwell() -> None:
    stage = speaking(ANNA, [HOLDING - 0.01, 0.1])
    assert stage.told == ["anna"]
    stage.say([HOLDING - 0.01, 0.1])
    assert stage.labels[1:] == [Label(Recognition.UNKNOWN, None, 1.5, HOLDING - 0.01)]


def test_without_hysteresis_the_bound_counts() -> None:
    config = replace(CONFIG, hysteresis=0.0)
    assert speaking(ANNA, [0.49, 0.1], [0.49, 0.1], config=config).told == ["anna", "somebody"]


def test_a_voice_that_leads_is_another_s_however_well_the_label_would_hold() -> None:
    alike = [0.55, 0.8]
    assert speaking(ANNA, alike, alike).told == ["anna", "ben"]
    hardly = [0.55, 0.59]
    assert speaking(ANNA, *[hardly] * 8).told == ["anna"]


BAD = {
    "unknown": lambda stage: stage.say(STRANGER),
    "another": lambda stage: stage.say(BEN),
    "refused or failed": lambda stage: stage.miss(),
    "not a number": lambda stage: stage.say([math.nan, 0.9]),
    "too little speech": lambda stage: stage.say(BEN, 0.5, net_speech=0.5),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_single_bad_window_changes_nothing(bad) -> None:
    stage = speaking(ANNA)
    for _ in range(5):
        assert bad(stage) is None
        assert stage.say(ANNA) is None
    assert stage.told == ["anna"]


# Another speaker


def test_another_speaker_takes_the_label_after_more_than_the_dwell() -> None:
    assert speaking(ANNA, BEN).told == ["anna"]
    stage = speaking(ANNA, ANNA, BEN, BEN, BEN)
    assert stage.labels[1:] == [Label(Recognition.KNOWN, "ben", 3.0, 0.8)]


def test_after_a_pause_another_speaker_takes_it_at_his_first_window() -> None:
    stage = speaking(ANNA, ANNA)
    stage.pause(0.6)
    stage.say(BEN)
    assert stage.labels[1:] == [Label(Recognition.KNOWN, "ben", 3.6, 0.8)]


def test_after_a_pause_nobody_becomes_unknown_at_his_first_window() -> None:
    stage = speaking(ANNA, ANNA)
    stage.pause(0.6)
    assert stage.say(STRANGER) is None
    assert stage.say(ANNA) is None
    stage.pause(0.6)
    stage.say(STRANGER)
    stage.say(STRANGER)
    assert stage.told == ["anna", "somebody"]


def test_a_label_that_was_confirmed_since_the_pause_takes_the_dwell() -> None:
    stage = speaking(ANNA, ANNA)
    stage.pause(0.6)
    stage.say(ANNA)
    assert stage.say(BEN) is None
    assert name_of(stage.say(BEN) or stage.tracker.label) == "ben"


def test_a_label_has_its_dwell_also_when_utterances_are_short() -> None:
    stage = Stage(replace(CONFIG, dwell=5.0))
    stage.begin()
    stage.say(ANNA, 2.0)
    stage.pause(0.6)
    assert stage.say(BEN, 2.0) is None
    stage.pause(0.6)
    stage.say(BEN, 2.0)
    assert stage.told == ["anna", "ben"]


def test_a_stranger_who_goes_on_after_a_pause_is_not_named_for_one_window() -> None:
    stage = speaking(STRANGER, STRANGER, BEN, STRANGER, BEN, STRANGER)
    assert stage.told == ["somebody"]


def test_between_names_the_time_for_unknown_begins_anew() -> None:
    stage = speaking(ANNA)
    for values, seconds in ((STRANGER, 0.8), (BEN, 0.6), (STRANGER, 0.8)):
        assert stage.say(values, seconds) is None
    assert name_of(stage.say(STRANGER, 0.8) or stage.tracker.label) == "somebody"


def test_without_a_dwell_every_window_counts() -> None:
    config = replace(CONFIG, dwell=0.0)
    assert speaking(ANNA, BEN, STRANGER, ANNA, config=config).told == ["anna", "ben", "somebody", "anna"]


# Silence


def test_a_pause_keeps_the_label_and_the_dwell_of_silence_ends_it() -> None:
    stage = speaking(ANNA, ANNA)
    assert stage.pause(1.4) is None
    stage.say(ANNA)
    assert stage.told == ["anna"]
    assert stage.pause(1.6) == Label(Recognition.UNDECIDED, None, 5.9)
    stage.say(STRANGER)
    assert stage.say(ANNA) is not None
    assert stage.told == ["anna", "nobody", "anna"]


def test_it_is_told_when_the_label_ends_unless_something_is_heard() -> None:
    stage = speaking(ANNA)
    assert stage.tracker.expires is None
    stage.place += 0.25
    stage.end()
    assert stage.tracker.expires == pytest.approx(1000.0 + 1.5 + 0.25 + 1.5)
    assert stage.tracker.silence() == Label(Recognition.UNDECIDED, None, 1.75)
    assert stage.tracker.expires is None
    assert stage.tracker.silence() is None
    assert stage.begin() is None


def test_who_speaks_again_does_not_expire() -> None:
    stage = speaking(ANNA)
    stage.pause(0.5)
    assert stage.tracker.expires is None
    assert stage.tracker.silence() is None
    assert stage.label == "anna"


@pytest.mark.parametrize(("seconds", "told"), [(1.4, ["anna"]), (1.6, ["anna", "nobody"])])
def test_a_beginning_that_overtakes_the_windows_before_it_is_no_silence(seconds: float, told: list[str]) -> None:
    """As with a worker that is behind."""
    stage = speaking(ANNA)
    ends = stage.place + 1.5
    stage.tracker.began(SpeechBegan(2, round((ends + seconds) * RATE), 0.0))
    stage.say(ANNA)
    assert stage.told == ["anna"]
    stage.end()
    assert stage.told == told
    assert stage.tracker.expires is None


def test_speech_that_says_nothing_withdraws_the_label() -> None:
    stage = speaking(ANNA)
    stage.miss()
    stage.miss()
    assert stage.labels[1:] == [Label(Recognition.UNDECIDED, None, 1.5)]
    for _ in range(8):
        assert stage.miss() is None
    stage.say(ANNA)
    assert stage.told == ["anna", "nobody", "anna"]


# What is not told, and what changes meanwhile


def test_a_lost_end_of_an_utterance_does_not_keep_the_label_for_ever() -> None:
    stage = speaking(ANNA)
    stage.tracker.lost()
    assert stage.tracker.expires == pytest.approx(1000.0 + 1.5 + 1.5)
    stage.say(ANNA)
    assert stage.tracker.expires is None
    assert stage.told == ["anna"]
    stage.tracker.lost()
    assert stage.tracker.silence() == Label(Recognition.UNDECIDED, None, 3.0)
    Stage().tracker.lost()


def test_another_stretch_of_sound_begins_with_nobody() -> None:
    stage = speaking(ANNA, ANNA)
    assert stage.tracker.restart() == Label(Recognition.UNDECIDED, None, 3.0)
    assert stage.tracker.restart() is None
    stage.place, stage.utterance = 0.0, 0
    stage.begin()
    stage.say(BEN)
    assert stage.label == "ben"


def test_who_is_not_enrolled_any_more_loses_the_label_at_once() -> None:
    stage = speaking(ANNA)
    assert stage.compared([score("ben", 0.1)]) == Label(Recognition.UNDECIDED, None, 1.5)
    renamed = speaking(ANNA)
    assert renamed.compared([score("anne", 0.8), score("ben", 0.1)]) == Label(Recognition.KNOWN, "anne", 1.5, 0.8)
    everybody = speaking(ANNA)
    assert everybody.compared([]) == Label(Recognition.UNDECIDED, None, 1.5)
    assert [everybody.compared([]) for _ in range(8)] == [None] * 8


def test_a_new_rule_counts_from_the_next_window_on() -> None:
    stage = speaking(ANNA)
    stage.tracker.rule = replace(RULE, accept=0.95, reject=0.9)
    stage.say(ANNA)
    stage.say(ANNA)
    assert stage.told == ["anna", "somebody"]


# The holding bound


def test_the_holding_bound_is_a_share_below_the_bound() -> None:
    assert holding_bound(RULE, 4, 0.0) == RULE.accept
    assert holding_bound(RULE, 4, 0.5) == pytest.approx(0.4)
    assert holding_bound(RULE, 4, 1.0) == pytest.approx(RULE.reject)
    bound = open_set_bound(RATIOS, 4)
    assert holding_bound(RATIOS, 4, 0.0) == bound
    assert holding_bound(RATIOS, 4, 0.25) == pytest.approx(0.75 * bound)
