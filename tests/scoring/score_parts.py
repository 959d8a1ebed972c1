"""What the tests of this folder are made of: voices of few dimensions, profiles of them, windows without sound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from voiceauthd.embed.embedding import Embedding, ModelId, Vector
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.decision import Score
from voiceauthd.speech.window import Quality, Window

DIMENSION = 6
MODEL = ModelId("tiny", "1", "ab" * 32, "1", DIMENSION)
OTHER_MODEL = ModelId("tiny", "2", "ab" * 32, "1", DIMENSION)
RULE = Rule(threshold=0.5, margin=0.05, min_speech=1.0, calibrated=False)

COSINES = st.floats(-1.0, 1.0, allow_nan=False)
ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
NAMES = ("anna", "ben", "cleo", "dora")


def score(name: str, cosine: float) -> Score:
    return Score(name, cosine, cosine, cosine)


def scores(values: Iterable[float]) -> list[Score]:
    """One each, named in the order of `NAMES`."""
    return [score(name, value) for name, value in zip(NAMES, values, strict=False)]


def unit(values: Sequence[float]) -> Vector:
    vector = np.asarray(values, np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def axis(index: int) -> Vector:
    return unit(np.eye(DIMENSION)[index])


def voice(vector: Vector, model: ModelId = MODEL) -> Embedding:
    return Embedding(vector, model)


def between(cosine: float, one: int = 0, other: int = 1) -> Embedding:
    """A voice at that cosine from axis `one`, towards axis `other`."""
    return voice(unit(cosine * axis(one) + math.sqrt(1.0 - cosine**2) * axis(other)))


def profile(name: str, vectors: Sequence[Vector], model: ModelId = MODEL) -> Profile:
    exemplars = tuple(Exemplar(vector, 4.0, 20.0, "default", timestamp()) for vector in vectors)
    return Profile(name, new_uid(), 1, None, model, exemplars, timestamp(), timestamp())


def window(new_speech: float, net_speech: float | None = None) -> Window:
    """A window of which only the amount of speech matters."""
    quality = Quality(new_speech if net_speech is None else net_speech, 20.0, 0.0, -25.0)
    return Window(np.zeros(0, np.float32), 0, 0.0, 1, quality, new_speech)


def vectors(dimension: int = DIMENSION) -> st.SearchStrategy[Vector]:
    """Any direction."""
    numbers = st.lists(st.floats(-1.0, 1.0, width=32), min_size=dimension, max_size=dimension)
    return numbers.filter(lambda values: float(np.linalg.norm(values)) > 0.1).map(unit)
