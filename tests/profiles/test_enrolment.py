"""Enrolment: which takes are kept, why others are refused, and when a profile is complete."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from enrolment_parts import ANNA, BERTA, GOOD, Speaker, cut, enrol
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_parts import MODEL, profile

from voiceauthd.config.schema import EnrollConfig
from voiceauthd.embed.embedding import Embedding, unit_mean
from voiceauthd.errors import AudioError, ExitCode, ModelError, NotEnrolledError, StorageError, UsageError
from voiceauthd.profiles.document import encode_profile
from voiceauthd.profiles.enrolment import Enrolment
from voiceauthd.profiles.keys import Keys, new_key
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Profile
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.speech.window import Quality


def enrolled(config: EnrollConfig | None = None) -> Profile:
    speaker = enrol(config)
    while not speaker.enrolment.complete:
        speaker.say(4.0)
    return speaker.enrolment.finish()


def test_five_sentences_make_a_profile_that_can_be_stored(tmp_path_factory: pytest.TempPathFactory) -> None:
    speaker = enrol()
    verdicts = [speaker.say(4.0) for _ in range(5)]
    assert [verdict.accepted for verdict in verdicts] == [True] * 5
    assert [verdict.complete for verdict in verdicts] == [False] * 4 + [True]
    assert [verdict.exemplars for verdict in verdicts] == [1, 2, 3, 4, 5]
    assert verdicts[-1].net_speech == pytest.approx(20.0)
    assert (verdicts[-1].exemplars_needed, verdicts[-1].net_speech_needed) == (5, 20.0)
    made = speaker.enrolment.finish()
    assert (made.name, made.owner_uid, made.generation, made.model) == ("anna", 1000, 1, MODEL)
    assert all(exemplar.condition == "default" for exemplar in made.exemplars)
    store = ProfileStore(tmp_path_factory.mktemp("store"), MODEL, Keys(new_key()))
    assert encode_profile(store.add(made)) == encode_profile(store.get("anna"))
    assert float(np.dot(unit_mean([exemplar.vector for exemplar in made.exemplars]), ANNA)) > 0.9


def test_one_long_recording_is_enough() -> None:
    speaker = enrol()
    verdict = speaker.say(30.0)
    assert verdict.complete
    assert verdict.net_speech == pytest.approx(30.0)
    assert 5 <= verdict.exemplars <= 10
    assert all(3.0 <= exemplar.net_speech <= 6.0 for exemplar in speaker.enrolment.finish().exemplars)


@settings(deadline=None, max_examples=50)
@given(st.floats(1.5, 60.0), st.floats(0.7, 1.0))
def test_speech_in_overlapping_windows_is_counted_once(seconds: float, share: float) -> None:
    speaker = enrol()
    verdict = speaker.say(seconds, speech=share)
    expected = sum(window.new_speech for window in cut(seconds, share))
    assert verdict.accepted
    assert verdict.net_speech == pytest.approx(expected, abs=0.02)
    assert verdict.net_speech <= seconds * share + 0.02
    assert verdict.quality is not None
    assert verdict.quality.net_speech == pytest.approx(expected)
    assert verdict.exemplars <= max(1, math.ceil(seconds / 3.0))


def test_an_exemplar_is_the_mean_of_the_windows_of_its_chunk() -> None:
    speaker = enrol(EnrollConfig(speech=2, exemplars=1))
    windows = cut(4.5)
    embeddings = speaker.embed([ANNA] * len(windows))
    speaker.enrolment.take(windows, embeddings)
    (exemplar,) = speaker.enrolment.finish().exemplars
    mean = embeddings[1].vector + embeddings[2].vector
    assert np.allclose(exemplar.vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert exemplar.net_speech == 4.5
    assert exemplar.snr_db == 25.0


@pytest.mark.parametrize(
    ("reason", "seconds", "speech", "quality"),
    [
        ("too_short", 1.5, 0.6, GOOD),
        ("too_quiet", 4.0, 1.0, dataclasses.replace(GOOD, level_dbfs=-51.0)),
        ("clipped", 4.0, 1.0, dataclasses.replace(GOOD, clipping=0.011)),
        ("noisy", 4.0, 1.0, dataclasses.replace(GOOD, snr_db=5.9)),
        ("too_short", 4.0, math.nan, GOOD),
        ("too_quiet", 4.0, 1.0, dataclasses.replace(GOOD, level_dbfs=math.nan)),
        ("clipped", 4.0, 1.0, dataclasses.replace(GOOD, clipping=math.nan)),
        ("noisy", 4.0, 1.0, dataclasses.replace(GOOD, snr_db=math.nan)),
    ],
)
def test_a_bad_take_is_refused_with_reason_and_advice(
    reason: str, seconds: float, speech: float, quality: Quality
) -> None:
    speaker = enrol()
    speaker.say(4.0)
    verdict = speaker.say(seconds, speech=speech, quality=quality)
    assert (verdict.accepted, verdict.reason) == (False, reason)
    assert verdict.advice is not None
    assert verdict.advice.endswith(".")
    assert (verdict.exemplars, verdict.net_speech) == (1, 4.0)
    assert f"1 take refused ({reason})" in speaker.enrolment.summary()


def test_a_take_without_windows_is_too_short_and_has_no_quality() -> None:
    verdict = enrol().enrolment.take([], [])
    assert (verdict.reason, verdict.quality) == ("too_short", None)


def test_a_take_without_measured_noise_is_accepted() -> None:
    speaker = enrol()
    assert speaker.say(4.0, quality=dataclasses.replace(GOOD, snr_db=None)).accepted


def test_two_people_in_one_take_are_refused() -> None:
    speaker = enrol()
    windows = cut(12.0)
    verdict = speaker.enrolment.take(windows, speaker.embed([ANNA] * 4 + [BERTA] * (len(windows) - 4)))
    assert verdict.reason == "not_one_voice"
    assert speaker.say(4.0, BERTA).accepted, "nothing of the refused take is kept"


def test_another_person_in_a_later_take_is_refused() -> None:
    speaker = enrol()
    assert speaker.say(4.0).accepted
    assert speaker.say(4.0, BERTA).reason == "different_voice"
    assert speaker.say(4.0).accepted
    assert speaker.enrolment.exemplars == 2


def test_a_try_goes_on_from_what_an_earlier_one_has_collected() -> None:
    first = enrol()
    for _ in range(3):
        first.say(4.0)
    again = enrol()
    again.enrolment.go_on(first.enrolment.new_exemplars)
    assert again.enrolment.net_speech == first.enrolment.net_speech
    assert again.say(4.0, BERTA).reason == "different_voice", "two voices must not be mixed"
    while not again.enrolment.complete:
        assert again.say(4.0).accepted
    made = again.enrolment.finish()
    assert made.exemplars[:3] == first.enrolment.new_exemplars
    assert made.net_speech == 20.0


def test_what_another_model_has_collected_is_an_error() -> None:
    other = dataclasses.replace(profile().exemplars[0], vector=np.ones(7, np.float32))
    with pytest.raises(ModelError) as caught:
        enrol().enrolment.go_on([other])
    assert caught.value.reason == "wrong_model"


def test_an_embedding_that_is_not_finite_is_refused() -> None:
    speaker = enrol()
    windows = cut(2.0)
    broken = np.full(MODEL.dimension, np.nan, np.float32)
    assert not speaker.enrolment.take(windows, [Embedding(broken, MODEL)] * len(windows)).accepted
    assert not speaker.enrolment.complete


def test_embeddings_of_another_model_are_an_error() -> None:
    speaker = enrol()
    windows = cut(1.5)
    other = Embedding(ANNA, dataclasses.replace(MODEL, digest="0" * 64))
    with pytest.raises(ModelError) as caught:
        speaker.enrolment.take(windows, [other])
    assert caught.value.reason == "wrong_model"


def test_with_too_little_speech_the_error_says_what_is_missing_and_why() -> None:
    speaker = enrol()
    speaker.say(4.2)
    speaker.say(4.0)
    speaker.say(4.0, quality=dataclasses.replace(GOOD, clipping=0.5))
    with pytest.raises(AudioError) as caught:
        speaker.enrolment.finish()
    assert caught.value.reason == "not_enough_speech"
    assert caught.value.exit_code == ExitCode.AUDIO
    assert "8.2 s of 20 s speech, 2 of 5 exemplars; 1 take refused (clipped)" in str(caught.value)
    speaker.say(4.0, quality=dataclasses.replace(GOOD, clipping=0.5))
    assert speaker.enrolment.summary().endswith("; 2 takes refused (clipped)")
    speaker.say(4.0, BERTA)
    assert speaker.enrolment.summary().endswith("; 3 takes refused (2 clipped, different_voice)")


def test_finishing_without_any_take_is_an_error() -> None:
    with pytest.raises(AudioError, match=r"0\.0 s of 20 s speech, 0 of 5 exemplars$"):
        enrol().enrolment.finish()


def test_adding_keeps_the_old_exemplars_and_their_conditions() -> None:
    old = enrolled()
    enrolment = Enrolment("ANNA", MODEL, EnrollConfig(), condition="headset", owner_uid=4711, existing=old, mode="add")
    assert not enrolment.complete, "nothing was added yet"
    assert (enrolment.exemplars, enrolment.exemplars_needed) == (5, 6)
    with pytest.raises(AudioError):
        enrolment.finish()
    assert Speaker(enrolment, seed=1).say(4.0).complete
    new = enrolment.finish()
    assert (new.name, new.uid, new.generation, new.owner_uid) == ("anna", old.uid, 2, 1000)
    assert new.exemplars[:5] == old.exemplars
    assert [exemplar.condition for exemplar in new.exemplars] == ["default"] * 5 + ["headset"]
    assert new.created == old.created


def test_adding_another_persons_voice_is_refused() -> None:
    assert enrol(existing=enrolled(), mode="add").say(4.0, BERTA).reason == "different_voice"


def test_replacing_starts_over_and_keeps_the_uid() -> None:
    old = enrolled()
    speaker = enrol(existing=old, mode="replace")
    assert speaker.say(30.0, BERTA).complete, "the old voice is not compared"
    new = speaker.enrolment.finish()
    assert (new.uid, new.generation) == (old.uid, 2)
    assert not set(map(id, new.exemplars)) & set(map(id, old.exemplars))


@pytest.mark.parametrize(
    ("mode", "exists", "error", "reason"),
    [
        ("new", True, StorageError, "already_enrolled"),
        ("add", False, NotEnrolledError, "not_enrolled"),
        ("overwrite", False, UsageError, "usage"),
    ],
)
def test_an_unsuitable_mode_is_refused(mode: str, exists: bool, error: type[UsageError], reason: str) -> None:
    with pytest.raises(error) as caught:
        enrol(existing=profile() if exists else None, mode=mode)
    assert caught.value.reason == reason


def test_adding_to_a_profile_of_another_model_is_refused() -> None:
    old = profile(model=dataclasses.replace(MODEL, revision="0"))
    with pytest.raises(StorageError) as caught:
        enrol(existing=old, mode="add")
    assert caught.value.reason == "wrong_model"
    assert enrol(existing=old, mode="replace").say(30.0).complete


def test_names_and_conditions_are_checked_first() -> None:
    with pytest.raises(UsageError, match="name"):
        Enrolment("../x", MODEL, EnrollConfig())
    with pytest.raises(UsageError, match="condition"):
        Enrolment("anna", MODEL, EnrollConfig(), condition="x" * 33)


def test_a_full_profile_accepts_no_more_takes() -> None:
    speaker = enrol()
    verdict = speaker.say(100.0)
    assert verdict.accepted
    assert verdict.exemplars == MAX_EXEMPLARS
    assert verdict.advice is not None
    assert "full" in verdict.advice
    assert speaker.say(4.0).reason == "profile_full"
    assert len(speaker.enrolment.finish().exemplars) == MAX_EXEMPLARS


def test_exemplars_that_do_not_fit_are_left_out_with_advice() -> None:
    speaker = enrol(existing=enrolled(EnrollConfig(speech=72, exemplars=18)), mode="add")
    verdict = speaker.say(30.0)
    assert (verdict.accepted, verdict.exemplars, verdict.complete) == (True, MAX_EXEMPLARS, True)
    assert verdict.advice is not None
    assert "left out" in verdict.advice
    assert speaker.say(4.0).reason == "profile_full"


def test_nothing_is_added_to_a_full_profile() -> None:
    speaker = enrol(existing=enrolled(EnrollConfig(speech=80, exemplars=20)), mode="add")
    assert speaker.say(4.0).reason == "profile_full"
    with pytest.raises(AudioError, match="profile_full"):
        speaker.enrolment.finish()


def test_many_short_takes_can_reach_a_long_required_speech() -> None:
    """Twenty exemplars of 2 s are 40 s; 60 s must be possible, because the configuration allows it."""
    speaker = enrol(EnrollConfig(speech=60))
    verdicts = [speaker.say(2.0) for _ in range(30)]
    assert all(verdict.accepted and verdict.advice is None for verdict in verdicts)
    assert [verdict.complete for verdict in verdicts] == [False] * 29 + [True]
    made = speaker.enrolment.finish()
    assert len(made.exemplars) == MAX_EXEMPLARS
    assert made.net_speech == pytest.approx(60.0)
    encode_profile(made)
