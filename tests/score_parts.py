"""Helpers for the tests of scoring and tracking: small voices, profiles, strangers, windows without audio."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from backends import made_up_calibration
from hypothesis import strategies as st

from voiceauthd.audio.block import RATE
from voiceauthd.embed.embedding import Embedding, ModelId, Vector
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.scoring.calibration import Calibration, Evidence
from voiceauthd.scoring.cohort import Cohort, make_cohort
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.decision import Score
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.speech.window import Quality, Window

DIMENSION = 6
MODEL = ModelId("tiny", "1", "ab" * 32, "1", DIMENSION)
OTHER_MODEL = ModelId("tiny", "2", "ab" * 32, "1", DIMENSION)
RULE = Rule(policy="unlock", calibrated=False, accept=0.5, reject=0.3, margin=0.05, min_speech=1.0, agreement=0.2)
RATIOS = Rule(policy="unlock", calibrated=True, accept=6.9, reject=-3.0, margin=0.05, min_speech=1.0, agreement=0.2)

COSINES = st.floats(-1.0, 1.0, allow_nan=False)
ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
BROKEN = (math.nan, math.inf, -math.inf)
NAMES = ("anna", "ben", "cleo", "dora")

RULES = st.builds(
    lambda calibrated, reject, between, margin, min_speech, agreement: Rule(
        "unlock", calibrated, reject + between, reject, margin, min_speech, agreement
    ),
    calibrated=st.booleans(),
    reject=st.floats(-5.0, 1.0),
    between=st.floats(0.0, 5.0),
    margin=st.floats(0.0, 0.5),
    min_speech=st.floats(1.0, 3.0),
    agreement=st.floats(-1.0, 1.0),
)


def score(name: str, value: float) -> Score:
    """Return a score in which every value is the same."""
    return Score(name, value, value, value)


def scores(values: Iterable[float]) -> list[Score]:
    """Return one score for each value, named in the order of `NAMES`."""
    return [score(name, value) for name, value in zip(NAMES, values, strict=False)]


def unit(values: Sequence[float]) -> Vector:
    vector = np.asarray(values, np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def axis(index: int) -> Vector:
    return unit(np.eye(DIMENSION)[index])


def embedding(vector: Vector, model: ModelId = MODEL) -> Embedding:
    return Embedding(vector, model)


def voice(vector: Vector, model: ModelId = MODEL, net_speech: float = 3.0, snr_db: float | None = 20.0) -> PooledSpeech:
    return PooledSpeech(embedding(vector, model), net_speech, snr_db)


def between(cosine: float, one: int = 0, other: int = 1) -> Vector:
    """Return a vector with this cosine to axis `one`, in the plane of both axes."""
    return unit(cosine * axis(one) + math.sqrt(1.0 - cosine**2) * axis(other))


def profile(
    name: str, vectors: Sequence[Vector], model: ModelId = MODEL, conditions: Sequence[str] | None = None
) -> Profile:
    kinds = conditions or ["default"] * len(vectors)
    exemplars = tuple(
        Exemplar(vector, 4.0, 20.0, kind, timestamp()) for vector, kind in zip(vectors, kinds, strict=True)
    )
    return Profile(name, new_uid(), 1, None, model, exemplars, timestamp(), timestamp())


def window(new_speech: float, net_speech: float | None = None, at: float = 0.0, snr_db: float | None = 20.0) -> Window:
    """Return a window without audio. net_speech: of the whole window, also its duration; at: start in seconds."""
    speech = new_speech if net_speech is None else net_speech
    lasts = speech if math.isfinite(speech) else 3.0
    quality = Quality(speech, snr_db, 0.0, -25.0)
    samples = np.zeros(0, np.float32)
    return Window(samples, round(at * RATE), round((at + lasts) * RATE), 0.0, 1, quality, new_speech)


def vectors(dimension: int = DIMENSION) -> st.SearchStrategy[Vector]:
    """Any direction; an axis more often than by chance."""
    axes = [sign * row for row in np.eye(dimension, dtype=np.float32) for sign in (1, -1)]
    anywhere = st.integers(0, 2**32 - 1).map(lambda seed: unit(np.random.default_rng(seed).standard_normal(dimension)))
    return st.sampled_from(axes) | anywhere


def strangers(count: int = 30, model: ModelId = MODEL, seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    voices = [(f"stranger {index}", unit(rng.standard_normal(model.dimension))) for index in range(count)]
    return make_cohort(model, voices, ("made up, CC0",))


def evidence(
    normalised: float = 0.4,
    level: float = 0.2,
    net_speech: float = 3.0,
    exemplars: int = 5,
    snr_db: float | None = 20.0,
) -> Evidence:
    return Evidence(normalised, level, net_speech, exemplars, snr_db)


def calibration(**changes: object) -> Calibration:
    """Return a calibration for `strangers()` with an LLR of about 0 at a normalised score of 0.3."""
    plain = {
        "offset": -9.0,
        "weights": (30.0, -2.0, 0.5, 1.5, 0.25, 0.01),
        "speakers": tuple(f"speaker {index}" for index in range(60)),
        "mincllr": 0.025,
    }
    return made_up_calibration(strangers(), **plain | changes)
