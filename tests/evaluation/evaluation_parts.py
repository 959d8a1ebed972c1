"""Helpers for the tests of this folder: scores of known distributions, trial lists, synthetic recordings."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.embed.embedding import Embedding, ModelId, unit_embedding
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.error_rates import METRICS, ScoredTrials
from voiceauthd.evaluation.metrics import Curve, accept, rank
from voiceauthd.evaluation.trials import Trial
from voiceauthd.speech.window import Quality, Window

VOICES = Path(__file__).resolve().parents[2] / "daemon" / "voiceauthd" / "demo" / "voices"

PEOPLE = {"ralph": "ralph", "susan": "susan"}

TESTS = {
    "turn-01-ralph.flac": "ralph",
    "turn-02-susan.flac": "susan",
    "turn-03-stranger.flac": "awb",
    "turn-04-susan.flac": "susan",
    "turn-05-ralph.flac": "ralph",
    "turn-06-stranger.flac": "kal16",
    "turn-07-ralph.flac": "ralph",
    "turn-08-susan.flac": "susan",
}
"""The speakers of the demo's turns."""


def curve_of(scores: Sequence[float], target: Sequence[bool]) -> Curve:
    return accept(rank(np.array(scores, np.float64), np.array(target, np.bool_)))


def gaussian(count: int, mean: float) -> np.ndarray:
    """`count` scores spread exactly like a normal distribution with deviation 1: its quantiles."""
    return mean + ndtri((np.arange(count) + 0.5) / count)


def scored(scores: Sequence[float], target: Sequence[bool], *, llr: bool = False, speakers: int = 20) -> ScoredTrials:
    """Trials of each person in turn: tested with their own voice in target trials, with the next person's in others."""
    targets = np.array(target, np.bool_)
    enrolled = np.arange(len(targets)) % speakers
    tested = np.where(targets, enrolled, (enrolled + 1) % speakers)
    return ScoredTrials(np.array(scores, np.float64), targets, enrolled, tested, llr)


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def enrolled_rows() -> list[dict[str, object]]:
    return [
        {"enroll_id": name, "speaker": name, "files": ";".join(f"{name}-{index}.flac" for index in range(1, 6))}
        for name in PEOPLE
    ]


def trial_rows() -> list[dict[str, object]]:
    return [
        {
            "enroll_id": name,
            "test_path": test,
            "label": "target" if speaker == name else "nontarget",
            "condition": "same_session" if speaker == name else "another_voice",
            "test_source": "enrolled" if speaker in PEOPLE else "strangers",
            "test_speaker": speaker,
            "label_doubt": 0,
        }
        for name in PEOPLE
        for test, speaker in TESTS.items()
    ]


def demo_list(folder: Path) -> Path:
    """Write the demo's recordings as a trial list: 6 target and 10 non-target trials."""
    folder.mkdir(exist_ok=True)
    for name in (*TESTS, *(f"{name}-{index}.flac" for name in PEOPLE for index in range(1, 6))):
        shutil.copy(VOICES / name, folder / name)
    write_table(folder / "enroll.csv", enrolled_rows())
    write_table(folder / "trials.csv", trial_rows())
    return folder


HELPER_MODEL_VARIABLE = "EVALUATION_TEST_MODEL"
"""Environment variable: the model that `die_with_work` claims to have."""


class BandEmbedder:
    """An embedder that needs no model: the power in 24 bands. Counts the clips it embeds."""

    model = ModelId("embedder", "1", "cd" * 32, "1", 24)
    threshold = 0.9

    def __init__(self) -> None:
        self.clips = 0

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        self.clips += len(clips)
        return [unit_embedding(self._bands(clip), self.model) for clip in clips]

    def _bands(self, clip: Samples) -> np.ndarray:
        power = np.abs(np.fft.rfft(clip)) ** 2
        bands = np.log1p([float(np.sum(part)) for part in np.array_split(power, self.model.dimension)])
        return (bands - np.mean(bands)).astype(np.float32)


MODEL = ModelId("synthetic", "1", "ef" * 32, "1", 32)

GOOD_QUALITY = Quality(net_speech=2.0, snr_db=25.0, clipping=0.0, level_dbfs=-25.0, bandwidth=8000.0)


def unit(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(vector, np.float64)
    return (values / np.linalg.norm(values)).astype(np.float32)


def axis(index: int, model: ModelId = MODEL) -> np.ndarray:
    return unit(np.eye(model.dimension)[index])


def window(
    at: float, speech: float, quality: Quality = GOOD_QUALITY, utterance: int = 1, new: float | None = None
) -> Window:
    """A window without samples at `at` seconds, `speech` seconds long, all of it speech."""
    quality = replace(quality, net_speech=speech)
    start, end = round(at * RATE), round((at + speech) * RATE)
    no_samples = np.zeros(0, np.float32)
    return Window(no_samples, start, end, at + speech, utterance, quality, speech if new is None else new)


def embedded(
    vectors: Sequence[np.ndarray], speech: float = 2.0, quality: Quality = GOOD_QUALITY, model: ModelId = MODEL
) -> EmbeddedSpeech:
    """A recording with a window for each vector, one after the other, each an utterance of `speech` seconds."""
    windows = tuple(window(index * speech, speech, quality, index + 1) for index in range(len(vectors)))
    return EmbeddedSpeech(windows, tuple(Embedding(vector, model) for vector in vectors), speech * len(vectors), 0)


def shortened(whole: EmbeddedSpeech, windows: int) -> EmbeddedSpeech:
    return EmbeddedSpeech(
        whole.windows[:windows], whole.embeddings[:windows], whole.net_speech / len(whole.windows) * windows, 0
    )


def trial(speaker: str, test_speaker: str, test_path: str = "") -> Trial:
    target = speaker == test_speaker
    return Trial("", speaker, test_path or test_speaker, target, speaker, test_speaker, "", "", "", 0)


@dataclass(frozen=True)
class SyntheticTrials:
    """Trials of people with known voices: all are enrolled and compared with everybody's tests, cut and whole."""

    trials: list[Trial]
    enrolments: dict[str, list[EmbeddedSpeech]]
    cut: dict[str, EmbeddedSpeech]
    tests: dict[str, EmbeddedSpeech]


def synthetic_trials(
    people: int = 30, spread: float = 1.2, seed: int = 0, *, first: int = 0, tests: int = 3
) -> SyntheticTrials:
    """
    spread  length of the random part of a window's vector; the voice itself has length 1
    first   number of the first person; other numbers are other people
    tests   per person
    """
    generator = np.random.default_rng((seed, first))
    names = [f"person {first + index}" for index in range(people)]
    voices = {name: unit(generator.standard_normal(MODEL.dimension)) for name in names}

    def speech_of(name: str, windows: int) -> EmbeddedSpeech:
        noise = generator.standard_normal((windows, MODEL.dimension)) * spread / np.sqrt(MODEL.dimension)
        quality = replace(GOOD_QUALITY, snr_db=float(generator.uniform(5.0, 40.0)))
        return embedded([unit(voices[name] + one) for one in noise], quality=quality)

    speaker = {f"{name}, {index}": name for name in names for index in range(tests)}
    whole = {path: speech_of(name, 3) for path, name in speaker.items()}
    return SyntheticTrials(
        [trial(one, other, path) for one in names for path, other in speaker.items()],
        {name: [speech_of(name, 2) for _ in range(1 + index % 3)] for index, name in enumerate(names)},
        {path: shortened(each, 1) for path, each in whole.items()},
        whole,
    )


def die_with_work(connection: Connection, _model: object, _speech: object) -> None:
    """A helper process that says it is ready, takes a job and dies. Here, because this module imports no model."""
    connection.send(os.environ[HELPER_MODEL_VARIABLE])
    connection.recv()
    os._exit(1)


TABLES = ("by_source", "by_condition", "by_net_speech")
"""Tables in the object that the command prints without noise and rooms."""


def evaluated(command, folder, *arguments):
    """Evaluate with CAM++ and return the object that is printed."""
    result = command(folder, "--model", "campplus", "--json", *arguments)
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def check_group(group):
    assert set(group) == {*METRICS, "trials", "rejected"}
    assert set(group["trials"]) == {"target", "nontarget", "speakers"}
    for name in METRICS:
        estimate = group[name]
        assert set(estimate) == {"value", "low", "high"}
        for number in estimate.values():
            assert number is None or (isinstance(number, float) and number >= 0.0 and math.isfinite(number))
        if name in ("eer", "frr_at_far_1e-2", "frr_at_far_1e-3") and estimate["value"] is not None:
            assert 0.0 <= estimate["low"] <= estimate["high"] <= 1.0, name
