"""A voice that is already enrolled is detected, and different voices are not."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from models import campplus_cache, development_speech, rows
from score_parts import MODEL, OTHER_MODEL, RATIOS, RULE, axis, between, calibration, profile, strangers

from voiceauthd.audio.block import Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import Config, ModelConfig, SpeechConfig
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import ModelError
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import chunks, counted_windows
from voiceauthd.scoring.backend import NO_BACKEND, Backend, shipped_backend
from voiceauthd.scoring.policy import UNLOCK, make_policies
from voiceauthd.scoring.same_voice import enrolled_as
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import Window

PEOPLE = 10


def gallery(*profiles: Profile):
    return make_gallery(profiles, MODEL)


def test_a_voice_that_matches_nobody_is_new() -> None:
    assert enrolled_as(profile("new", [axis(0)]), gallery(profile("anna", [axis(1)])), RULE) is None
    assert enrolled_as(profile("new", [axis(0)]), gallery(), RULE) is None


@pytest.mark.parametrize(("cosine", "name"), [(0.51, "anna"), (0.49, None)])
def test_the_bound_is_that_of_the_rule(cosine: float, name: str | None) -> None:
    assert enrolled_as(profile("new", [between(cosine)]), gallery(profile("anna", [axis(0)])), RULE) == name


def test_the_closest_of_several_is_named() -> None:
    others = gallery(profile("anna", [between(0.6)]), profile("ben", [between(0.9)]), profile("cleo", [axis(2)]))
    assert enrolled_as(profile("new", [axis(0)]), others, RULE) == "ben"


def test_a_profile_is_not_a_duplicate_of_itself() -> None:
    """`add` and `replace` enrol a voice again with the same name, perhaps in other case."""
    old = profile("anna", [axis(0)])
    assert enrolled_as(profile("ANNA", [axis(0)]), gallery(old), RULE) is None
    assert enrolled_as(profile("anna", [axis(0)]), gallery(old, profile("ben", [between(0.9)])), RULE) == "ben"


def test_each_condition_is_compared_separately() -> None:
    """The mean of both would be similar to neither."""
    new = profile("new", [axis(0), axis(1)], conditions=["default", "headset"])
    known = profile("anna", [axis(3), between(0.9, 1, 2)], conditions=["default", "far-field"])
    assert enrolled_as(new, gallery(known), RULE) == "anna"


def test_with_a_calibration_the_llr_decides() -> None:
    backend = Backend(strangers(), calibration())
    known = make_gallery([profile("anna", [axis(0)] * 5)], MODEL, backend)
    assert enrolled_as(profile("new", [axis(0)] * 5), known, RATIOS) == "anna"
    assert enrolled_as(profile("new", [axis(1)] * 5), known, RATIOS) is None


@pytest.mark.parametrize(
    "rule",
    [RATIOS, dataclasses.replace(RULE, accept=math.nan)],
    ids=["a missing LLR", "a bound that is NaN"],
)
def test_a_voice_that_cannot_be_compared_is_not_new(rule) -> None:
    assert enrolled_as(profile("new", [axis(0)]), gallery(profile("anna", [axis(1)])), rule) == "anna"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_voice_with_a_score_that_is_not_finite_is_not_new(value: float) -> None:
    known = gallery(profile("anna", [axis(1)]))
    broken = dataclasses.replace(known, centroids=np.full_like(known.centroids, value))
    with np.errstate(invalid="ignore"):
        assert enrolled_as(profile("new", [axis(0)]), broken, RULE) == "anna"


def test_voices_of_another_model_are_not_compared() -> None:
    with pytest.raises(ModelError) as caught:
        enrolled_as(profile("new", [axis(0)], OTHER_MODEL), gallery(profile("anna", [axis(1)])), RULE)
    assert caught.value.reason == "wrong_model"


@functools.cache
def people() -> tuple[dict[str, tuple[Profile, Profile]], float]:
    """Return ten speakers, each enrolled twice from different recordings, and the threshold of the model.

    They are from VoxForge, which is not in the shipped cohort or calibration.
    """
    folder = development_speech()
    embedder = load_embedder(ModelConfig(name="campplus", cache=campplus_cache()))
    segmenter = Segmenter(SpeechConfig(confirm=False))  # clean speech needs no second detector

    def enrol(name: str, files: list[str]) -> Profile:
        found = []
        for file in files:
            block = Block(read_recording(folder / Path(file)), start=0, captured=0.0)
            windows = [each for each in segment([block], segmenter) if isinstance(each, Window)]
            found += chunks(counted_windows(windows, embedder.embed([window.samples for window in windows])))
        exemplars = tuple(Exemplar(chunk.vector, chunk.net_speech, chunk.snr_db, "default", "") for chunk in found)
        return Profile(name, name, 1, None, embedder.model, exemplars, "", "")

    trials = [row for row in rows(folder, "trials.csv") if row["label"] == "target" and row["label_doubt"] == "0"]
    found: dict[str, tuple[Profile, Profile]] = {}
    for row in rows(folder, "enroll.csv"):
        tests = [trial["test_path"] for trial in trials if trial["enroll_id"] == row["enroll_id"]]
        if row["source"] == "voxforge" and len(tests) >= 2 and len(found) < PEOPLE:
            name = row["enroll_id"]
            found[name] = (enrol(name, row["files"].split(";")), enrol(f"{name} again", tests[:2]))
    assert len(found) == PEOPLE
    return found, embedder.threshold


@pytest.mark.parametrize("calibrated", [False, True])
def test_real_people_are_found_under_another_name_and_others_are_not(calibrated: bool) -> None:
    found, threshold = people()
    model = next(iter(found.values()))[0].model
    backend = shipped_backend(model) if calibrated else NO_BACKEND
    rule = make_policies(Config(), threshold, backend)[UNLOCK].rule
    assert rule.calibrated == calibrated
    for name, (first, again) in found.items():
        others = [other for other, _ in found.values() if other.name != name]
        assert enrolled_as(again, make_gallery([first, *others], model, backend), rule) == name
        assert enrolled_as(again, make_gallery(others, model, backend), rule) is None
    for (one, _), (other, _) in itertools.permutations(found.values(), 2):
        assert enrolled_as(one, make_gallery([other], model, backend), rule) is None
