"""Voices for the tests of a login: real recorded people where ../shared/speech is, else the two of the demo."""

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
SHORTEST = 4.0
"""Seconds of a recording that surely holds the two seconds of speech that a verification wants."""


@dataclass(frozen=True)
class Cast:
    """Who plays: the owner's recordings to enrol from, the owner again, somebody else, and noise without speech."""

    enrolment: Sequence[Path]
    owner: Path
    stranger: Path
    noise: Path | None


def cast() -> Cast:
    """Two people of the development speech; without it, those of the demo."""
    if not (SPEECH / "dev" / "trials.csv").is_file():
        takes = [DEMO / f"ralph-{number}.flac" for number in (1, 2, 5)]
        return Cast(takes, DEMO / "verify-ralph.flac", DEMO / "verify-stranger.flac", None)
    dev = SPEECH / "dev"
    trials = [
        trial
        for trial in _rows(dev / "trials.csv")
        if trial["test_source"] == trial["enroll_source"] == "voxforge"
        and trial["label_doubt"] == "0"
        and float(trial["test_s"]) >= SHORTEST
    ]
    targets = {trial["enroll_id"]: trial for trial in trials if trial["label"] == "target"}
    strangers = [trial for trial in trials if trial["label"] == "nontarget" and trial["same_sex"] == "1"]
    others = {trial["enroll_id"]: trial for trial in strangers}
    who = min(set(targets) & set(others))
    files = next(row["files"] for row in _rows(dev / "enroll.csv") if row["enroll_id"] == who)
    enrolment = [dev / file for file in files.split(";")]
    noise = SPEECH / "noise" / "esc10_rain"
    rain = min(noise.glob("*.flac"), default=None)
    return Cast(enrolment, dev / targets[who]["test_path"], dev / others[who]["test_path"], rain)


def samples(path: Path) -> np.ndarray:
    """A recording: float32, 16 kHz, mono."""
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.asarray(sound, np.float32)


def to_be_played(path: Path, folder: Path) -> Path:
    """With a quiet room before and behind it, as a file that a sound server plays."""
    tone = np.random.default_rng(0).normal(0.0, 10.0 ** (-75.0 / 20.0), RATE).astype(np.float32)
    played = folder / f"{path.stem}.wav"
    soundfile.write(played, np.concatenate([tone[: RATE // 3], samples(path), tone]), RATE)
    return played


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
