"""How well speech is told from noise: frames missed and false alarms, of the first detector alone and of both.

    python benchmarks/measure_vad.py [--vad FOLDER] [--noise FOLDER]

The first folder has `segments.csv` (path, start, end: where people speak, in seconds, as people marked it) and
`manifest.csv` (path: all clips); the second has `manifest.csv` (path, category, contains_speech), of which the files
without speech are taken. Without arguments both are looked for in `../shared/speech` beside the repository.

A frame counts as speech if its middle lies in a segment. `webrtcvad N` is the first detector alone, at aggressiveness
N. `both` are the frames that the segmenter calls speech, which net speech is counted from; `utterance` are all frames
between an utterance's beginning and its end, its pauses too, as the people who marked the segments left them in.
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
from voiceauthd.speech.window import Speech, SpeechBegan, SpeechEnded, Window

SHARED = Path(__file__).resolve().parents[2] / "shared" / "speech"

POOLED = "all"

Frames = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and where people speak in it. `kind`: what it is counted with."""

    path: Path
    kind: str
    segments: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What each detector says of each frame of a clip, by detector, and how many windows were cut."""

    frames: Mapping[str, Frames]
    windows: int


@dataclass(slots=True)
class Tally:
    """Frames counted. `missed` and `alarms` by detector."""

    speech: int = 0
    other: int = 0
    windows: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)

    def add(self, truth: Frames, verdicts: Verdicts) -> None:
        self.speech += int(np.sum(truth))
        self.other += int(np.sum(~truth))
        self.windows += verdicts.windows
        for name, found in verdicts.frames.items():
            self.missed[name] = self.missed.get(name, 0) + int(np.sum(truth & ~found))
            self.alarms[name] = self.alarms.get(name, 0) + int(np.sum(~truth & found))


class BothDetectors:
    """All the detectors, as the daemon makes them."""

    def __init__(self, config: SpeechConfig) -> None:
        self.frame = config.frame_ms * RATE // 1000
        self._segmenter = Segmenter(config)

    def hear(self, samples: Samples) -> Verdicts:
        """Of whole frames; what is left over at the end is not looked at."""
        samples = samples[: len(samples) - len(samples) % self.frame]
        found: dict[str, Frames] = {f"webrtcvad {level}": self._first(samples, level) for level in range(4)}
        spoken = np.zeros(len(samples) // self.frame, np.bool_)
        inside = np.zeros(len(spoken), np.bool_)
        segmenter, windows, began = self._segmenter, 0, 0
        segmenter.restart()
        for each in self._listen(samples, spoken):
            windows += isinstance(each, Window)
            if isinstance(each, SpeechBegan):
                began = each.start // self.frame
            elif isinstance(each, SpeechEnded):
                inside[began : each.start // self.frame] = True
        return Verdicts({**found, "both": spoken, "utterance": inside}, windows)

    def _first(self, samples: Samples, aggressiveness: int) -> Frames:
        gate = FirstGate(aggressiveness)
        return np.array([gate.voiced(samples[at : at + self.frame]) for at in range(0, len(samples), self.frame)], bool)

    def _listen(self, samples: Samples, spoken: Frames) -> Iterator[Speech]:
        """What the segmenter finds; the frames that it calls speech are marked."""
        for at in range(0, len(samples), self.frame):
            found = self._segmenter.push(Block(samples[at : at + self.frame], at, (at + self.frame) / RATE))
            began = any(isinstance(each, SpeechBegan) for each in found)
            for frame in self._segmenter.under_way[None if began else -1 :]:  # with the pre-roll, if it has just begun
                spoken[frame.start // self.frame] = frame.speech
            yield from found
        yield from self._segmenter.flush(len(samples) / RATE)


def truth(segments: Iterable[tuple[float, float]], frames: int, frame: int) -> Frames:
    """Whether the middle of each frame, so many samples long, lies in a segment."""
    middles = (np.arange(frames) + 0.5) * frame / RATE
    marked = np.zeros(frames, np.bool_)
    for start, end in segments:
        marked |= (middles >= start) & (middles < end)
    return marked


def clips_with_speech(folder: Path) -> list[Clip]:
    """Counted by the letters that their names begin with: `ami_dev`, `ami_trn`, …"""
    segments: dict[str, list[tuple[float, float]]] = {}
    for row in _rows(folder / "segments.csv"):
        segments.setdefault(row["path"], []).append((float(row["start"]), float(row["end"])))
    return [
        Clip(folder / row["path"], Path(row["path"]).stem.rstrip("0123456789"), tuple(segments.get(row["path"], ())))
        for row in _rows(folder / "manifest.csv")
    ]


def clips_of_noise(folder: Path) -> list[Clip]:
    """The files without speech, counted by category."""
    rows = [row for row in _rows(folder / "manifest.csv") if row["contains_speech"] == "no"]
    return [Clip(folder / row["path"], row["category"]) for row in rows]


def count(clips: Sequence[Clip], detectors: BothDetectors) -> dict[str, Tally]:
    """By kind, and of all."""
    tallies: dict[str, Tally] = {}
    for clip in clips:
        verdicts = detectors.hear(read_recording(clip.path))
        marked = truth(clip.segments, len(verdicts.frames["both"]), detectors.frame)
        for kind in (clip.kind, POOLED):
            tallies.setdefault(kind, Tally()).add(marked, verdicts)
    tallies[POOLED] = tallies.pop(POOLED)  # last
    return tallies


def speech_table(tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Misses and false alarms, in per cent of the frames of speech and of the others."""
    yield f"{'clips':10}{'speech':>8}{'other':>8}  {'detector':14}{'missed':>9}{'false alarms':>15}"
    for kind, tally in tallies.items():
        for index, name in enumerate(tally.missed):
            head = "" if index else f"{kind:10}{tally.speech:8}{tally.other:8}"
            missed, alarms = _share(tally.missed[name], tally.speech), _share(tally.alarms[name], tally.other)
            yield f"{head:26}  {name:14}{missed:>9}{alarms:>15}"


def noise_table(tallies: Mapping[str, Tally], frame: int) -> Iterator[str]:
    """False alarms, in per cent of the frames, and the windows that would reach the model."""
    names = list(tallies[POOLED].alarms)
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
    """Prints both tables."""
    parser = argparse.ArgumentParser(description="How well speech is told from noise.")
    parser.add_argument("--vad", type=Path, default=SHARED / "vad", help="folder with segments.csv and manifest.csv")
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="folder with manifest.csv")
    chosen = parser.parse_args()
    config = SpeechConfig()
    detectors = BothDetectors(config)
    speech = count(clips_with_speech(chosen.vad), detectors)
    print(f"Frames of {config.frame_ms} ms; the daemon's first detector is webrtcvad {config.aggressiveness}.\n")
    print("\n".join(speech_table(speech)))
    print()
    print("\n".join(noise_table(count(clips_of_noise(chosen.noise), detectors), detectors.frame)))


if __name__ == "__main__":
    main()
