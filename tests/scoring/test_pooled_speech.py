"""Pooling the speech of a request."""

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

Windows = list[tuple[Window, Vector]]

PLACES = st.integers(0, 40).map(lambda tenth: tenth / 10)
WINDOWS = st.builds(
    lambda new, net, at, snr: window(min(new, net), net, at, snr),
    new=st.floats(0.0, 3.0),
    net=st.floats(1.0, 3.0),
    at=PLACES,
    snr=st.none() | st.floats(-10.0, 60.0),
)
WINDOW_LISTS = st.lists(st.tuples(WINDOWS, vectors()), min_size=1, max_size=8)


def pool(windows: Windows) -> Pool:
    pooled = Pool()
    for each, vector in windows:
        pooled.add(each, embedding(vector))
    return pooled


def pooled(windows: Windows) -> PooledSpeech:
    voice = pool(windows).voice()
    assert voice is not None
    return voice


def weighted(windows: Windows) -> np.ndarray:
    return np.sum([each.quality.net_speech * vector.astype(np.float64) for each, vector in windows], axis=0)


def has_direction(windows: Windows) -> bool:
    return float(np.linalg.norm(weighted(windows))) > 0.01 * sum(each.quality.net_speech for each, _ in windows)


def test_without_windows_there_is_no_pooled_speech() -> None:
    assert Pool().voice() is None
    assert Pool().net_speech == 0.0


@settings(deadline=None)
@given(WINDOW_LISTS)
def test_the_embedding_is_the_mean_weighted_by_net_speech(windows: Windows) -> None:
    assume(has_direction(windows))
    mean = weighted(windows)
    vector = pooled(windows).embedding.vector
    assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


@settings(deadline=None)
@given(WINDOW_LISTS, st.randoms(use_true_random=False))
def test_the_order_of_windows_does_not_matter(windows: Windows, order: Random) -> None:
    assume(has_direction(windows))
    shuffled = windows.copy()
    order.shuffle(shuffled)
    one, other = pooled(windows), pooled(shuffled)
    assert np.allclose(one.embedding.vector, other.embedding.vector, atol=1e-4)
    assert one.net_speech == pytest.approx(other.net_speech)
    assert one.agreement == pytest.approx(other.agreement, abs=1e-9)
    assert (one.snr_db is None) == (other.snr_db is None)
    assert one.snr_db is None or one.snr_db == pytest.approx(other.snr_db)


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=12), vectors())
def test_equal_windows_give_the_same_embedding_in_any_number(lengths: list[float], vector: Vector) -> None:
    places = np.cumsum([0.0, *lengths])
    voice = pooled([(window(length, at=float(at)), vector) for length, at in zip(lengths, places, strict=False)])
    assert np.allclose(voice.embedding.vector, vector, atol=1e-6)
    assert voice.agreement == pytest.approx(1.0, abs=1e-5)
    assert voice.net_speech == pytest.approx(sum(lengths))


def test_speech_in_overlapping_windows_counts_once() -> None:
    cut = [window(1.5, 1.5, 0.0), window(1.5, 3.0, 0.0), window(1.5, 3.0, 1.5), window(0.7, 3.0, 2.2)]
    assert pooled([(each, axis(0)) for each in cut]).net_speech == pytest.approx(5.2)


def test_the_snr_is_the_mean_of_the_windows_that_have_one() -> None:
    windows = [(window(1.0, 1.0, 0.0, 10.0), axis(0)), (window(3.0, 3.0, 1.0, 30.0), axis(0))]
    assert pooled(windows).snr_db == pytest.approx(25.0)
    assert pooled([*windows, (window(3.0, 3.0, 4.0, None), axis(0))]).snr_db == pytest.approx(25.0)
    assert pooled([(window(3.0, snr_db=None), axis(0))]).snr_db is None


# Agreement


def test_agreement_is_the_lowest_cosine_between_windows_that_share_no_audio() -> None:
    first, overlapping, behind = window(3.0, at=0.0), window(1.5, 3.0, 1.5), window(3.0, at=3.0)
    windows = [(first, axis(0)), (overlapping, between(0.1)), (behind, between(0.8))]
    assert pooled(windows).agreement == pytest.approx(0.8, abs=1e-6)
    assert pooled(windows[:2]).agreement == 1.0, "they share audio"


def test_adjacent_windows_share_no_audio() -> None:
    windows = [(window(1.5, at=0.0), axis(0)), (window(1.5, at=1.5), axis(1))]
    assert pooled(windows).agreement == pytest.approx(0.0, abs=1e-6)


def test_the_agreement_of_one_window_is_1() -> None:
    assert pooled([(window(3.0), axis(0))]).agreement == 1.0


@settings(deadline=None)
@given(WINDOW_LISTS, st.tuples(WINDOWS, vectors()))
def test_another_window_never_raises_the_agreement(windows: Windows, another: tuple[Window, Vector]) -> None:
    assume(has_direction(windows) and has_direction([*windows, another]))
    assert pooled([*windows, another]).agreement <= pooled(windows).agreement + 1e-9


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_agreement_of_vectors_with_nan_is_nan(place: int) -> None:
    given = [axis(0)] * 3
    given[place] = np.full(DIMENSION, np.nan, np.float32)
    windows = pool([(window(1.5, at=1.5 * number), vector) for number, vector in enumerate(given)])
    assert math.isnan(windows._agreement())


# Invalid values


def test_a_change_of_model_is_an_error() -> None:
    windows = pool([(window(1.5), axis(0))])
    with pytest.raises(ModelError) as caught:
        windows.add(window(1.5), embedding(axis(0), OTHER_MODEL))
    assert caught.value.reason == "wrong_model"
    assert windows.net_speech == 1.5, "the window was not added"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_vector_that_is_not_finite_is_an_error(broken: float) -> None:
    damaged = axis(1)
    damaged[0] = broken
    with pytest.raises(ModelError), np.errstate(invalid="ignore"):
        pool([(window(1.5), axis(0)), (window(1.5, at=1.5), damaged)]).voice()


def test_windows_that_cancel_out_are_an_error() -> None:
    with pytest.raises(ModelError) as caught:
        pool([(window(1.5), axis(0)), (window(1.5, at=1.5), unit(-axis(0)))]).voice()
    assert caught.value.reason == "no_direction"


@pytest.mark.parametrize("speech", BROKEN)
def test_net_speech_that_is_not_finite_stays_so(speech: float) -> None:
    windows = pool([(window(1.5), axis(0)), (window(speech, 1.5, 1.5), axis(0)), (window(1.5, at=3.0), axis(0))])
    assert not math.isfinite(windows.net_speech)
