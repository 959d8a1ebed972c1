"""What the daemon would have refused, by its own gates, with the reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_parts import GOOD_QUALITY, MODEL, axis, embedded, unit, window

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedding
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.refusals import common_flags, count_refusals, enrolment_refusals, verification_refusals

CONFIG = Config()

AGREEMENT = 0.3

VOICE = axis(0)

QUIET = replace(GOOD_QUALITY, level_dbfs=-70.0)
CLIPPED = replace(GOOD_QUALITY, clipping=0.2)
NOISY = replace(GOOD_QUALITY, snr_db=-3.0)
NARROW = replace(GOOD_QUALITY, bandwidth=3600.0)


class Model:
    model = MODEL
    threshold = 0.6


def reasons_for(recording):
    return verification_refusals(recording, CONFIG, AGREEMENT)


def joined(*recordings):
    """The recordings as one."""
    windows = [each for recording in recordings for each in recording.windows]
    placed = tuple(replace(each, start=index * 10**6, end=index * 10**6 + 32000) for index, each in enumerate(windows))
    embeddings = tuple(each for recording in recordings for each in recording.embeddings)
    return EmbeddedSpeech(placed, embeddings, sum(recording.net_speech for recording in recordings), 0)


def test_a_good_recording_is_not_refused():
    assert reasons_for(embedded([VOICE] * 3)) == ()


@pytest.mark.parametrize(
    ("recording", "reasons"),
    [
        (embedded([]), ("no_window",)),
        (embedded([VOICE], speech=1.5), ("too_little_speech",)),
        (embedded([VOICE] * 2, quality=QUIET), ("too_quiet",)),
        (embedded([VOICE] * 2, quality=CLIPPED), ("clipped",)),
        (embedded([VOICE] * 2, quality=NOISY), ("noisy",)),
        (embedded([VOICE] * 2, quality=replace(GOOD_QUALITY, snr_db=np.nan)), ("noisy",)),
        (joined(embedded([VOICE], quality=NOISY), embedded([VOICE], quality=CLIPPED)), ("clipped", "noisy")),
        (embedded([VOICE, axis(1)]), ("not_one_voice",)),
        (embedded([VOICE, unit(np.full(MODEL.dimension, 1.0))]), ("not_one_voice",)),
        (joined(embedded([VOICE, axis(1)], speech=0.8), embedded([VOICE], quality=NOISY)), ("noisy", "not_one_voice")),
    ],
)
def test_every_reason_to_refuse_a_test_is_reported(recording, reasons):
    assert reasons_for(recording) == reasons


def test_windows_that_pass_are_enough_if_they_have_enough_speech():
    assert reasons_for(joined(embedded([VOICE], quality=NOISY), embedded([VOICE]))) == ()


def test_speech_shared_by_windows_counts_once():
    windows = (window(0.0, 1.5), window(0.3, 1.5, new=0.3))
    assert reasons_for(EmbeddedSpeech(windows, (Embedding(VOICE, MODEL),) * 2, 1.8, 0)) == ("too_little_speech",)


def test_embeddings_that_are_not_numbers_are_refused():
    assert reasons_for(embedded([np.full(MODEL.dimension, np.nan, np.float32)] * 2)) == ("too_little_speech",)


def test_a_narrow_band_is_a_flag_and_not_a_reason():
    narrow, mixed = embedded([VOICE] * 2, quality=NARROW), joined(embedded([VOICE], quality=NARROW), embedded([VOICE]))
    assert reasons_for(narrow) == ()
    assert set(common_flags(narrow)) == {"narrow_band"}
    assert not common_flags(mixed), "the channel is wideband"
    assert not common_flags(embedded([]))
    assert not common_flags(embedded([VOICE], quality=replace(GOOD_QUALITY, bandwidth=None)))


# Enrolments


def test_a_good_enrolment_lacks_nothing():
    assert enrolment_refusals([embedded([VOICE] * 2)] * 6, CONFIG, Model()) == ([()] * 6, ())


def test_what_an_enrolment_lacks_is_reported():
    assert enrolment_refusals([embedded([VOICE], speech=1.2)], CONFIG, Model())[1] == (
        "not_enough_speech",
        "not_enough_exemplars",
    )
    assert enrolment_refusals([embedded([VOICE], speech=30.0)], CONFIG, Model())[1] == ("not_enough_exemplars",)
    assert enrolment_refusals([embedded([VOICE], speech=3.0)] * 5, CONFIG, Model())[1] == ("not_enough_speech",)
    assert enrolment_refusals([embedded([])], CONFIG, Model()) == (
        [("too_short",)],
        ("not_enough_speech", "not_enough_exemplars"),
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (embedded([VOICE] * 2, quality=QUIET), "too_quiet"),
        (embedded([VOICE] * 2, quality=replace(GOOD_QUALITY, level_dbfs=-55.0)), "too_quiet"),  # passes the gate
        (embedded([VOICE] * 2, quality=CLIPPED), "clipped"),
        (embedded([VOICE] * 2, quality=NOISY), "noisy"),
        (embedded([VOICE] * 2, quality=replace(GOOD_QUALITY, snr_db=4.0)), "noisy"),  # passes the gate
        (embedded([VOICE, axis(1)]), "not_one_voice"),
        (embedded([axis(1)] * 2), "different_voice"),
        (embedded([]), "too_short"),
    ],
)
def test_a_bad_take_is_reported_and_does_not_spoil_a_good_enrolment(bad, reason):
    takes, whole = enrolment_refusals([*[embedded([VOICE] * 2)] * 6, bad], CONFIG, Model())
    assert takes == [*[()] * 6, (reason,)]
    assert whole == ()


def test_recordings_are_separate_takes_although_each_starts_at_0():
    """Words spoken one by one share windows; two recordings never do."""
    takes, whole = enrolment_refusals([embedded([VOICE], speech=1.5)] * 14, CONFIG, Model())
    assert takes == [()] * 14
    assert whole == ()


# A whole list


def test_recordings_are_counted_and_not_reasons():
    good, narrow = embedded([VOICE] * 2), embedded([VOICE] * 2, quality=NARROW)
    tests = [good, embedded([]), embedded([VOICE, axis(1)], speech=0.7), narrow]
    found = count_refusals(tests, [[good] * 6, [good, embedded([])]], CONFIG, Model())
    assert set(found) == {"tests", "enrolments", "takes"}
    assert (found["tests"].total, found["tests"].refused) == (4, 2)
    assert found["tests"].reasons == {"no_window": 1, "not_one_voice": 1, "too_little_speech": 1}
    assert found["tests"].flags == {"narrow_band": 1}
    assert (found["enrolments"].total, found["enrolments"].refused) == (2, 1)
    assert found["enrolments"].reasons == {"not_enough_exemplars": 1, "not_enough_speech": 1}
    assert (found["takes"].total, found["takes"].refused) == (8, 1)
    assert found["takes"].reasons == {"too_short": 1}


def test_the_model_s_threshold_defines_one_voice():
    similar = embedded([VOICE, unit(VOICE + axis(1))])  # a cosine of 0.71

    class Strict(Model):
        threshold = 1.02

    assert count_refusals([similar], [], CONFIG, Model())["tests"].reasons == {}
    assert count_refusals([similar], [], CONFIG, Strict())["tests"].reasons == {"not_one_voice": 1}
