"""Measures voice activity detection: missed frames and false alarms, of the first detector alone and of both.

    python benchmarks/measure_vad.py [--vad FOLDER] [--noise FOLDER]

The first folder has `segments.csv` (path, start, end: speech as marked by people, in seconds) and `manifest.csv` (path:
all clips); the second has `manifest.csv` (path, category, contains_speech), whose files without speech are used. By
default both are in `../shared/speech` next to the repository.

A frame counts as speech if its middle lies in a segment. `webrtcvad N` is the first detector alone, at aggressiveness
N. `both` are the frames that the segmenter classifies as speech, from which net speech is counted; `utterance` are all
frames from the beginning to the end of an utterance including pauses, like the marked segments.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.vad import FirstGate
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, SpeechEvent, Window

SHARED = Path(__file__).resolve().parents[2] / "shared" / "speech"

ALL_KINDS = "all"

Frames = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording with its marked speech, in seconds. `kind`: the row that it is counted in."""

    path: Path
    kind: str
    segments: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Whether each frame of a clip is speech, by detector, and the number of windows."""

    frames: Mapping[str, Frames]
    windows: int


@dataclass(slots=True)
class Tally:
    """Numbers of frames and windows. `missed` and `alarms`: frames by detector."""

    speech: int = 0
    other: int = 0
    windows: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)

    def add(self, truth: Frames, detections: Detections) -> None:
        self.speech += int(np.sum(truth))
        self.other += int(np.sum(~truth))
        self.windows += detections.windows
        for name, found in detections.frames.items():
            self.missed[name] = self.missed.get(name, 0) + int(np.sum(truth & ~found))
            self.alarms[name] = self.alarms.get(name, 0) + int(np.sum(~truth & found))


class Detectors:
    """The detectors as the daemon configures them."""

    def __init__(self, config: SpeechConfig) -> None:
        self.frame = config.frame_ms * RATE // 1000
        self._segmenter = Segmenter(config)

    def detect(self, samples: Samples) -> Detections:
        """Run all detectors on whole frames; a partial frame at the end is ignored."""
        samples = samples[: len(samples) - len(samples) % self.frame]
        found: dict[str, Frames] = {f"webrtcvad {level}": self._first(samples, level) for level in range(4)}
        spoken = np.zeros(len(samples) // self.frame, np.bool_)
        inside = np.zeros(len(spoken), np.bool_)
        windows = began = 0
        for each in self._segment(samples, spoken):
            windows += isinstance(each, Window)
            if isinstance(each, SpeechBegan):
                began = each.start // self.frame
            elif isinstance(each, SpeechEnded):
                inside[began : each.start // self.frame] = True
        return Detections({**found, "both": spoken, "utterance": inside}, windows)

    def _first(self, samples: Samples, aggressiveness: int) -> Frames:
        gate = FirstGate(aggressiveness)
        return np.array([gate.voiced(samples[at : at + self.frame]) for at in range(0, len(samples), self.frame)], bool)

    def _segment(self, samples: Samples, spoken: Frames) -> Iterator[SpeechEvent]:
        """Run the segmenter, mark in `spoken` the frames that it classifies as speech, and yield its events."""
        self._segmenter.restart()
        for at in range(0, len(samples), self.frame):
            found = self._segmenter.push(Block(samples[at : at + self.frame], at, (at + self.frame) / RATE))
            began = any(isinstance(each, SpeechBegan) for each in found)
            # At the beginning of an utterance, include the pre-roll.
            for frame in self._segmenter.current_frames[None if began else -1 :]:
                spoken[frame.start // self.frame] = frame.speech
            yield from found
        yield from self._segmenter.flush(len(samples) / RATE)


def truth(segments: Iterable[tuple[float, float]], frames: int, frame: int) -> Frames:
    """Whether the middle of each frame lies in a segment. frame: its length in samples."""
    middles = (np.arange(frames) + 0.5) * frame / RATE
    marked = np.zeros(frames, np.bool_)
    for start, end in segments:
        marked |= (middles >= start) & (middles < end)
    return marked


def clips_with_speech(folder: Path) -> list[Clip]:
    """The marked clips. Their kind is their name without its number: `ami_dev`, `ami_trn`, …"""
    segments: dict[str, list[tuple[float, float]]] = {}
    for row in _rows(folder / "segments.csv"):
        segments.setdefault(row["path"], []).append((float(row["start"]), float(row["end"])))
    return [
        Clip(folder / row["path"], Path(row["path"]).stem.rstrip("0123456789"), tuple(segments.get(row["path"], ())))
        for row in _rows(folder / "manifest.csv")
    ]


def clips_of_noise(folder: Path) -> list[Clip]:
    """The files without speech. Their kind is their category."""
    rows = [row for row in _rows(folder / "manifest.csv") if row["contains_speech"] == "no"]
    return [Clip(folder / row["path"], row["category"]) for row in rows]


def count(clips: Sequence[Clip], detectors: Detectors) -> dict[str, Tally]:
    """The tally of each kind, and of all clips."""
    tallies: dict[str, Tally] = {}
    for clip in clips:
        detections = detectors.detect(read_recording(clip.path))
        marked = truth(clip.segments, len(detections.frames["both"]), detectors.frame)
        for kind in (clip.kind, ALL_KINDS):
            tallies.setdefault(kind, Tally()).add(marked, detections)
    tallies[ALL_KINDS] = tallies.pop(ALL_KINDS)  # move it to the end
    return tallies


def speech_table(tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Misses and false alarms, in per cent of the speech frames and of the other frames."""
    yield f"{'clips':10}{'speech':>8}{'other':>8}  {'detector':14}{'missed':>9}{'false alarms':>15}"
    for kind, tally in tallies.items():
        for index, name in enumerate(tally.missed):
            head = "" if index else f"{kind:10}{tally.speech:8}{tally.other:8}"
            missed, alarms = _share(tally.missed[name], tally.speech), _share(tally.alarms[name], tally.other)
            yield f"{head:26}  {name:14}{missed:>9}{alarms:>15}"


def noise_table(tallies: Mapping[str, Tally], frame: int) -> Iterator[str]:
    """False alarms, in per cent of the frames, and the windows that would reach the model."""
    names = list(tallies[ALL_KINDS].alarms)
    heads = [name.replace("webrtcvad ", "webrtc ") for name in names]
    yield f"{'noise':22}{'minutes':>8}" + "".join(f"{head:>10}" for head in heads) + f"{'windows':>9}{'a minute':>10}"
    for kind, tally in tallies.items():
        minutes = tally.other * frame / RATE / 60.0
        shares = "".join(f"{_share(tally.alarms[name], tally.other):>10}" for name in names)
        yield f"{kind:22}{minutes:8.2f}{shares}{tally.windows:9}{tally.windows / minutes:10.2f}"


def _share(part: int, whole: int) -> str:
    return f"{100.0 * part / whole:.1f} %" if whole else "-"


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Measure voice activity detection.")
    parser.add_argument("--vad", type=Path, default=SHARED / "vad", help="folder with segments.csv and manifest.csv")
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="folder with manifest.csv")
    chosen = parser.parse_args()
    config = SpeechConfig()
    detectors = Detectors(config)
    speech = count(clips_with_speech(chosen.vad), detectors)
    print(f"Frames of {config.frame_ms} ms; the daemon's first detector is webrtcvad {config.aggressiveness}.\n")
    print("\n".join(speech_table(speech)))
    print()
    print("\n".join(noise_table(count(clips_of_noise(chosen.noise), detectors), detectors.frame)))


if __name__ == "__main__":
    main()
