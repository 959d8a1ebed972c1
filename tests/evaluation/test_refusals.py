"""What the daemon would have refused: by its own gates, and counted so that a person sees why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_parts import GOOD, MODEL, axis, take, unit, window

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedding
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.refusals import against_enrolment, against_test, flags_of, refusals

CONFIG = Config()

AGREEMENT = 0.3

VOICE = axis(0)

QUIET = replace(GOOD, level_dbfs=-70.0)
CLIPPED = replace(GOOD, clipping=0.2)
NOISY = replace(GOOD, snr_db=-3.0)
NARROW = replace(GOOD, bandwidth=3600.0)


class Model:
    model = MODEL
    threshold = 0.6


def against(whole):
    return against_test(whole, CONFIG, AGREEMENT)


def both(*takes):
    """As one recording."""
    windows = [each for whole in takes for each in whole.windows]
    placed = tuple(replace(each, start=index * 10**6, end=index * 10**6 + 32000) for index, each in enumerate(windows))
    embeddings = tuple(each for whole in takes for each in whole.embeddings)
    return EmbeddedSpeech(placed, embeddings, sum(whole.net_speech for whole in takes), 0)


def test_nothing_is_held_against_a_good_recording():
    assert against(take([VOICE] * 3)) == ()


@pytest.mark.parametrize(
    ("whole", "reasons"),
    [
        (take([]), ("no_window",)),
        (take([VOICE], speech=1.5), ("too_little_speech",)),
        (take([VOICE] * 2, quality=QUIET), ("too_quiet",)),
        (take([VOICE] * 2, quality=CLIPPED), ("clipped",)),
        (take([VOICE] * 2, quality=NOISY), ("noisy",)),
        (take([VOICE] * 2, quality=replace(GOOD, snr_db=np.nan)), ("noisy",)),
        (both(take([VOICE], quality=NOISY), take([VOICE], quality=CLIPPED)), ("clipped", "noisy")),
        (take([VOICE, axis(1)]), ("not_one_voice",)),
        (take([VOICE, unit(np.full(MODEL.dimension, 1.0))]), ("not_one_voice",)),
        (both(take([VOICE, axis(1)], speech=0.8), take([VOICE], quality=NOISY)), ("noisy", "not_one_voice")),
    ],
)
def test_every_reason_against_a_test_is_told(whole, reasons):
    assert against(whole) == reasons


def test_what_passes_is_enough_if_it_is_enough_by_itself():
    assert against(both(take([VOICE], quality=NOISY), take([VOICE]))) == ()


def test_speech_that_windows_share_counts_once():
    windows = (window(0.0, 1.5), window(0.3, 1.5, new=0.3))
    assert against(EmbeddedSpeech(windows, (Embedding(VOICE, MODEL),) * 2, 1.8, 0)) == ("too_little_speech",)


def test_embeddings_that_are_not_numbers_are_refused():
    assert against(take([np.full(MODEL.dimension, np.nan, np.float32)] * 2)) == ("too_little_speech",)


def test_a_narrow_band_is_worth_telling_and_no_reason():
    narrow, mixed = take([VOICE] * 2, quality=NARROW), both(take([VOICE], quality=NARROW), take([VOICE]))
    assert against(narrow) == ()
    assert set(flags_of(narrow)) == {"narrow_band"}
    assert not flags_of(mixed), "the channel is wide"
    assert not flags_of(take([]))
    assert not flags_of(take([VOICE], quality=replace(GOOD, bandwidth=None)))


# Enrolments


def test_a_good_enrolment_lacks_nothing():
    assert against_enrolment([take([VOICE] * 2)] * 6, CONFIG, Model()) == ([()] * 6, ())


def test_what_an_enrolment_lacks_is_told():
    assert against_enrolment([take([VOICE], speech=1.2)], CONFIG, Model())[1] == (
        "not_enough_speech",
        "not_enough_exemplars",
    )
    assert against_enrolment([take([VOICE], speech=30.0)], CONFIG, Model())[1] == ("not_enough_exemplars",)
    assert against_enrolment([take([VOICE], speech=3.0)] * 5, CONFIG, Model())[1] == ("not_enough_speech",)
    assert against_enrolment([take([])], CONFIG, Model()) == (
        [("too_short",)],
        ("not_enough_speech", "not_enough_exemplars"),
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (take([VOICE] * 2, quality=QUIET), "too_quiet"),
        (take([VOICE] * 2, quality=replace(GOOD, level_dbfs=-55.0)), "too_quiet"),  # passes the gate
        (take([VOICE] * 2, quality=CLIPPED), "clipped"),
        (take([VOICE] * 2, quality=NOISY), "noisy"),
        (take([VOICE] * 2, quality=replace(GOOD, snr_db=4.0)), "noisy"),  # passes the gate
        (take([VOICE, axis(1)]), "not_one_voice"),
        (take([axis(1)] * 2), "different_voice"),
        (take([]), "too_short"),
    ],
)
def test_a_bad_take_is_told_and_does_not_spoil_a_good_enrolment(bad, reason):
    takes, whole = against_enrolment([*[take([VOICE] * 2)] * 6, bad], CONFIG, Model())
    assert takes == [*[()] * 6, (reason,)]
    assert whole == ()


def test_recordings_are_takes_of_their_own_though_each_begins_at_nought():
    """Words that were said one by one share windows; two recordings never do."""
    takes, whole = against_enrolment([take([VOICE], speech=1.5)] * 14, CONFIG, Model())
    assert takes == [()] * 14
    assert whole == ()


# All of a list


def test_counts_are_of_recordings_not_of_reasons():
    tests = [take([VOICE] * 2), take([]), take([VOICE, axis(1)], speech=0.7), take([VOICE] * 2, quality=NARROW)]
    found = refusals(tests, [[take([VOICE] * 2)] * 6, [take([VOICE] * 2), take([])]], CONFIG, Model())
    assert set(found) == {"tests", "enrolments", "takes"}
    assert (found["tests"].heard, found["tests"].refused) == (4, 2)
    assert found["tests"].reasons == {"no_window": 1, "not_one_voice": 1, "too_little_speech": 1}
    assert found["tests"].flags == {"narrow_band": 1}
    assert (found["enrolments"].heard, found["enrolments"].refused) == (2, 1)
    assert found["enrolments"].reasons == {"not_enough_exemplars": 1, "not_enough_speech": 1}
    assert (found["takes"].heard, found["takes"].refused) == (8, 1)
    assert found["takes"].reasons == {"too_short": 1}


def test_the_models_threshold_says_what_one_voice_is():
    alike = take([VOICE, unit(VOICE + axis(1))])  # a cosine of 0.71

    class Strict(Model):
        threshold = 1.02

    assert refusals([alike], [], CONFIG, Model())["tests"].reasons == {}
    assert refusals([alike], [], CONFIG, Strict())["tests"].reasons == {"not_one_voice": 1}
