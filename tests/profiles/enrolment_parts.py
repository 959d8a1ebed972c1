"""Helpers for the tests of enrolment: windows as the segmenter cuts them, and a simulated speaker."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from profile_parts import MODEL, unit_vectors

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import EnrollConfig
from voiceauthd.embed.embedding import Embedding, Vector
from voiceauthd.profiles.enrolment import Enrolment
from voiceauthd.profiles.profile import Profile
from voiceauthd.profiles.take_verdict import TakeVerdict
from voiceauthd.speech.window import Quality, Window

ANNA, BERTA = unit_vectors(2, MODEL.dimension, seed=9)
GOOD = Quality(net_speech=0.0, snr_db=25.0, clipping=0.0, level_dbfs=-26.0)


def near(voice: Vector, rng: np.random.Generator) -> Vector:
    """Return a vector with cosine 0.8 to `voice`, so about 0.64 to other vectors of the same voice."""
    other = rng.standard_normal(len(voice))
    other -= np.dot(other, voice) * voice
    return (0.8 * voice + 0.6 * other / np.linalg.norm(other)).astype(np.float32)


def cut(
    seconds: float, speech: float = 1.0, quality: Quality = GOOD, utterance: int = 1, at: float = 0.0
) -> list[Window]:
    """Return the windows of an utterance: 1.5 s, then 3 s every 1.5 s, then the tail.

    speech  share of it that is speech
    at      start in seconds
    """
    ends = [1.5 * step for step in range(1, int(seconds / 1.5) + 1)]
    if seconds - (ends[-1] if ends else 0.0) >= 0.5:
        ends.append(seconds)
    windows = []
    before = 0.0
    for end in ends:
        start = max(0.0, end - 3.0)
        windows.append(
            Window(
                samples=np.zeros(round((end - start) * RATE), np.float32),
                start=round((at + start) * RATE),
                end=round((at + end) * RATE),
                captured=at + end,
                utterance=utterance,
                quality=dataclasses.replace(quality, net_speech=(end - start) * speech),
                new_speech=(end - before) * speech,
            )
        )
        before = end
    return windows


def joined(words: int, word: float = 0.6) -> list[Window]:
    """Return the windows of separate words, one every 1.5 s, from 1 s of speech on: each contains the words before it,
    up to 3 s of speech.
    """
    kept = int(3.0 / word)
    found: list[Window] = []
    for last in range(1, words):
        first = max(0, last + 1 - kept)
        count = last + 1 - first
        new = word if found else count * word
        quality = dataclasses.replace(GOOD, net_speech=count * word)
        start, end = round(1.5 * first * RATE), round((1.5 * last + word) * RATE)
        samples = np.zeros(round(count * word * RATE), np.float32)
        found.append(Window(samples, start, end, end / RATE, last + 1, quality, new))
    return found


class Speaker:
    """Gives takes to an enrolment; the embedding of each window is near the voice."""

    def __init__(self, enrolment: Enrolment, seed: int = 0) -> None:
        self.enrolment = enrolment
        self.rng = np.random.default_rng(seed)
        self.now = 0.0
        self.utterances = 0

    def say(self, seconds: float, voice: Vector = ANNA, speech: float = 1.0, quality: Quality = GOOD) -> TakeVerdict:
        windows = self.utter(seconds, speech, quality)
        return self.enrolment.take(windows, self.embed([voice] * len(windows)))

    def utter(self, seconds: float, speech: float = 1.0, quality: Quality = GOOD) -> list[Window]:
        """Return the windows of another utterance, which begins a second after the previous one."""
        self.utterances += 1
        windows = cut(seconds, speech, quality, self.utterances, self.now)
        self.now += seconds + 1.0
        return windows

    def embed(self, voices: Sequence[Vector]) -> list[Embedding]:
        return [Embedding(near(voice, self.rng), MODEL) for voice in voices]


def enrol(config: EnrollConfig | None = None, existing: Profile | None = None, mode: str = "new") -> Speaker:
    return Speaker(Enrolment("anna", MODEL, config or EnrollConfig(), owner_uid=1000, existing=existing, mode=mode))
