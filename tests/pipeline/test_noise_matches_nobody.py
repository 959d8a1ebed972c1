"""Noise that passes both detectors and reaches the model matches nobody, at the bound of policy `monitor`."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from models import campplus_cache, development_speech

from voiceauthd.audio.block import RATE, Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import Config, ModelConfig
from voiceauthd.embed.load import load_embedder
from voiceauthd.pipeline.recogniser import Recogniser, ScoredWindow, follow
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.scoring.backend import shipped_backend
from voiceauthd.scoring.decision import Recognition
from voiceauthd.scoring.policy import MONITOR, make_policies
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import Quality, Window

VOICES = Path(__file__).resolve().parents[2] / "daemon" / "voiceauthd" / "demo" / "voices"

WINDOW = 3 * RATE


@pytest.fixture(scope="module")
def recogniser():
    """CAM++ with the shipped calibration, and the demo's two people enrolled."""
    config = Config(model=ModelConfig(name="campplus", cache=campplus_cache()))
    embedder = load_embedder(config.model)
    backend = shipped_backend(embedder.model)
    assert backend.calibration is not None
    rule = make_policies(config, embedder.threshold, backend)[MONITOR].rule
    without_people = Recogniser(embedder, make_gallery([], embedder.model), rule, config.gate)
    segmenter, profiles = Segmenter(config.speech), []
    for name in ("ralph", "susan"):
        recordings = [read_recording(VOICES / f"{name}-{index}.flac") for index in range(1, 6)]
        results = [each for sound in recordings for each in follow([Block(sound, 0, 0.0)], segmenter, without_people)]
        exemplars = [
            Exemplar(each.embedding.vector, 3.0, None, "default", "") for each in results if type(each) is ScoredWindow
        ]
        profiles.append(Profile(name, name, 1, None, embedder.model, tuple(exemplars), "", ""))
    return Recogniser(embedder, make_gallery(profiles, embedder.model, backend), rule, config.gate)


def assert_matches_nobody(recogniser, sounds):
    """Check each sound, given as a window that passes the gate."""
    quality = Quality(3.0, None, 0.0, -20.0)
    windows = [Window(sound, 0, WINDOW, 0.0, 1, quality, 3.0) for sound in sounds]
    scored = [result for result in recogniser.recognise(windows) if isinstance(result, ScoredWindow)]
    assert scored
    for each in scored:
        assert each.identified.recognition is Recognition.UNKNOWN
        assert max(score.llr for score in each.scores) < 0.0, "more likely a stranger than anybody who is enrolled"


def test_synthetic_noise_matches_nobody(recogniser):
    generator = np.random.default_rng(5)
    time = np.arange(WINDOW) / RATE
    clicks = np.zeros(WINDOW)
    clicks[:: RATE // 6] = 0.9
    sounds = [
        0.1 * generator.standard_normal(WINDOW),
        0.3 * np.sin(2.0 * np.pi * 440.0 * time),
        0.1 * sum(np.sin(2.0 * np.pi * pitch * time) for pitch in (261.6, 329.6, 392.0, 523.3)),
        np.convolve(clicks, np.exp(-np.arange(400) / 40.0))[:WINDOW],
    ]
    assert_matches_nobody(recogniser, [sound.astype(np.float32) for sound in sounds])


def test_recorded_noise_matches_nobody(recogniser):
    folder = development_speech().parent / "noise"
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        files = [folder / row["path"] for row in csv.DictReader(stream) if row["contains_speech"] != "yes"]
    sounds = [read_recording(file)[:WINDOW] for file in files]
    assert_matches_nobody(recogniser, [sound for sound in sounds if len(sound) == WINDOW])


def test_the_same_recogniser_identifies_the_enrolled_people(recogniser):
    segmenter = Segmenter(Config().speech)
    for turn, name in (("turn-01-ralph", "ralph"), ("turn-02-susan", "susan")):
        block = Block(read_recording(VOICES / f"{turn}.flac"), 0, 0.0)
        scored = [each for each in follow([block], segmenter, recogniser) if isinstance(each, ScoredWindow)]
        assert {each.identified.identity for each in scored} == {name}
