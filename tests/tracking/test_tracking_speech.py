"""`Tracker` on recorded speech: turns of two enrolled people and a stranger, from samples to labels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from models import campplus_cache, development_speech, rows

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import Config, ModelConfig
from voiceauthd.embed.embedding import Embedder, Embedding
from voiceauthd.embed.load import load_embedder
from voiceauthd.pipeline.recogniser import Recogniser, ScoredWindow
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.scoring.backend import NO_BACKEND, Backend, shipped_backend
from voiceauthd.scoring.policy import MONITOR, make_policies
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, Window
from voiceauthd.tracking.tracker import Label, Tracker

PAUSE = 1.0
"""Seconds between two turns. Shorter than the dwell, so the label goes directly from one person to the next."""

MAX_TURN = 5.0
"""Seconds of a turn, to keep the test short."""

CONVERSATIONS = [("librispeech-other", 0, 1), ("arabic-sc", 0, 3)]
"""Source, and which two of its people are enrolled and talk. The stranger is another one, who is not enrolled."""


class CachingEmbedder:
    """An embedder that embeds each clip only once, because several rules judge the same conversation."""

    def __init__(self, embedder: Embedder) -> None:
        self.model = embedder.model
        self.threshold = embedder.threshold
        self._embedder = embedder
        self._known: dict[bytes, Embedding] = {}

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        for clip in clips:
            if clip.tobytes() not in self._known:
                (self._known[clip.tobytes()],) = self._embedder.embed([clip])
        return [self._known[clip.tobytes()] for clip in clips]


@functools.cache
def embedder() -> CachingEmbedder:
    return CachingEmbedder(load_embedder(ModelConfig(name="campplus", cache=campplus_cache(), threads=1)))


def read(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return samples


def quiet(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0.0, 10.0 ** (-75.0 / 20.0), round(seconds * RATE)).astype(np.float32)


def enrolled(folder: Path, name: str, files: str) -> Profile:
    takes = [embedder().embed([read(folder / file)[: 10 * RATE]])[0].vector for file in files.split(";")[:3]]
    exemplars = tuple(Exemplar(take, 4.0, None, "default", timestamp()) for take in takes)
    return Profile(name, new_uid(), 1, None, embedder().model, exemplars, timestamp(), timestamp())


def conversation(source: str, one: int, other: int) -> tuple[list[Profile], Samples, list[str]]:
    """Return the profiles of two people, the audio, and the name of the speaker of each turn."""
    folder = development_speech()
    people = [row for row in rows(folder, "enroll.csv") if row["source"] == source]
    tests: dict[str, list[str]] = {}
    for row in rows(folder, "trials.csv"):
        if row["label"] == "target" and row["label_doubt"] == "0":
            tests.setdefault(row["enroll_id"], []).append(row["test_path"])
    people = [row for row in people if len(tests.get(row["enroll_id"], [])) >= 2]
    a, b = people[one], people[other]
    stranger = next(row for row in people if row not in (a, b))
    turns = [(a, 0), (b, 0), (a, 1), (stranger, 0)]
    pieces = [quiet(1.0)]
    for person, number in turns:
        pieces += [read(folder / tests[person["enroll_id"]][number])[: round(MAX_TURN * RATE)], quiet(PAUSE)]
    profiles = [enrolled(folder, row["enroll_id"], row["files"]) for row in (a, b)]
    speakers = ["somebody" if person is stranger else person["enroll_id"] for person, _ in turns]
    return profiles, np.concatenate([*pieces, quiet(2.0)]), speakers


def labels_of(samples: Samples, tracker: Tracker, recogniser: Recogniser, config: Config) -> list[Label]:
    """Return every label up to the end of the audio."""
    blocks = [Block(samples[at : at + 1600], at, (at + 1600) / RATE) for at in range(0, len(samples), 1600)]
    labels: list[Label | None] = []
    for event in segment(blocks, Segmenter(config.speech)):
        match event:
            case Window():
                (result,) = recogniser.recognise([event])
                assert isinstance(result, ScoredWindow)
                labels.append(tracker.add_scored(result.window, result.scores, result.identified))
            case SpeechBegan():
                labels.append(tracker.speech_began(event))
            case SpeechEnded():
                labels.append(tracker.speech_ended(event))
    assert tracker.expires is not None
    labels.append(tracker.silence())
    return [label for label in labels if label is not None]


def backend_of(kind: str, speakers: list[str]) -> Backend:
    if kind == "cosines":
        return NO_BACKEND
    shipped = shipped_backend(embedder().model)
    if shipped.calibration is None:
        pytest.skip("the package contains no calibration of CAM++")
    return shipped.without(speakers)


@pytest.mark.parametrize("kind", ["cosines", "ratios"])
@pytest.mark.parametrize(("source", "one", "other"), CONVERSATIONS)
def test_the_label_follows_a_conversation_and_does_not_flicker(source: str, one: int, other: int, kind: str) -> None:
    profiles, samples, speakers = conversation(source, one, other)
    config = Config()
    backend = backend_of(kind, [profile.name for profile in profiles])
    rule = make_policies(config, embedder().threshold, backend)[MONITOR].rule
    assert rule.calibrated == (kind == "ratios")
    recogniser = Recogniser(embedder(), make_gallery(profiles, embedder().model, backend), rule, config.gate)
    labels = labels_of(samples, Tracker(rule, config.monitor), recogniser, config)
    names = [label.identity or {"unknown": "somebody"}.get(label.recognition.value) for label in labels]
    assert names == [*speakers, None]
    assert [label.since for label in labels] == sorted(label.since for label in labels)
