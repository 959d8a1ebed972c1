"""Degrades test recordings with noise and room acoustics. Enrolments stay as they are: people enrol in a quiet moment.

A recording's noise and room follow from its path and the seed, so they are the same every time, and the noise is the
same at all levels.
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
from voiceauthd.audio.file import SUFFIXES, read_recording
from voiceauthd.errors import AudioError, UsageError
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.speech.quality import power

SNRS_DB = (20.0, 10.0, 5.0, 0.0)

MAX_PEAK = 0.99
"""Louder results are scaled down as a whole: clipping would be another degradation."""

PAUSE_POWER = 0.01
"""Share of a noise file's power below which a section of it is a pause."""

REVERB_TAIL = 0.5
"""Seconds of reverberation kept after the end of the recording."""


@dataclass(frozen=True, slots=True)
class AddNoise:
    """Adds noise to a recording, `snr_db` below the level of its speech.

    digest       of the noise file's content
    offset       position in the noise file to start at, 0 to 1; short noise is repeated
    speech_dbfs  mean power of the frames with speech; None if no speech was found: use the whole recording
    """

    file: Path
    digest: str
    offset: float
    snr_db: float
    speech_dbfs: float | None

    @property
    def key(self) -> str:
        """See `Degradation`."""
        return f"noise {self.digest} {self.offset!r} {self.snr_db!r} {self.speech_dbfs!r}"

    def __call__(self, samples: Samples) -> Samples:
        """See `Degradation`."""
        noise = _section(read_recording(self.file), len(samples), self.offset)
        level = 10.0 ** (self.speech_dbfs / 10.0) if self.speech_dbfs is not None else power(samples)
        gain = math.sqrt(level / 10.0 ** (self.snr_db / 10.0) / power(noise))
        return _within_full_scale(samples + np.float32(gain) * noise)


@dataclass(frozen=True, slots=True)
class Reverberate:
    """Convolves a recording with a room's impulse response of unit energy: it stays as loud as before."""

    file: Path
    digest: str

    @property
    def key(self) -> str:
        """See `Degradation`."""
        return f"room {self.digest}"

    def __call__(self, samples: Samples) -> Samples:
        """See `Degradation`. Without delay: the response starts at its peak."""
        from scipy.signal import fftconvolve

        response = read_recording(self.file).astype(np.float64)
        direct = int(np.argmax(np.abs(response)))
        response = response[max(0, direct - RATE // 1000) :]
        response /= math.sqrt(float(np.dot(response, response)))
        reverberant = fftconvolve(samples.astype(np.float64), response)
        return _within_full_scale(reverberant[: len(samples) + round(REVERB_TAIL * RATE)].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Library:
    """A folder of noise or of impulse responses.

    digests   SHA-256 of each recording, by path relative to the folder
    left_out  number of recordings excluded by the manifest: noise with speech in it, responses of loudspeakers
    """

    folder: Path
    digests: Mapping[str, str]
    left_out: int


def open_library(folder: Path) -> Library:
    """Open the recordings in a folder: those listed in its `manifest.csv` (columns `path`, `contains_speech`, `kind`),
    or all of them if there is none.

    Raises `UsageError` if there are none, and `AudioError` for one that is missing, unreadable or silent.
    """
    manifest = folder / "manifest.csv"
    left_out = 0
    if manifest.is_file():
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("path")]
        usable = [row["path"] for row in rows if not _is_excluded(row)]
        left_out = len(rows) - len(usable)
    else:
        found = folder.rglob("*") if folder.is_dir() else ()
        usable = [str(path.relative_to(folder)) for path in found if path.suffix.lower() in SUFFIXES]
    if not usable:
        raise UsageError(f"{folder}: contains no recordings")
    digests = {}
    for path in sorted(usable):
        if not power(read_recording(folder / path)) > 0.0:
            raise AudioError(f"{folder / path}: silent; remove it from the folder")
        digests[path] = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    return Library(folder, digests, left_out)


def noises(tests: Mapping[str, EmbeddedSpeech], library: Library, snr_db: float, seed: int) -> Mapping[str, AddNoise]:
    """The noise for each test, by path, at this signal-to-noise ratio."""
    found = {}
    for path, test in tests.items():
        file, offset = _draw(path, library, seed)
        found[path] = AddNoise(library.folder / file, library.digests[file], offset, snr_db, speech_level(test))
    return found


def rooms(tests: Sequence[str], library: Library, seed: int) -> Mapping[str, Reverberate]:
    """The room for each test, by path."""
    drawn = {path: _draw(path, library, seed)[0] for path in tests}
    return {path: Reverberate(library.folder / file, library.digests[file]) for path, file in drawn.items()}


def speech_level(recording: EmbeddedSpeech) -> float | None:
    """The mean power of the frames with speech, in dBFS; None without a window."""
    weights = [window.quality.net_speech for window in recording.windows]
    if not sum(weights) > 0.0:
        return None
    powers = [10.0 ** (window.quality.level_dbfs / 10.0) for window in recording.windows]
    return 10.0 * math.log10(float(np.average(powers, weights=weights)))


def _is_excluded(row: Mapping[str, str]) -> bool:
    """Whether a row of the manifest is a recording that the evaluation must not use."""
    return row.get("contains_speech") == "yes" or "loudspeaker" in row.get("kind", "")


def _draw(path: str, library: Library, seed: int) -> tuple[str, float]:
    """Draw a file of the library and a number from 0 to 1 for a test."""
    drawn = hashlib.sha256(f"{seed} {path}".encode()).digest()
    files = list(library.digests)
    return files[int.from_bytes(drawn[:8]) % len(files)], int.from_bytes(drawn[8:12]) / 2**32


def _section(noise: Samples, length: int, offset: float) -> Samples:
    """`length` samples of the noise, repeated at its end; around its loudest sample if the section is a pause."""
    start = int(offset * len(noise))
    section = np.take(noise, np.arange(start, start + length), mode="wrap")
    if power(section) < PAUSE_POWER * power(noise):
        start = int(np.argmax(np.abs(noise))) - length // 2
        section = np.take(noise, np.arange(start, start + length), mode="wrap")
    return section


def _within_full_scale(samples: Samples) -> Samples:
    peak = float(np.max(np.abs(samples)))
    scaled: Samples = samples * np.float32(MAX_PEAK / peak) if peak > MAX_PEAK else samples
    return scaled
