"""Voices for the tests of a login: real recorded people if ../shared/speech exists, else the two of the demo."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

import voiceauthd

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech"
DEMO = Path(voiceauthd.__file__).parent / "demo" / "voices"
RATE = 16_000
MIN_TEST_SECONDS = 4.0
"""A recording of this length certainly contains the two seconds of speech that a verification needs."""


@dataclass(frozen=True)
class Cast:
    """The recordings: of the owner, to enrol from; of the owner again; of somebody else; of noise without speech."""

    enrolment: Sequence[Path]
    owner: Path
    stranger: Path
    noise: Path | None


def cast() -> Cast:
    """Return two people of the development speech; without it, those of the demo."""
    if not (SPEECH / "dev" / "trials.csv").is_file():
        takes = [DEMO / f"ralph-{number}.flac" for number in (1, 2, 5)]
        return Cast(takes, DEMO / "verify-ralph.flac", DEMO / "verify-stranger.flac", None)
    dev = SPEECH / "dev"
    trials = [
        trial
        for trial in _rows(dev / "trials.csv")
        if trial["test_source"] == trial["enroll_source"] == "voxforge"
        and trial["label_doubt"] == "0"
        and float(trial["test_s"]) >= MIN_TEST_SECONDS
    ]
    targets = {trial["enroll_id"]: trial for trial in trials if trial["label"] == "target"}
    nontargets = [trial for trial in trials if trial["label"] == "nontarget" and trial["same_sex"] == "1"]
    strangers = {trial["enroll_id"]: trial for trial in nontargets}
    owner = min(set(targets) & set(strangers))
    files = next(row["files"] for row in _rows(dev / "enroll.csv") if row["enroll_id"] == owner)
    enrolment = [dev / file for file in files.split(";")]
    noise = SPEECH / "noise" / "esc10_rain"
    rain = min(noise.glob("*.flac"), default=None)
    return Cast(enrolment, dev / targets[owner]["test_path"], dev / strangers[owner]["test_path"], rain)


def samples(path: Path) -> np.ndarray:
    """Read a recording: float32, 16 kHz, mono."""
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.asarray(sound, np.float32)


def write_playable(path: Path, folder: Path) -> Path:
    """Write a recording with a quiet room before and after it, as a file that a sound server can play."""
    room = np.random.default_rng(0).normal(0.0, 10.0 ** (-75.0 / 20.0), RATE).astype(np.float32)
    played = folder / f"{path.stem}.wav"
    soundfile.write(played, np.concatenate([room[: RATE // 3], samples(path), room]), RATE)
    return played


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
