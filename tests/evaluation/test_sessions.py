"""Sessions: a stranger who tries again, what is heard in each try, and what the counts are good for."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evaluation_parts import GOOD, MODEL, axis, take, trial, unit, window, world

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedding
from voiceauthd.evaluation.embedded_recording import BETWEEN, EmbeddedSpeech, on_one_clock
from voiceauthd.evaluation.scorer import BackendScorer, enrol, gallery_of
from voiceauthd.evaluation.sessions import TRIES, Result, run_session, share, simulate
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.similarity import compare

CONFIG = Config()

RULE = Rule(policy="unlock", calibrated=False, accept=0.6, reject=0.4, margin=0.05, min_speech=1.0, agreement=0.3)

ANNA = axis(0)
STRANGER = axis(1)
BORDERLINE = unit(0.5 * axis(0) + math.sqrt(0.75) * axis(2))
"""Of which the rule is not sure."""

THRESHOLD = 0.6


@pytest.fixture
def against():
    """Anna's profile."""
    return partial(compare, gallery=gallery_of(enrol([take([ANNA])], MODEL), MODEL))


def spoken(*takes: EmbeddedSpeech):
    return tuple(pair for each in on_one_clock(takes) for pair in zip(each.windows, each.embeddings, strict=True))


def said(*parts):
    """Windows at the seconds that are given: (at, seconds of speech, vector)."""
    return tuple((window(at, speech), Embedding(vector, MODEL)) for at, speech, vector in parts)


class Listener:
    """Compares, and remembers which windows were behind each voice, if each has a direction of its own."""

    def __init__(self, against):
        self.against = against
        self.heard = []

    def __call__(self, voice):
        self.heard.append({index for index, part in enumerate(voice.embedding.vector) if abs(part) > 1e-6})
        return self.against(voice)


def test_the_right_person_is_accepted_at_the_first_try(against):
    assert run_session(spoken(take([ANNA, ANNA])), against, RULE, CONFIG) == Result(1, 2.0)


def test_a_stranger_is_rejected_as_often_as_he_tries(against):
    assert run_session(spoken(*[take([STRANGER, STRANGER])] * TRIES), against, RULE, CONFIG) == Result(0, 2.0)


def test_a_stranger_has_three_tries_and_no_fourth(against):
    tries = [take([STRANGER])] * (TRIES - 1)
    assert run_session(spoken(*tries, take([ANNA])), against, RULE, CONFIG) == Result(TRIES, 2.0)
    tries = [take([STRANGER])] * TRIES
    assert run_session(spoken(*tries, take([ANNA])), against, RULE, CONFIG).accepted == 0


def test_a_try_goes_on_while_nothing_is_sure_and_ends_with_enough_speech(against):
    # 6 s of borderline speech is all that one try takes.
    assert run_session(spoken(take([BORDERLINE] * 3)), against, RULE, CONFIG) == Result(0, 6.0)
    found = run_session(spoken(take([BORDERLINE, ANNA, ANNA])), against, replace(RULE, agreement=0.0), CONFIG)
    assert found == Result(1, 4.0)


def test_no_window_and_no_sound_is_heard_twice(against):
    # Windows of 3 s every 1.5 s: each shares half of its sound with the one before.
    parts = [(1.5 * index, 3.0, axis(index + 1)) for index in range(8)]
    listener = Listener(against)
    assert run_session(said(*parts), listener, RULE, CONFIG).accepted == 0
    assert listener.heard == [{1}, {3}, {5}], "one window is enough to reject, and the next one shares its sound"


def test_the_speech_of_the_first_window_of_a_try_is_its_own(against):
    # What a window shares with one that was lost was not heard in this try.
    windows = [
        (window(0.0, 3.0), Embedding(STRANGER, MODEL)),
        (window(1.5, 3.0, new=1.5), Embedding(STRANGER, MODEL)),
        (window(3.0, 3.0, new=1.5), Embedding(ANNA, MODEL)),
    ]
    assert run_session(tuple(windows), against, RULE, CONFIG) == Result(2, 3.0)


def test_several_recordings_share_one_clock():
    one, two, three = on_one_clock([take([ANNA, ANNA]), take([]), take([ANNA], speech=3.0)])
    assert [(each.start, each.end) for each in one.windows] == [(0, 2 * RATE), (2 * RATE, 4 * RATE)]
    assert two.windows == ()
    (last,) = three.windows
    assert last.start == 4 * RATE + 2 * BETWEEN
    assert last.end - last.start == 3 * RATE
    assert last.captured == last.end / RATE
    utterances = [each.utterance for recording in (one, two, three) for each in recording.windows]
    assert utterances == sorted(set(utterances))


def test_a_try_ends_at_the_timeout(against):
    # Two words are 1.8 s within the ten; the third would come too late.
    slow = said(*[(6.0 * index, 0.9, ANNA) for index in range(2 * TRIES)])
    assert CONFIG.verify.timeout == 10.0
    assert run_session(slow, against, RULE, CONFIG) == Result(0, pytest.approx(1.8))
    patient = replace(CONFIG, verify=replace(CONFIG.verify, timeout=20.0))
    assert run_session(slow, against, RULE, patient) == Result(1, pytest.approx(2.7))


def test_what_does_not_pass_the_gate_is_no_speech(against):
    noisy = take([ANNA] * 3, quality=replace(GOOD, snr_db=-5.0))
    assert run_session(spoken(noisy), against, RULE, CONFIG) == Result(0, 0.0)
    assert run_session(spoken(noisy, take([ANNA])), against, RULE, CONFIG).accepted == 1


def test_two_voices_in_one_try_are_not_accepted(against):
    both = take([unit(ANNA + 0.4 * STRANGER), unit(ANNA - 2.0 * STRANGER)], speech=1.0)
    assert compare_pooled(both, against) > RULE.reject
    assert run_session(spoken(both), against, RULE, CONFIG).accepted == 0


def compare_pooled(whole, against):
    from voiceauthd.evaluation.scorer import pooled

    return against(pooled(whole))[0].cosine


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_embeddings_that_are_broken_accept_nobody(against, broken):
    vector = np.full(MODEL.dimension, broken, np.float32)
    assert run_session(spoken(*[take([vector] * 2)] * TRIES), against, RULE, CONFIG).accepted == 0
    if broken:  # and not with good ones beside them
        both = take([ANNA, vector], speech=1.5)
        assert run_session(spoken(*[both] * TRIES), against, RULE, CONFIG).accepted == 0


def test_a_score_that_is_not_a_number_accepts_nobody(against):
    def broken(voice):
        return [replace(score, cosine=math.nan) for score in against(voice)]

    assert run_session(spoken(take([ANNA] * 4)), broken, RULE, CONFIG).accepted == 0


def test_nothing_to_hear_is_no_session_that_was_accepted(against):
    assert run_session((), against, RULE, CONFIG) == Result(0, 0.0)


# All sessions of a list


def simulated(trials, enrolments, tests):
    found = simulate(trials, enrolments, tests, BackendScorer(MODEL), CONFIG, MODEL, THRESHOLD)
    return {each.name: each for each in found}


def test_all_recordings_of_one_person_against_one_identity_are_one_session():
    trials = [
        trial("anna", "anna", "one"),
        trial("anna", "anna", "two"),
        trial("anna", "ben", "three"),
        trial("anna", "ben", "four"),
        trial("anna", "ben", "five"),
        trial("anna", "ben", "six"),
    ]
    strange = {name: take([STRANGER]) for name in ("three", "four", "five")}
    tests = {"one": take([STRANGER]), "two": take([ANNA]), **strange, "six": take([ANNA])}
    found = simulated(trials, {"anna": [take([ANNA])]}, tests)
    assert set(found) == {"monitor", "unlock", "auth"}
    unlock = found["unlock"]
    assert (unlock.target.count, unlock.target.of) == (1, 1)
    assert (unlock.first_target.count, unlock.first_target.of) == (0, 1)
    assert (unlock.nontarget.count, unlock.nontarget.of) == (0, 1), "the fourth try is none"
    assert not unlock.calibrated
    assert unlock.net_speech == 2.0


def test_a_target_who_never_speaks_long_enough_is_counted_and_not_left_out():
    tests = {"short": take([ANNA], speech=1.5), "silent": take([]), "long": take([ANNA])}
    trials = [trial("anna", "anna", "short"), trial("ben", "ben", "silent"), trial("cleo", "cleo", "long")]
    found = simulated(trials, {name: [take([ANNA])] for name in ("anna", "ben", "cleo")}, tests)["unlock"]
    assert (found.target.count, found.target.of, found.too_short) == (1, 3, 2)


def test_whoever_was_not_enrolled_has_no_session():
    found = simulated([trial("anna", "anna")], {"anna": [take([])]}, {"anna": take([ANNA])})["unlock"]
    assert (found.target.of, found.target.value, found.net_speech) == (0, None, None)


def test_a_stricter_policy_accepts_no_more():
    people = world(people=12)
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
        # As in tables of the Clopper-Pearson interval; none of N: 1 - 0.025 ** (1 / N).
        (0, 100, 0.0, 0.0362167),
        (5, 100, 0.0164319, 0.1128349),
        (10, 20, 0.2719578, 0.7280422),
        (100, 100, 0.9637833, 1.0),
        (1, 1983, 0.0000127677, 0.0028065),
    ],
)
def test_the_interval_of_a_share_is_the_known_one(count, of, low, high):
    found = share(count, of)
    assert found.value == count / of
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)


def test_nothing_of_nothing_can_be_anything():
    found = share(0, 0)
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
