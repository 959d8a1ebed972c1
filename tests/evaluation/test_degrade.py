"""Degraded recordings: noise at the right level, rooms that keep the level, reproducible draws, the right files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
from evaluation_parts import VOICES, BandEmbedder, write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.audio.block import RATE
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.errors import AudioError, UsageError
from voiceauthd.evaluation.degrade import (
    MAX_PEAK,
    AddNoise,
    Reverberate,
    noises,
    open_library,
    rooms,
    speech_level,
)
from voiceauthd.evaluation.embed_recording import Job, RecordingEmbedder
from voiceauthd.speech.quality import power

GENERATOR = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("noise")
    soundfile.write(path / "hiss.wav", GENERATOR.normal(0.0, 0.02, 3 * RATE), RATE, subtype="FLOAT")
    soundfile.write(path / "hum.wav", 0.1 * np.sin(np.arange(RATE) * 2 * math.pi * 100 / RATE), RATE, subtype="FLOAT")
    soundfile.write(path / "talk.wav", GENERATOR.normal(0.0, 0.1, RATE), RATE)
    return path


@pytest.fixture(scope="module")
def speech():
    return RecordingEmbedder(BandEmbedder(), SpeechConfig()).embed(Job(VOICES / "ralph-1.flac")).whole


@pytest.mark.parametrize("snr_db", [20.0, 10.0, 5.0, 0.0])
def test_noise_has_the_requested_ratio_to_the_speech(folder, speech, snr_db):
    clean = read_recording(VOICES / "ralph-1.flac")
    level = speech_level(speech)
    noisy = AddNoise(folder / "hiss.wav", "", 0.3, snr_db, level)(clean)
    scale = float(np.dot(noisy, clean) / np.dot(clean, clean))  # the result may have been scaled down
    added = power(noisy / scale - clean)
    assert level - 10.0 * math.log10(added) == pytest.approx(snr_db, abs=0.2)
    assert np.max(np.abs(noisy)) <= MAX_PEAK + 1e-6


def test_the_speech_level_ignores_pauses(speech):
    whole = 10.0 * math.log10(power(read_recording(VOICES / "ralph-1.flac")))
    assert whole < speech_level(speech) < whole + 6.0


def test_noise_shorter_than_the_recording_is_repeated(folder):
    noisy = AddNoise(folder / "hum.wav", "", 0.9, 0.0, -20.0)(np.zeros(5 * RATE, np.float32))
    for second in range(5):
        assert power(noisy[second * RATE : (second + 1) * RATE]) == pytest.approx(0.01, rel=0.1)


def test_pauses_in_the_noise_are_not_used(tmp_path):
    bark = np.zeros(5 * RATE)
    bark[2 * RATE : 2 * RATE + RATE // 4] = GENERATOR.normal(0.0, 0.2, RATE // 4)
    soundfile.write(tmp_path / "bark.wav", bark, RATE)
    noisy = AddNoise(tmp_path / "bark.wav", "", 0.7, 0.0, -30.0)(np.zeros(RATE, np.float32))
    assert power(noisy) == pytest.approx(1e-3, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 4 * RATE), st.sampled_from([-60.0, -20.0, None]))
def test_any_section_of_noise_gives_finite_audio_of_the_same_length(folder, offset, length, level):
    samples = np.random.default_rng(length).normal(0.0, 0.1, length).astype(np.float32)
    noisy = AddNoise(folder / "hiss.wav", "", offset, 0.0, level)(samples)
    assert noisy.shape == samples.shape
    assert noisy.dtype == np.float32
    assert np.all(np.isfinite(noisy))


def test_a_room_keeps_the_level_and_adds_reverberation(tmp_path):
    times = np.arange(RATE // 2) / RATE
    response = GENERATOR.normal(0.0, 1.0, RATE // 2) * np.exp(-times / 0.1)
    response[:400] = 0.0  # the delay of the direct sound
    response[400] = 8.0
    soundfile.write(tmp_path / "hall.wav", response / 10.0, RATE, subtype="FLOAT")
    clean = GENERATOR.normal(0.0, 0.05, RATE).astype(np.float32)
    result = Reverberate(tmp_path / "hall.wav", "")(clean)
    assert power(result[:RATE]) == pytest.approx(power(clean), rel=0.25)
    assert power(result[RATE : RATE + RATE // 10]) > 0.02 * power(clean)
    lag = int(np.argmax(np.correlate(result[: RATE // 4], clean[: RATE // 8], "valid")))
    assert lag <= RATE // 1000, "the direct sound is not delayed"


def test_a_response_with_a_single_peak_changes_nothing(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.eye(1, 1000, 500)[0] * 0.3, RATE, subtype="FLOAT")
    clean = GENERATOR.normal(0.0, 0.05, RATE).astype(np.float32)
    result = Reverberate(tmp_path / "none.wav", "")(clean)
    shift = RATE // 1000
    assert np.allclose(result[shift : shift + len(clean)], clean, atol=1e-5)


def test_noise_with_speech_according_to_the_manifest_is_left_out(folder, tmp_path):
    for name in ("hiss.wav", "hum.wav", "talk.wav"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert set(open_library(tmp_path).digests) == {"hiss.wav", "hum.wav", "talk.wav"}
    rows = [
        {"path": name, "contains_speech": "yes" if name == "talk.wav" else "no"} for name in ("hum.wav", "talk.wav")
    ]
    write_table(tmp_path / "manifest.csv", rows)
    library = open_library(tmp_path)
    assert (set(library.digests), library.left_out) == ({"hum.wav"}, 1)


def test_a_folder_without_recordings_and_a_silent_recording_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no recordings"):
        open_library(tmp_path)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioError, match=r"nothing\.wav: silent"):
        open_library(tmp_path)


def test_each_test_gets_the_same_noise_at_all_levels_and_every_time(folder, speech):
    library = open_library(folder)
    tests = {f"{index}.flac": speech for index in range(40)}
    loud, quiet, other = noises(tests, library, 0.0, 1), noises(tests, library, 20.0, 1), noises(tests, library, 0.0, 2)
    assert {path: (each.file, each.offset) for path, each in loud.items()} == {
        path: (each.file, each.offset) for path, each in quiet.items()
    }
    assert loud == noises(tests, library, 0.0, 1)
    assert loud != other
    assert {each.file.name for each in loud.values()} == {"hiss.wav", "hum.wav", "talk.wav"}
    assert len({each.key for each in (*loud.values(), *quiet.values())}) == 80
    assert rooms(list(tests), library, 1) == rooms(list(tests), library, 1)
