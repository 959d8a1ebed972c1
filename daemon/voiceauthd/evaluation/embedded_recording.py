"""What was heard of a recording: windows with their embeddings, without the sound. It is kept as safetensors."""

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

UNIT = 1e-3
"""How far the squared length of a kept embedding may be from 1."""

BETWEEN = RATE
"""Samples of pause between two recordings that follow each other. They share no sound, and no window."""

COLUMNS = 11
"""Of a kept window: start, end, length, captured, utterance, the five of its quality, new speech."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedSpeech:
    """A recording, or its beginning, as the daemon heard it.

    windows     in order; their samples are blank, of the right number
    embeddings  one a window
    net_speech  seconds of all speech that was found, also where no window came of it
    failed      windows that the model gave no usable embedding for, and which are not in `windows`
    """

    windows: tuple[Window, ...]
    embeddings: tuple[Embedding, ...]
    net_speech: float
    failed: int


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRecording:
    """A recording as it was heard: whole, and cut off after so many seconds of net speech.

    cuts  one for each cut that was asked for, in order; the whole where there is less speech than that
    """

    whole: EmbeddedSpeech
    cuts: tuple[EmbeddedSpeech, ...]


def without_sound(window: Window) -> Window:
    """The same window with blank samples, which take no memory."""
    blank: Samples = np.broadcast_to(np.float32(0.0), (len(window.samples),))
    return replace(window, samples=blank)


def on_one_clock(takes: Sequence[EmbeddedSpeech]) -> list[EmbeddedSpeech]:
    """The takes as they are if one follows the other, `BETWEEN` apart: their windows are told apart by where they
    are."""
    found = []
    offset = utterances = 0
    for take in takes:
        windows = tuple(
            replace(
                window,
                start=offset + window.start,
                end=offset + window.end,
                captured=(offset + window.end) / RATE,
                utterance=utterances + window.utterance,
            )
            for window in take.windows
        )
        found.append(replace(take, windows=windows))
        offset = max((window.end for window in windows), default=offset) + BETWEEN
        utterances = max((window.utterance for window in windows), default=utterances)
    return found


def pack(hearing: EmbeddedRecording) -> bytes:
    """As safetensors: all windows and embeddings in one table each, and how they belong to the takes."""
    takes = (hearing.whole, *hearing.cuts)
    windows = [_row(window) for take in takes for window in take.windows]
    vectors = [embedding.vector for take in takes for embedding in take.embeddings]
    dimension = len(vectors[0]) if vectors else 0
    return save(
        {
            "takes": np.array([(len(take.windows), take.net_speech, take.failed) for take in takes], np.float64),
            "windows": np.array(windows, np.float64).reshape(-1, COLUMNS),
            "embeddings": np.array(vectors, np.float32).reshape(len(vectors), dimension),
        }
    )


def unpack(data: bytes, model: ModelId, cuts: int) -> EmbeddedRecording | None:
    """What `pack` packed for this model and so many cuts; None if it is torn or something else."""
    try:
        tables = load(data)
        parts, windows, vectors = tables["takes"], tables["windows"], tables["embeddings"]
    except (SafetensorError, KeyError, ValueError):
        return None
    if parts.shape != (cuts + 1, 3) or windows.shape != (len(vectors), COLUMNS):
        return None
    if not (parts[:, 0] >= 0).all() or parts[:, 0].sum() != len(vectors):
        return None
    if len(vectors) and not (
        vectors.shape[1] == model.dimension and (np.abs(np.sum(vectors**2, axis=1) - 1.0) < UNIT).all()
    ):
        return None
    bounds = np.cumsum([0, *parts[:, 0].astype(int)])
    takes = tuple(
        EmbeddedSpeech(
            tuple(_window(row) for row in windows[begin:end]),
            tuple(Embedding(vector, model) for vector in vectors[begin:end]),
            float(part[1]),
            int(part[2]),
        )
        for begin, end, part in zip(bounds[:-1], bounds[1:], parts, strict=True)
    )
    return EmbeddedRecording(takes[0], takes[1:])


def _row(window: Window) -> Sequence[float]:
    quality = window.quality
    return (
        window.start,
        window.end,
        len(window.samples),
        window.captured,
        window.utterance,
        quality.net_speech,
        _number(quality.snr_db),
        quality.clipping,
        quality.level_dbfs,
        _number(quality.bandwidth),
        window.new_speech,
    )


def _window(row: NDArray[np.float64]) -> Window:
    start, end, length, captured, utterance, net_speech, snr, clipping, level, width, new = map(float, row)
    blank: Samples = np.broadcast_to(np.float32(0.0), (int(length),))
    quality = Quality(net_speech, _known(snr), clipping, level, _known(width))
    return Window(blank, int(start), int(end), captured, int(utterance), quality, new)


def _number(known: float | None) -> float:
    return math.nan if known is None else known


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
