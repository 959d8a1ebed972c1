"""Simulated sessions: repeated tries, the audio that each try uses, and the counts."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evaluation_parts import GOOD_QUALITY, MODEL, axis, embedded, synthetic_trials, trial, unit, window

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedding
from voiceauthd.evaluation.embedded_recording import PAUSE_SAMPLES, EmbeddedSpeech, in_sequence
from voiceauthd.evaluation.scorer import BackendScorer, enrol, gallery_of, pooled
from voiceauthd.evaluation.sessions import TRIES, Result, run_session, share, simulate
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.similarity import compare

CONFIG = Config()

RULE = Rule(policy="unlock", calibrated=False, accept=0.6, reject=0.4, margin=0.05, min_speech=1.0, agreement=0.3)

ANNA = axis(0)
STRANGER = axis(1)
BORDERLINE = unit(0.5 * axis(0) + math.sqrt(0.75) * axis(2))
"""Neither accepted nor rejected by the rule."""

THRESHOLD = 0.6


@pytest.fixture
def compare_with_anna():
    """Compare a voice with Anna's profile."""
    return partial(compare, gallery=gallery_of(enrol([embedded([ANNA])], MODEL), MODEL))


def windows_of(*recordings: EmbeddedSpeech):
    return tuple(pair for each in in_sequence(recordings) for pair in zip(each.windows, each.embeddings, strict=True))


def windows_at(*parts):
    """Windows from (start in seconds, seconds of speech, vector)."""
    return tuple((window(at, speech), Embedding(vector, MODEL)) for at, speech, vector in parts)


class Recorder:
    """Compares, and records which windows each voice was pooled from, if each window has its own axis."""

    def __init__(self, compare_with):
        self.compare_with = compare_with
        self.axes = []

    def __call__(self, voice):
        self.axes.append({index for index, part in enumerate(voice.embedding.vector) if abs(part) > 1e-6})
        return self.compare_with(voice)


def test_the_right_person_is_accepted_at_the_first_try(compare_with_anna):
    assert run_session(windows_of(embedded([ANNA, ANNA])), compare_with_anna, RULE, CONFIG) == Result(1, 2.0)


def test_a_stranger_is_rejected_at_every_try(compare_with_anna):
    assert run_session(
        windows_of(*[embedded([STRANGER, STRANGER])] * TRIES), compare_with_anna, RULE, CONFIG
    ) == Result(0, 2.0)


def test_there_are_three_tries_and_no_fourth(compare_with_anna):
    tries = [embedded([STRANGER])] * (TRIES - 1)
    assert run_session(windows_of(*tries, embedded([ANNA])), compare_with_anna, RULE, CONFIG) == Result(TRIES, 2.0)
    tries = [embedded([STRANGER])] * TRIES
    assert run_session(windows_of(*tries, embedded([ANNA])), compare_with_anna, RULE, CONFIG).accepted == 0


def test_a_try_continues_while_undecided_and_ends_with_enough_speech(compare_with_anna):
    # One try uses at most 6 s of borderline speech.
    assert run_session(windows_of(embedded([BORDERLINE] * 3)), compare_with_anna, RULE, CONFIG) == Result(0, 6.0)
    found = run_session(
        windows_of(embedded([BORDERLINE, ANNA, ANNA])), compare_with_anna, replace(RULE, agreement=0.0), CONFIG
    )
    assert found == Result(1, 4.0)


def test_no_audio_is_used_twice(compare_with_anna):
    # Windows of 3 s every 1.5 s: each shares half of its audio with the one before.
    parts = [(1.5 * index, 3.0, axis(index + 1)) for index in range(8)]
    recorder = Recorder(compare_with_anna)
    assert run_session(windows_at(*parts), recorder, RULE, CONFIG).accepted == 0
    assert recorder.axes == [{1}, {3}, {5}], "one window is enough to reject, and the next one shares its audio"


def test_all_speech_of_the_first_window_of_a_try_is_new(compare_with_anna):
    # The second try starts with the window at 3 s: the one at 1.5 s began before the first try ended.
    windows = [
        (window(0.0, 3.0), Embedding(STRANGER, MODEL)),
        (window(1.5, 3.0, new=1.5), Embedding(STRANGER, MODEL)),
        (window(3.0, 3.0, new=1.5), Embedding(ANNA, MODEL)),
    ]
    assert run_session(tuple(windows), compare_with_anna, RULE, CONFIG) == Result(2, 3.0)


def test_recordings_in_sequence_have_rising_positions():
    one, two, three = in_sequence([embedded([ANNA, ANNA]), embedded([]), embedded([ANNA], speech=3.0)])
    assert [(each.start, each.end) for each in one.windows] == [(0, 2 * RATE), (2 * RATE, 4 * RATE)]
    assert two.windows == ()
    (last,) = three.windows
    assert last.start == 4 * RATE + 2 * PAUSE_SAMPLES
    assert last.end - last.start == 3 * RATE
    assert last.captured == last.end / RATE
    utterances = [each.utterance for recording in (one, two, three) for each in recording.windows]
    assert utterances == sorted(set(utterances))


def test_a_try_ends_at_the_timeout(compare_with_anna):
    # Two words, 1.8 s of speech, are within 10 s; the third is too late.
    slow = windows_at(*[(6.0 * index, 0.9, ANNA) for index in range(2 * TRIES)])
    assert CONFIG.verify.timeout == 10.0
    assert run_session(slow, compare_with_anna, RULE, CONFIG) == Result(0, pytest.approx(1.8))
    patient = replace(CONFIG, verify=replace(CONFIG.verify, timeout=20.0))
    assert run_session(slow, compare_with_anna, RULE, patient) == Result(1, pytest.approx(2.7))


def test_windows_that_the_gate_refuses_do_not_count(compare_with_anna):
    noisy = embedded([ANNA] * 3, quality=replace(GOOD_QUALITY, snr_db=-5.0))
    assert run_session(windows_of(noisy), compare_with_anna, RULE, CONFIG) == Result(0, 0.0)
    assert run_session(windows_of(noisy, embedded([ANNA])), compare_with_anna, RULE, CONFIG).accepted == 1


def test_two_voices_in_one_try_are_not_accepted(compare_with_anna):
    mixed = embedded([unit(ANNA + 0.4 * STRANGER), unit(ANNA - 2.0 * STRANGER)], speech=1.0)
    assert pooled_cosine(mixed, compare_with_anna) > RULE.reject
    assert run_session(windows_of(mixed), compare_with_anna, RULE, CONFIG).accepted == 0


def pooled_cosine(recording, compare_with):
    return compare_with(pooled(recording))[0].cosine


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_invalid_embeddings_accept_nobody(compare_with_anna, broken):
    vector = np.full(MODEL.dimension, broken, np.float32)
    assert run_session(windows_of(*[embedded([vector] * 2)] * TRIES), compare_with_anna, RULE, CONFIG).accepted == 0
    if broken:  # nor together with valid ones
        mixed = embedded([ANNA, vector], speech=1.5)
        assert run_session(windows_of(*[mixed] * TRIES), compare_with_anna, RULE, CONFIG).accepted == 0


def test_a_score_of_nan_accepts_nobody(compare_with_anna):
    def compare_to_nan(voice):
        return [replace(score, cosine=math.nan) for score in compare_with_anna(voice)]

    assert run_session(windows_of(embedded([ANNA] * 4)), compare_to_nan, RULE, CONFIG).accepted == 0


def test_a_session_without_windows_is_not_accepted(compare_with_anna):
    assert run_session((), compare_with_anna, RULE, CONFIG) == Result(0, 0.0)


# All sessions of a list


def simulated(trials, enrolments, tests):
    found = simulate(trials, enrolments, tests, BackendScorer(MODEL), CONFIG, MODEL, THRESHOLD)
    return {each.name: each for each in found}


def test_all_recordings_of_one_person_for_one_identity_are_one_session():
    trials = [
        trial("anna", "anna", "one"),
        trial("anna", "anna", "two"),
        trial("anna", "ben", "three"),
        trial("anna", "ben", "four"),
        trial("anna", "ben", "five"),
        trial("anna", "ben", "six"),
    ]
    strangers = {name: embedded([STRANGER]) for name in ("three", "four", "five")}
    tests = {"one": embedded([STRANGER]), "two": embedded([ANNA]), **strangers, "six": embedded([ANNA])}
    found = simulated(trials, {"anna": [embedded([ANNA])]}, tests)
    assert set(found) == {"monitor", "unlock", "auth"}
    unlock = found["unlock"]
    assert (unlock.target.count, unlock.target.of) == (1, 1)
    assert (unlock.first_target.count, unlock.first_target.of) == (0, 1)
    assert (unlock.nontarget.count, unlock.nontarget.of) == (0, 1), "there is no fourth try"
    assert not unlock.calibrated
    assert unlock.net_speech == 2.0


def test_a_target_without_enough_speech_is_counted_and_not_left_out():
    tests = {"short": embedded([ANNA], speech=1.5), "silent": embedded([]), "long": embedded([ANNA])}
    trials = [trial("anna", "anna", "short"), trial("ben", "ben", "silent"), trial("cleo", "cleo", "long")]
    found = simulated(trials, {name: [embedded([ANNA])] for name in ("anna", "ben", "cleo")}, tests)["unlock"]
    assert (found.target.count, found.target.of, found.too_short) == (1, 3, 2)


def test_an_enrolment_without_speech_has_no_session():
    found = simulated([trial("anna", "anna")], {"anna": [embedded([])]}, {"anna": embedded([ANNA])})["unlock"]
    assert (found.target.of, found.target.value, found.net_speech) == (0, None, None)


def test_a_stricter_policy_accepts_no_more():
    people = synthetic_trials(people=12)
    found = simulated(people.trials, people.enrolments, people.tests)
    for each in found.values():
        assert each.target.of == 12
        assert each.nontarget.of == 12 * 11
        assert each.first_target.count <= each.target.count
        assert each.first_nontarget.count <= each.nontarget.count
    assert found["auth"].nontarget.count <= found["monitor"].nontarget.count


# Intervals


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # From tables of the Clopper-Pearson interval; for 0 of N: 1 - 0.025 ** (1 / N).
        (0, 100, 0.0, 0.0362167),
        (5, 100, 0.0164319, 0.1128349),
        (10, 20, 0.2719578, 0.7280422),
        (100, 100, 0.9637833, 1.0),
        (1, 1983, 0.0000127677, 0.0028065),
    ],
)
def test_the_interval_of_a_share_has_its_known_limits(count, of, low, high):
    found = share(count, of)
    assert found.value == count / of
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)


def test_the_interval_of_0_of_0_is_everything():
    found = share(0, 0)
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
