"""Minutes of noise in one stream, where false alarms may be joined: at most one window per minute reaches the model."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from speech_parts import blocks_of, white, windows

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import Segmenter, segment

NOISE = Path(__file__).resolve().parents[3] / "shared" / "speech" / "noise"
SEMITONE = 2.0 ** (1.0 / 12.0)
SECONDS_OF_EACH = 20.0
"""Length of each kind of synthetic noise."""


def tone(hertz: float, seconds: float) -> Samples:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.14 * np.sin(2.0 * np.pi * hertz * time)).astype(np.float32)


def chords() -> Samples:
    """Return struck strings: decaying triads of five partials each, one every half second, up and down the scale."""
    time = np.arange(RATE // 2) / RATE
    pieces = []
    for number in range(round(2 * SECONDS_OF_EACH)):
        root = 130.8 * SEMITONE ** ((0, 5, 7, 9, 12, 7, 5, 2)[number % 8] + 12 * (number // 8 % 2))
        notes = [root * SEMITONE**step for step in (0, 4, 7)]
        partials = [np.sin(2 * np.pi * note * part * time) / part**1.5 for note in notes for part in range(1, 6)]
        pieces.append(0.1 * np.sum(partials, axis=0) * np.exp(-4.0 * time))
    return np.concatenate(pieces).astype(np.float32)


def clicks() -> Samples:
    """Return the sound of a typist: eight keys a second at uneven times, each a burst of noise of some 10 ms."""
    generator = np.random.default_rng(2)
    sound = white(SECONDS_OF_EACH, -60.0)
    burst = white(0.03, -9.0, seed=1) * np.exp(-np.arange(round(0.03 * RATE)) / (0.004 * RATE)).astype(np.float32)
    for at in generator.integers(0, len(sound) - len(burst), round(8 * SECONDS_OF_EACH)):
        sound[at : at + len(burst)] += burst
    return sound


def synthetic() -> list[Samples]:
    """Return white noise, tones, chords, key clicks and silence."""
    tones = [tone(hertz, SECONDS_OF_EACH / 5) for hertz in (110.0, 220.0, 440.0, 1000.0, 3000.0)]
    return [
        white(SECONDS_OF_EACH, -20.0),
        *tones,
        chords(),
        clicks(),
        np.zeros(round(SECONDS_OF_EACH * RATE), np.float32),
    ]


def recorded() -> list[Samples]:
    with (NOISE / "manifest.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["contains_speech"] == "no"]
    return [read_recording(NOISE / row["path"]) for row in rows]


def assert_at_most_one_window_a_minute(sounds: list[Samples], minutes: float) -> None:
    stream = np.concatenate(sounds)
    assert len(stream) / RATE / 60.0 >= minutes
    cut = windows(segment(blocks_of(stream, 320), Segmenter(SpeechConfig())))
    assert len(cut) <= len(stream) / RATE / 60.0


def test_at_most_one_window_a_minute_of_synthetic_noise_reaches_the_model() -> None:
    assert_at_most_one_window_a_minute(synthetic(), minutes=1.6)


@pytest.mark.skipif(not NOISE.is_dir(), reason="no recorded noise: ../shared/speech is missing")
def test_at_most_one_window_a_minute_of_ten_minutes_of_recorded_noise_reaches_the_model() -> None:
    assert_at_most_one_window_a_minute(recorded(), minutes=10.0)
