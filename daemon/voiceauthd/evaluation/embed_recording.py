"""Takes one recording through the daemon's own pipeline, from samples to embeddings: reader, segmenter, recogniser."""

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
from voiceauthd.evaluation.embedded_recording import EmbeddedRecording, EmbeddedSpeech, without_samples
from voiceauthd.pipeline.recogniser import Recogniser
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import SpeechEvent, Window

NO_RULE = Rule("none", calibrated=False, accept=1.0, reject=1.0, margin=0.0, min_speech=0.0, agreement=1.0)
"""For a recogniser that only computes embeddings."""


class Degradation(Protocol):
    """A change of the audio before it is embedded, such as added noise. Picklable: another process may apply it."""

    @property
    def key(self) -> str:
        """Identifies the change and everything it depends on: equal keys give equal audio."""
        ...

    def __call__(self, samples: Samples) -> Samples:
        """Apply the change. 16 kHz mono in and out."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A recording to be embedded.

    reference    where it is named, for error messages
    cuts         seconds of net speech, rising, after which a cut-off version is embedded as well
    degradation  applied before; None: none
    """

    path: Path
    reference: str = ""
    cuts: tuple[float, ...] = ()
    degradation: Degradation | None = None


class RecordingEmbedder:
    """Embeds recordings one after the other. For one thread at a time."""

    def __init__(self, embedder: Embedder, speech: SpeechConfig) -> None:
        """Raises `ModelError`, reason `vad_unavailable`, if a detector cannot be loaded."""
        self._recogniser = Recogniser(embedder, make_gallery([], embedder.model), NO_RULE, GateConfig())
        self._segmenter = Segmenter(speech)
        self._frame = speech.frame_ms * RATE // 1000

    def embed(self, job: Job) -> EmbeddedRecording:
        """Embed one recording. Raises `AudioError`, which names the reference, if it cannot be read."""
        try:
            samples = read_recording(job.path)
        except AudioError as error:
            message = f"{job.reference}: {error}" if job.reference else str(error)
            raise AudioError(message, error.reason) from error
        if job.degradation is not None:
            samples = job.degradation(samples)
        versions = self._segment(samples, job.cuts)
        embeddings = self._embed([window for windows, _ in versions for window in windows])
        *cuts, whole = (_embedded(windows, net_speech, embeddings) for windows, net_speech in versions)
        return EmbeddedRecording(whole, tuple(cuts) + (whole,) * (len(job.cuts) - len(cuts)))

    def _segment(self, samples: Samples, cuts: Sequence[float]) -> list[tuple[list[Window], float]]:
        """The windows and the seconds of net speech, up to each cut that is reached, and of the whole recording."""
        segmenter, windows = self._segmenter, list[Window]()
        versions: list[tuple[list[Window], float]] = []
        segmenter.restart()
        for start in range(0, len(samples), self._frame):
            block = Block(samples[start : start + self._frame], start, 0.0)
            windows += _windows(segmenter.push(block))
            while len(versions) < len(cuts) and segmenter.net_speech >= cuts[len(versions)]:
                tail = segmenter.tail()
                versions.append(([*windows, tail] if tail is not None else list(windows), segmenter.net_speech))
        windows += _windows(segmenter.flush(0.0))
        return [*versions, (windows, segmenter.net_speech)]

    def _embed(self, windows: Sequence[Window]) -> dict[tuple[int, int], Embedding]:
        """The embeddings of windows of one recording, by span. Windows that several cuts share are embedded once."""
        spans = {_span(window): window for window in windows}
        if not spans:
            return {}
        results = self._recogniser.embed(list(spans.values()))
        return {span: result for span, result in zip(spans, results, strict=True) if isinstance(result, Embedding)}


def _embedded(
    windows: Sequence[Window], net_speech: float, embeddings: dict[tuple[int, int], Embedding]
) -> EmbeddedSpeech:
    usable = [window for window in windows if _span(window) in embeddings]
    return EmbeddedSpeech(
        tuple(without_samples(window) for window in usable),
        tuple(embeddings[_span(window)] for window in usable),
        net_speech,
        len(windows) - len(usable),
    )


def _windows(events: Iterable[SpeechEvent]) -> list[Window]:
    return [event for event in events if isinstance(event, Window)]


def _span(window: Window) -> tuple[int, int]:
    return window.start, window.end
