"""Speech, a model and a configuration for the tests of `voiceauth calibrate` and `voiceauth cohort`.

The model is a WavLM with random weights, which recognises a recording but not a voice. So each "speaker" here is one
recording, cut in two ways.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import soxr

from voiceauthd.audio.block import RATE
from voiceauthd.embed.embedding import ModelId
from voiceauthd.evaluation import embedding_workers
from voiceauthd.scoring.backend import folder_name
from voiceauthd.scoring.cohort import encode_cohort, make_cohort

VOICES = Path(__file__).resolve().parents[1] / "daemon" / "voiceauthd" / "demo" / "voices"

PEOPLE = 22
PAIRS = PEOPLE * (PEOPLE - 1) // 2


class Finished(NamedTuple):
    """The output of a command."""

    stdout: str
    stderr: str

    @property
    def object(self):
        assert self.stdout.count("\n") == 1
        return json.loads(self.stdout)


Command = Callable[..., Finished]


def write_speech(folder: Path) -> Path:
    """22 speakers with two recordings each: one to enrol, the other to test."""
    recordings = sorted(VOICES.glob("*.flac"))
    for index in range(PEOPLE):
        samples, rate = soundfile.read(recordings[index % len(recordings)], dtype="float32")
        assert rate == RATE
        if index >= len(recordings):
            samples = soxr.resample(samples, RATE, RATE * 1.2)
        own = folder / f"p{index:02d}"
        own.mkdir(parents=True)
        for take in range(2):
            soundfile.write(own / f"{take}.flac", samples[take * RATE // 10 : round(2.8 * RATE)], RATE)
    return folder


def silence(folder: Path) -> None:
    """Replace the recordings of a speaker by silence."""
    for recording in folder.iterdir():
        soundfile.write(recording, np.zeros(3 * RATE), RATE)


def configure(folder: Path, wavlm: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a configuration with the tiny model and folders of its own. Returns its file."""
    for name in [name for name in os.environ if name.startswith("VOICEAUTHD_") and name != "VOICEAUTHD_MODEL_CACHE"]:
        monkeypatch.delenv(name)
    file = folder / "config.yaml"
    file.write_text(f"scoring: {folder}/scoring\nprofiles: {folder}/profiles\nmodel:\n  name: {wavlm}\n")
    monkeypatch.setenv("VOICEAUTHD_CONFIG", str(file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    # The helper process would be ready too late to help; test_embed_recording.py covers it.
    monkeypatch.setattr(embedding_workers, "MIN_JOBS_FOR_HELPER", 1000)
    return file


def strangers(model: ModelId) -> bytes:
    """The content of a cohort file: 30 random directions."""
    vectors = np.random.default_rng(0).standard_normal((30, model.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return encode_cohort(make_cohort(model, [(f"s{index}", vector) for index, vector in enumerate(vectors)], ("-",)))


def own_folder(config: Path, model: ModelId) -> Path:
    """The folder where the daemon looks."""
    return config.parent / "scoring" / folder_name(model)
