"""What the tests of this folder are made of: scores of known distributions, trial lists, the demo's voices as one."""

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
from voiceauthd.evaluation.error_rates import NAMES, ScoredTrials
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
"""Who speaks in the demo's turns."""


def curve_of(scores: Sequence[float], target: Sequence[bool]) -> Curve:
    return accept(rank(np.array(scores, np.float64), np.array(target, np.bool_)))


def gaussian(count: int, mean: float) -> np.ndarray:
    """So many scores that are spread exactly as a normal distribution with deviation 1: its quantiles."""
    return mean + ndtri((np.arange(count) + 0.5) / count)


def scored(scores: Sequence[float], target: Sequence[bool], *, llr: bool = False, speakers: int = 20) -> ScoredTrials:
    """Trials of people in turn: who is enrolled speaks in target trials, the next one in others."""
    kinds = np.array(target, np.bool_)
    enrolled = np.arange(len(kinds)) % speakers
    return ScoredTrials(
        np.array(scores, np.float64), kinds, enrolled, np.where(kinds, enrolled, (enrolled + 1) % speakers), llr
    )


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
    """The demo's voices as a trial list: 6 target and 10 non-target trials."""
    folder.mkdir(exist_ok=True)
    for name in (*TESTS, *(f"{name}-{index}.flac" for name in PEOPLE for index in range(1, 6))):
        shutil.copy(VOICES / name, folder / name)
    write_table(folder / "enroll.csv", enrolled_rows())
    write_table(folder / "trials.csv", trial_rows())
    return folder


HELPERS_MODEL = "EVALUATION_TEST_MODEL"
"""In the environment: the model that a helper says it has."""


class Ear:
    """An embedder that needs no model: how much power there is in 24 bands. Counts what it is asked."""

    model = ModelId("ear", "1", "cd" * 32, "1", 24)
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


MODEL = ModelId("world", "1", "ef" * 32, "1", 32)

GOOD = Quality(net_speech=2.0, snr_db=25.0, clipping=0.0, level_dbfs=-25.0, bandwidth=8000.0)


def unit(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    found = np.asarray(vector, np.float64)
    return (found / np.linalg.norm(found)).astype(np.float32)


def axis(index: int, model: ModelId = MODEL) -> np.ndarray:
    return unit(np.eye(model.dimension)[index])


def window(at: float, speech: float, quality: Quality = GOOD, utterance: int = 1, new: float | None = None) -> Window:
    """Blank, of so many seconds, all of them speech."""
    whole = replace(quality, net_speech=speech)
    start, end = round(at * RATE), round((at + speech) * RATE)
    blank = np.zeros(0, np.float32)
    return Window(blank, start, end, at + speech, utterance, whole, speech if new is None else new)


def take(
    vectors: Sequence[np.ndarray], speech: float = 2.0, quality: Quality = GOOD, model: ModelId = MODEL
) -> EmbeddedSpeech:
    """A recording with a window for each vector, one right behind the other, each an utterance of so many seconds."""
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
class World:
    """People of known voices: everybody is enrolled, and every test of everybody held against that, cut and whole."""

    trials: list[Trial]
    enrolments: dict[str, list[EmbeddedSpeech]]
    cut: dict[str, EmbeddedSpeech]
    tests: dict[str, EmbeddedSpeech]


def world(people: int = 30, spread: float = 1.2, seed: int = 0, *, first: int = 0, tests: int = 3) -> World:
    """spread: length of what is random in a window, where the voice itself has length 1. first: number of the first
    person, who are others for each. tests: of each person."""
    generator = np.random.default_rng((seed, first))
    names = [f"person {first + index}" for index in range(people)]
    voices = {name: unit(generator.standard_normal(MODEL.dimension)) for name in names}

    def say(name: str, windows: int) -> EmbeddedSpeech:
        noise = generator.standard_normal((windows, MODEL.dimension)) * spread / np.sqrt(MODEL.dimension)
        level = replace(GOOD, snr_db=float(generator.uniform(5.0, 40.0)))
        return take([unit(voices[name] + one) for one in noise], quality=level)

    said = {f"{name}, {index}": name for name in names for index in range(tests)}
    whole = {path: say(name, 3) for path, name in said.items()}
    return World(
        [trial(one, other, path) for one in names for path, other in said.items()],
        {name: [say(name, 2) for _ in range(1 + index % 3)] for index, name in enumerate(names)},
        {path: shortened(each, 1) for path, each in whole.items()},
        whole,
    )


def die_with_work(connection: Connection, _model: object, _speech: object) -> None:
    """A helper that says it is ready, takes a job, and dies. Here, where no model is imported."""
    connection.send(os.environ[HELPERS_MODEL])
    connection.recv()
    os._exit(1)


TABLES = ("by_source", "by_condition", "by_net_speech")
"""Of the object that the command prints, without noise and rooms."""


def evaluated(command, folder, *arguments):
    ended = command(folder, "--model", "campplus", "--json", *arguments)
    assert ended.stdout.count("\n") == 1
    return json.loads(ended.stdout)


def check_group(group):
    assert set(group) == {*NAMES, "trials", "rejected"}
    assert set(group["trials"]) == {"target", "nontarget", "speakers"}
    for name in NAMES:
        figure = group[name]
        assert set(figure) == {"value", "low", "high"}
        for number in figure.values():
            assert number is None or (isinstance(number, float) and number >= 0.0 and math.isfinite(number))
        if name in ("eer", "frr_at_far_1e-2", "frr_at_far_1e-3") and figure["value"] is not None:
            assert 0.0 <= figure["low"] <= figure["high"] <= 1.0, name
