"""One recording through the daemon's own path, from samples to embeddings: its reader, segmenter and recogniser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import GateConfig, SpeechConfig
from voiceauthd.embed.embedding import Embedder, Embedding
from voiceauthd.errors import AudioError
from voiceauthd.evaluation.embedded_recording import EmbeddedRecording, EmbeddedSpeech, without_sound
from voiceauthd.pipeline.recogniser import Recogniser
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import Speech, Window

NO_RULE = Rule("none", calibrated=False, accept=1.0, reject=1.0, margin=0.0, min_speech=0.0, agreement=1.0)
"""Of a recogniser that is asked for embeddings only."""


class Change(Protocol):
    """Something that is done to the sound before it is heard. Picklable, because another process may do it."""

    @property
    def key(self) -> str:
        """Names the change and everything it depends on: equal keys make equal sound."""
        ...

    def __call__(self, samples: Samples) -> Samples:
        """16 kHz mono to 16 kHz mono."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A recording that is to be heard.

    place   where it is named, for whoever must mend it
    cuts    seconds of net speech, rising, after which it is also heard cut off
    change  what is done to it before; None: nothing
    """

    path: Path
    place: str = ""
    cuts: tuple[float, ...] = ()
    change: Change | None = None


class RecordingEmbedder:
    """Hears recordings, one after the other. One thread at a time."""

    def __init__(self, embedder: Embedder, speech: SpeechConfig) -> None:
        """Raises `ModelError`, reason `vad_unavailable`, if a detector cannot load."""
        self._recogniser = Recogniser(embedder, make_gallery([], embedder.model), NO_RULE, GateConfig())
        self._segmenter = Segmenter(speech)
        self._frame = speech.frame_ms * RATE // 1000

    def hear(self, job: Job) -> EmbeddedRecording:
        """Raises `AudioError`, which names the place, for a recording that cannot be read."""
        try:
            samples = read_recording(job.path)
        except AudioError as error:
            raise AudioError(f"{job.place}: {error}" if job.place else str(error), error.reason) from error
        if job.change is not None:
            samples = job.change(samples)
        parts = self._listen(samples, job.cuts)
        embeddings = self._embed([window for windows, _ in parts for window in windows])
        *cuts, whole = (_take(windows, net_speech, embeddings) for windows, net_speech in parts)
        return EmbeddedRecording(whole, tuple(cuts) + (whole,) * (len(job.cuts) - len(cuts)))

    def _listen(self, samples: Samples, cuts: Sequence[float]) -> list[tuple[list[Window], float]]:
        """The windows and the seconds of speech, up to each cut that is reached, and of the whole."""
        segmenter, windows = self._segmenter, list[Window]()
        parts: list[tuple[list[Window], float]] = []
        segmenter.restart()
        for start in range(0, len(samples), self._frame):
            block = Block(samples[start : start + self._frame], start, 0.0)
            windows += _windows(segmenter.push(block))
            while len(parts) < len(cuts) and segmenter.net_speech >= cuts[len(parts)]:
                tail = segmenter.tail()
                parts.append(([*windows, tail] if tail is not None else list(windows), segmenter.net_speech))
        windows += _windows(segmenter.flush(0.0))
        return [*parts, (windows, segmenter.net_speech)]

    def _embed(self, windows: Sequence[Window]) -> dict[tuple[int, int], Embedding]:
        """The embeddings of windows of one recording, by place: windows that a cut left as they were are heard once."""
        places = {_place(window): window for window in windows}
        if not places:
            return {}
        results = self._recogniser.embed(list(places.values()))
        found = zip(places, results, strict=True)
        return {place: result for place, result in found if isinstance(result, Embedding)}


def _take(windows: Sequence[Window], net_speech: float, embeddings: dict[tuple[int, int], Embedding]) -> EmbeddedSpeech:
    usable = [window for window in windows if _place(window) in embeddings]
    return EmbeddedSpeech(
        tuple(without_sound(window) for window in usable),
        tuple(embeddings[_place(window)] for window in usable),
        net_speech,
        len(windows) - len(usable),
    )


def _windows(found: Iterable[Speech]) -> list[Window]:
    return [each for each in found if isinstance(each, Window)]


def _place(window: Window) -> tuple[int, int]:
    return window.start, window.end
