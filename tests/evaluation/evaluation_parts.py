"""What the tests of this folder are made of: scores of known distributions, trial lists, the demo's voices as one."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from voiceauthd.audio.block import Samples
from voiceauthd.embed.embedding import Embedding, ModelId, unit_embedding
from voiceauthd.evaluation.figures import Scored
from voiceauthd.evaluation.metrics import Curve, accept, rank

VOICES = Path(__file__).resolve().parents[2] / "daemon" / "voiceauthd" / "cli" / "demo_voices"

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


def scored(scores: Sequence[float], target: Sequence[bool], *, llr: bool = False, speakers: int = 20) -> Scored:
    """Trials of people in turn: who is enrolled speaks in target trials, the next one in others."""
    kinds = np.array(target, np.bool_)
    enrolled = np.arange(len(kinds)) % speakers
    return Scored(
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
    calibrated = False

    def __init__(self) -> None:
        self.clips = 0

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        self.clips += len(clips)
        return [unit_embedding(self._bands(clip), self.model) for clip in clips]

    def _bands(self, clip: Samples) -> np.ndarray:
        power = np.abs(np.fft.rfft(clip)) ** 2
        bands = np.log1p([float(np.sum(part)) for part in np.array_split(power, self.model.dimension)])
        return (bands - np.mean(bands)).astype(np.float32)


def die_with_work(connection: Connection, _model: object, _speech: object) -> None:
    """A helper that says it is ready, takes a job, and dies. Here, where no model is imported."""
    connection.send(os.environ[HELPERS_MODEL])
    connection.recv()
    os._exit(1)
