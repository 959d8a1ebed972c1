"""The same test recordings in noise and in rooms. Enrolments stay as they are: people enrol in a quiet moment.

Which noise and which room a recording meets follows from its path and the seed, so that it is the same every time, and
the same noise at all levels.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.errors import AudioError, UsageError
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.speech.quality import power

LEVELS_DB = (20.0, 10.0, 5.0, 0.0)
"""Signal-to-noise ratios."""

SUFFIXES = {".flac", ".wav", ".ogg", ".mp3"}

PEAK = 0.99
"""What would be louder than this is made quieter as a whole: a microphone's clipping is another disturbance."""

FAINT = 0.01
"""A stretch of noise with less than this share of the file's power is a pause in it."""

TAIL = 0.5
"""Seconds of echo that are kept behind the recording."""


@dataclass(frozen=True, slots=True)
class AddNoise:
    """Noise under a recording, `snr_db` below the level of its speech.

    digest       of the noise file's content
    offset       where in the noise it begins, 0 to 1; short noise is repeated
    speech_dbfs  mean power of the frames with speech; None if none was found: of the whole recording
    """

    file: Path
    digest: str
    offset: float
    snr_db: float
    speech_dbfs: float | None

    @property
    def key(self) -> str:
        """See `Change`."""
        return f"noise {self.digest} {self.offset!r} {self.snr_db!r} {self.speech_dbfs!r}"

    def __call__(self, samples: Samples) -> Samples:
        """See `Change`."""
        noise = _stretch(read_recording(self.file), len(samples), self.offset)
        level = 10.0 ** (self.speech_dbfs / 10.0) if self.speech_dbfs is not None else power(samples)
        gain = math.sqrt(level / 10.0 ** (self.snr_db / 10.0) / power(noise))
        return _within_scale(samples + np.float32(gain) * noise)


@dataclass(frozen=True, slots=True)
class Reverberate:
    """A recording as it would sound in the room of an impulse response, as loud as before."""

    file: Path
    digest: str

    @property
    def key(self) -> str:
        """See `Change`."""
        return f"room {self.digest}"

    def __call__(self, samples: Samples) -> Samples:
        """See `Change`. The sound travels no time: the response counts from its peak."""
        from scipy.signal import fftconvolve

        response = read_recording(self.file).astype(np.float64)
        direct = int(np.argmax(np.abs(response)))
        response = response[max(0, direct - RATE // 1000) :]
        response /= math.sqrt(float(np.dot(response, response)))
        heard = fftconvolve(samples.astype(np.float64), response)
        return _within_scale(heard[: len(samples) + round(TAIL * RATE)].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Library:
    """Recordings of noise or impulse responses, by path in their folder, with the SHA-256 of each.

    left_out  how many the folder's manifest keeps out: noise with speech in it, responses of loudspeakers
    """

    folder: Path
    digests: Mapping[str, str]
    left_out: int


def open_library(folder: Path) -> Library:
    """The recordings in a folder: those that its `manifest.csv` lists (columns `path`, `contains_speech`, `kind`), or
    all there are without one.

    Raises `UsageError` if there are none, and `AudioError` for one that is missing, unreadable or silent.
    """
    manifest = folder / "manifest.csv"
    left_out = 0
    if manifest.is_file():
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("path")]
        usable = [row["path"] for row in rows if not _is_other(row)]
        left_out = len(rows) - len(usable)
    else:
        found = folder.rglob("*") if folder.is_dir() else ()
        usable = [str(path.relative_to(folder)) for path in found if path.suffix.lower() in SUFFIXES]
    if not usable:
        raise UsageError(f"{folder}: no recordings in it")
    digests = {}
    for path in sorted(usable):
        if not power(read_recording(folder / path)) > 0.0:
            raise AudioError(f"{folder / path}: nothing but silence: take it out of the folder")
        digests[path] = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    return Library(folder, digests, left_out)


def noises(tests: Mapping[str, EmbeddedSpeech], library: Library, snr_db: float, seed: int) -> Mapping[str, AddNoise]:
    """The noise for each test, by path, at this ratio."""
    found = {}
    for path, take in tests.items():
        file, offset = _draw(path, library, seed)
        found[path] = AddNoise(library.folder / file, library.digests[file], offset, snr_db, speech_level(take))
    return found


def rooms(tests: Sequence[str], library: Library, seed: int) -> Mapping[str, Reverberate]:
    """The room for each test, by path."""
    drawn = {path: _draw(path, library, seed)[0] for path in tests}
    return {path: Reverberate(library.folder / file, library.digests[file]) for path, file in drawn.items()}


def speech_level(take: EmbeddedSpeech) -> float | None:
    """The mean power of the frames with speech, in dBFS; None without a window."""
    weights = [window.quality.net_speech for window in take.windows]
    if not sum(weights) > 0.0:
        return None
    powers = [10.0 ** (window.quality.level_dbfs / 10.0) for window in take.windows]
    return 10.0 * math.log10(float(np.average(powers, weights=weights)))


def _is_other(row: Mapping[str, str]) -> bool:
    """Whether a file of the manifest is not what the evaluation asks for."""
    return row.get("contains_speech") == "yes" or "loudspeaker" in row.get("kind", "")


def _draw(path: str, library: Library, seed: int) -> tuple[str, float]:
    """A file of the library and a number from 0 to 1, for a test."""
    drawn = hashlib.sha256(f"{seed} {path}".encode()).digest()
    files = list(library.digests)
    return files[int.from_bytes(drawn[:8]) % len(files)], int.from_bytes(drawn[8:12]) / 2**32


def _stretch(noise: Samples, length: int, offset: float) -> Samples:
    """So many samples of the noise, which begins again at its end. Where that is a pause, from its loudest place."""
    start = int(offset * len(noise))
    stretch = np.take(noise, np.arange(start, start + length), mode="wrap")
    if power(stretch) < FAINT * power(noise):
        start = int(np.argmax(np.abs(noise))) - length // 2
        stretch = np.take(noise, np.arange(start, start + length), mode="wrap")
    return stretch


def _within_scale(samples: Samples) -> Samples:
    peak = float(np.max(np.abs(samples)))
    scaled: Samples = samples * np.float32(PEAK / peak) if peak > PEAK else samples
    return scaled
