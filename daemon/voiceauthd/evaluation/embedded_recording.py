"""A recording as windows with embeddings, without the audio, and its encoding as safetensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.speech.window import Quality, Window

NORM_TOLERANCE = 1e-3
"""Maximum difference between the squared length of a stored embedding and 1."""

PAUSE_SAMPLES = RATE
"""Pause between two recordings in sequence. They share no audio and no window."""

WINDOW_COLUMNS = 11
"""Start, end, length, captured, utterance, five columns of quality, new speech."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedSpeech:
    """The windows and embeddings of a recording, or of its beginning.

    windows     in order; their samples are zeros, of the right number
    embeddings  one per window
    net_speech  seconds of all detected speech, including speech that is in no window
    failed      number of windows without a usable embedding; they are not in `windows`
    """

    windows: tuple[Window, ...]
    embeddings: tuple[Embedding, ...]
    net_speech: float
    failed: int


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRecording:
    """A recording, whole and cut off after given seconds of net speech.

    cuts  one per requested cut, in order; the whole recording if it has less speech than that
    """

    whole: EmbeddedSpeech
    cuts: tuple[EmbeddedSpeech, ...]


def without_samples(window: Window) -> Window:
    """The same window with zeros as samples, which take no memory."""
    zeros: Samples = np.broadcast_to(np.float32(0.0), (len(window.samples),))
    return replace(window, samples=zeros)


def in_sequence(recordings: Sequence[EmbeddedSpeech]) -> list[EmbeddedSpeech]:
    """The recordings as if played one after the other, `PAUSE_SAMPLES` apart: no two windows have the same position."""
    found = []
    offset = utterances = 0
    for recording in recordings:
        windows = tuple(
            replace(
                window,
                start=offset + window.start,
                end=offset + window.end,
                captured=(offset + window.end) / RATE,
                utterance=utterances + window.utterance,
            )
            for window in recording.windows
        )
        found.append(replace(recording, windows=windows))
        offset = max((window.end for window in windows), default=offset) + PAUSE_SAMPLES
        utterances = max((window.utterance for window in windows), default=utterances)
    return found


def pack(recording: EmbeddedRecording) -> bytes:
    """Encode as safetensors: a table of all windows, one of all embeddings, and one of the versions they belong to."""
    versions = (recording.whole, *recording.cuts)
    windows = [_row(window) for version in versions for window in version.windows]
    vectors = [embedding.vector for version in versions for embedding in version.embeddings]
    dimension = len(vectors[0]) if vectors else 0
    return save(
        {
            "takes": np.array([(len(each.windows), each.net_speech, each.failed) for each in versions], np.float64),
            "windows": np.array(windows, np.float64).reshape(-1, WINDOW_COLUMNS),
            "embeddings": np.array(vectors, np.float32).reshape(len(vectors), dimension),
        }
    )


def unpack(data: bytes, model: ModelId, cuts: int) -> EmbeddedRecording | None:
    """Decode what `pack` encoded. None if the data is damaged, or is not for this model and number of cuts."""
    try:
        tables = load(data)
        rows, windows, vectors = tables["takes"], tables["windows"], tables["embeddings"]
    except (SafetensorError, KeyError, ValueError):
        return None
    if rows.shape != (cuts + 1, 3) or windows.shape != (len(vectors), WINDOW_COLUMNS):
        return None
    if not (rows[:, 0] >= 0).all() or rows[:, 0].sum() != len(vectors):
        return None
    if len(vectors) and not (
        vectors.shape[1] == model.dimension and (np.abs(np.sum(vectors**2, axis=1) - 1.0) < NORM_TOLERANCE).all()
    ):
        return None
    bounds = np.cumsum([0, *rows[:, 0].astype(int)])
    versions = tuple(
        EmbeddedSpeech(
            tuple(_window(row) for row in windows[begin:end]),
            tuple(Embedding(vector, model) for vector in vectors[begin:end]),
            float(row[1]),
            int(row[2]),
        )
        for begin, end, row in zip(bounds[:-1], bounds[1:], rows, strict=True)
    )
    return EmbeddedRecording(versions[0], versions[1:])


def _row(window: Window) -> Sequence[float]:
    quality = window.quality
    return (
        window.start,
        window.end,
        len(window.samples),
        window.captured,
        window.utterance,
        quality.net_speech,
        _nan_if_none(quality.snr_db),
        quality.clipping,
        quality.level_dbfs,
        _nan_if_none(quality.bandwidth),
        window.new_speech,
    )


def _window(row: NDArray[np.float64]) -> Window:
    start, end, length, captured, utterance, net_speech, snr, clipping, level, width, new = map(float, row)
    zeros: Samples = np.broadcast_to(np.float32(0.0), (int(length),))
    quality = Quality(net_speech, _none_if_nan(snr), clipping, level, _none_if_nan(width))
    return Window(zeros, int(start), int(end), captured, int(utterance), quality, new)


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
