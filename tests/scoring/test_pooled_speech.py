"""All speech of a request as one voice."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from score_parts import BROKEN, DIMENSION, OTHER_MODEL, axis, between, embedding, unit, vectors, window

from voiceauthd.embed.embedding import Vector
from voiceauthd.errors import ModelError
from voiceauthd.scoring.pooled_speech import Pool, PooledSpeech
from voiceauthd.speech.window import Window

Heard = list[tuple[Window, Vector]]

PLACES = st.integers(0, 40).map(lambda tenth: tenth / 10)
WINDOWS = st.builds(
    lambda new, net, at, snr: window(min(new, net), net, at, snr),
    new=st.floats(0.0, 3.0),
    net=st.floats(1.0, 3.0),
    at=PLACES,
    snr=st.none() | st.floats(-10.0, 60.0),
)
HEARD = st.lists(st.tuples(WINDOWS, vectors()), min_size=1, max_size=8)


def pool(heard: Heard) -> Pool:
    pooled = Pool()
    for each, vector in heard:
        pooled.add(each, embedding(vector))
    return pooled


def pooled(heard: Heard) -> PooledSpeech:
    voice = pool(heard).voice()
    assert voice is not None
    return voice


def weighted(heard: Heard) -> np.ndarray:
    return np.sum([each.quality.net_speech * vector.astype(np.float64) for each, vector in heard], axis=0)


def has_direction(heard: Heard) -> bool:
    return float(np.linalg.norm(weighted(heard))) > 0.01 * sum(each.quality.net_speech for each, _ in heard)


def test_without_a_window_there_is_no_voice() -> None:
    assert Pool().voice() is None
    assert Pool().net_speech == 0.0


@settings(deadline=None)
@given(HEARD)
def test_a_voice_is_the_mean_of_its_windows_weighted_by_their_speech(heard: Heard) -> None:
    assume(has_direction(heard))
    mean = weighted(heard)
    vector = pooled(heard).embedding.vector
    assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


@settings(deadline=None)
@given(HEARD, st.randoms(use_true_random=False))
def test_the_order_of_windows_does_not_matter(heard: Heard, order: Random) -> None:
    assume(has_direction(heard))
    shuffled = heard.copy()
    order.shuffle(shuffled)
    one, other = pooled(heard), pooled(shuffled)
    assert np.allclose(one.embedding.vector, other.embedding.vector, atol=1e-4)
    assert one.net_speech == pytest.approx(other.net_speech)
    assert one.agreement == pytest.approx(other.agreement, abs=1e-9)
    assert (one.snr_db is None) == (other.snr_db is None)
    assert one.snr_db is None or one.snr_db == pytest.approx(other.snr_db)


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=12), vectors())
def test_one_voice_stays_itself_however_many_windows_it_is_cut_into(lengths: list[float], vector: Vector) -> None:
    places = np.cumsum([0.0, *lengths])
    voice = pooled([(window(length, at=float(at)), vector) for length, at in zip(lengths, places, strict=False)])
    assert np.allclose(voice.embedding.vector, vector, atol=1e-6)
    assert voice.agreement == pytest.approx(1.0, abs=1e-5)
    assert voice.net_speech == pytest.approx(sum(lengths))


def test_speech_counts_once_although_windows_overlap() -> None:
    cut = [window(1.5, 1.5, 0.0), window(1.5, 3.0, 0.0), window(1.5, 3.0, 1.5), window(0.7, 3.0, 2.2)]
    assert pooled([(each, axis(0)) for each in cut]).net_speech == pytest.approx(5.2)


def test_the_noise_is_a_mean_of_the_windows_that_heard_any() -> None:
    heard = [(window(1.0, 1.0, 0.0, 10.0), axis(0)), (window(3.0, 3.0, 1.0, 30.0), axis(0))]
    assert pooled(heard).snr_db == pytest.approx(25.0)
    assert pooled([*heard, (window(3.0, 3.0, 4.0, None), axis(0))]).snr_db == pytest.approx(25.0)
    assert pooled([(window(3.0, snr_db=None), axis(0))]).snr_db is None


# Agreement


def test_agreement_is_the_lowest_cosine_between_windows_that_share_no_sound() -> None:
    first, overlapping, behind = window(3.0, at=0.0), window(1.5, 3.0, 1.5), window(3.0, at=3.0)
    heard = [(first, axis(0)), (overlapping, between(0.1)), (behind, between(0.8))]
    assert pooled(heard).agreement == pytest.approx(0.8, abs=1e-6)
    assert pooled(heard[:2]).agreement == 1.0, "they share sound"


def test_windows_that_touch_share_no_sound() -> None:
    heard = [(window(1.5, at=0.0), axis(0)), (window(1.5, at=1.5), axis(1))]
    assert pooled(heard).agreement == pytest.approx(0.0, abs=1e-6)


def test_one_window_agrees_with_itself() -> None:
    assert pooled([(window(3.0), axis(0))]).agreement == 1.0


@settings(deadline=None)
@given(HEARD, st.tuples(WINDOWS, vectors()))
def test_another_window_never_raises_the_agreement(heard: Heard, another: tuple[Window, Vector]) -> None:
    assume(has_direction(heard) and has_direction([*heard, another]))
    assert pooled([*heard, another]).agreement <= pooled(heard).agreement + 1e-9


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_agreement_that_cannot_be_told_is_no_number(place: int) -> None:
    given = [axis(0)] * 3
    given[place] = np.full(DIMENSION, np.nan, np.float32)
    heard = pool([(window(1.5, at=1.5 * number), vector) for number, vector in enumerate(given)])
    assert math.isnan(heard._agreement())


# What is broken


def test_a_model_that_changes_in_the_middle_is_an_error() -> None:
    heard = pool([(window(1.5), axis(0))])
    with pytest.raises(ModelError) as caught:
        heard.add(window(1.5), embedding(axis(0), OTHER_MODEL))
    assert caught.value.reason == "wrong_model"
    assert heard.net_speech == 1.5, "nothing of it was taken in"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_vector_that_is_no_number_is_an_error(broken: float) -> None:
    torn = axis(1)
    torn[0] = broken
    with pytest.raises(ModelError), np.errstate(invalid="ignore"):
        pool([(window(1.5), axis(0)), (window(1.5, at=1.5), torn)]).voice()


def test_windows_that_cancel_out_are_an_error() -> None:
    with pytest.raises(ModelError) as caught:
        pool([(window(1.5), axis(0)), (window(1.5, at=1.5), unit(-axis(0)))]).voice()
    assert caught.value.reason == "no_direction"


@pytest.mark.parametrize("speech", BROKEN)
def test_speech_that_cannot_be_counted_stays_uncountable(speech: float) -> None:
    heard = pool([(window(1.5), axis(0)), (window(speech, 1.5, 1.5), axis(0)), (window(1.5, at=3.0), axis(0))])
    assert not math.isfinite(heard.net_speech)
