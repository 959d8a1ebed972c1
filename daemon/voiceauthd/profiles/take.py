"""Split one take, an utterance or a recording, into chunks of about a sentence: a few vectors, each with its speech.

    windows   [first)
              [-------0-------)
                      [-------1-------)
                              [-------2-------)
                                      [-------3-------)       [-------4-------)
    chunks    [----------0 and 1------)                       another utterance: its own chunk
                              [----------2 and 3------)

Windows overlap. Each counts for its `new_speech` only, the speech that is in no earlier window, so that every second
counts once. A window that lies within the next one (the first of an utterance, or of several short ones that were
joined) is left out and its speech is added to the next: the longer window represents the voice better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.embed.embedding import Embedding, Vector, unit_mean
from voiceauthd.speech.window import Quality, Window

MAX_CHUNK_SPEECH = 4.5
"""Seconds of speech in a chunk: a sentence. A window of 3 s and a hop of 1.5 s; the 20 s of a full enrolment make five.
Longer chunks would hide how a voice varies within a take; shorter ones would fill the profile with near copies."""

MIN_CHUNK_SPEECH = 2.0
"""Seconds of speech below which the rest of an utterance joins the chunk before it. More than one hop, so that an
utterance never ends in a near copy."""

ROUNDING_TOLERANCE = 1e-6
"""Seconds: sums of thousandths are not exact."""


@dataclass(frozen=True, slots=True, eq=False)
class CountedWindow:
    """A window that contributes to a chunk, its embedding, and the seconds of speech that it counts for."""

    window: Window
    vector: Vector
    speech: float


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The content of a future exemplar: a unit-length vector, its seconds of speech, their SNR."""

    vector: Vector
    net_speech: float
    snr_db: float | None


def counted_windows(windows: Sequence[Window], embeddings: Sequence[Embedding]) -> list[CountedWindow]:
    """Return the windows of a take in order, except those that lie within the next one or have no new speech."""
    found = []
    carried = 0.0
    for index, (window, embedding) in enumerate(zip(windows, embeddings, strict=True)):
        speech = carried + window.new_speech
        carried = 0.0
        if index + 1 < len(windows) and window.within(windows[index + 1]):
            carried = speech
        elif not speech <= 0:  # NaN is kept, so that the take is refused
            found.append(CountedWindow(window, embedding.vector, speech))
    return found


def chunks(take: Sequence[CountedWindow]) -> list[Chunk]:
    """Split each utterance into chunks of up to `MAX_CHUNK_SPEECH`. The vector of a chunk is the mean of its windows'
    vectors, weighted by their net speech.

    The result is the same whether sentences come one by one or in one recording. Raises `ModelError`, reason
    `no_direction`, for vectors that cancel out.
    """
    return [_chunk(group) for utterance in _utterances(take) for group in _groups(utterance)]


def _utterances(take: Sequence[CountedWindow]) -> list[list[CountedWindow]]:
    """Group consecutive windows by utterance. Windows of joined utterances share audio, and stay together."""
    found: list[list[CountedWindow]] = []
    for counted in take:
        before = found[-1][-1].window if found else None
        if before is not None and (counted.window.utterance == before.utterance or counted.window.start < before.end):
            found[-1].append(counted)
        else:
            found.append([counted])
    return found


def _groups(utterance: Sequence[CountedWindow]) -> list[list[CountedWindow]]:
    groups = [[utterance[0]]]
    for counted in utterance[1:]:
        if _speech([*groups[-1], counted]) <= MAX_CHUNK_SPEECH + ROUNDING_TOLERANCE:
            groups[-1].append(counted)
        else:
            groups.append([counted])
    if len(groups) > 1 and _speech(groups[-1]) < MIN_CHUNK_SPEECH - ROUNDING_TOLERANCE:
        left_over = groups.pop()
        groups[-1] += left_over
    return groups


def _chunk(group: Sequence[CountedWindow]) -> Chunk:
    return Chunk(
        unit_mean([counted.vector for counted in group], [counted.window.quality.net_speech for counted in group]),
        _speech(group),
        mean_snr((counted.window.quality.snr_db, counted.window.quality.net_speech) for counted in group),
    )


def _speech(group: Iterable[CountedWindow]) -> float:
    return sum(counted.speech for counted in group)


def agreement(take: Sequence[CountedWindow]) -> float:
    """Return the lowest cosine between any two windows of the take; NaN if any vector contains NaN.

    Measured with CAM++: 0.48 and above in 41 recordings of one voice, 0.27 and below in 13 that change the voice.
    """
    vectors = np.asarray([counted.vector for counted in take], dtype=np.float64)
    return float(np.min(vectors @ vectors.T))


def similarity(take: Sequence[CountedWindow], known: Iterable[Sequence[Vector]]) -> float:
    """Return the mean cosine of the take's windows with the exemplars of the closest condition; NaN if any vector
    contains NaN.

    known: the exemplars of each condition; at least one. The first take with a headset must be similar to the takes
    without it; the second may be similar to the first.

    A mean of pairs, because the minimum falls with their number. Measured with CAM++, takes of one session: 0.60 and
    above for the same voice (30 takes), 0.18 at the median and 0.52 at the 99th percentile for others (240 pairs).
    """
    vectors = np.asarray([counted.vector for counted in take], dtype=np.float64)
    means = [np.mean(vectors @ np.asarray(exemplars, dtype=np.float64).T) for exemplars in known]
    return float(np.max(means))  # NaN if any of them is


def take_quality(take: Sequence[CountedWindow]) -> Quality:
    """Return the quality of a non-empty take: the mean over its windows, weighted by the speech they count for."""
    speech = _speech(take)
    weights = [counted.speech / speech if speech > 0 else 1.0 / len(take) for counted in take]
    qualities = [counted.window.quality for counted in take]
    power = sum(weight * 10.0 ** (each.level_dbfs / 10.0) for weight, each in zip(weights, qualities, strict=True))
    return Quality(
        net_speech=speech,
        snr_db=mean_snr(zip((each.snr_db for each in qualities), weights, strict=True)),
        clipping=sum(weight * each.clipping for weight, each in zip(weights, qualities, strict=True)),
        level_dbfs=10.0 * math.log10(max(power, 1e-20)),
        bandwidth=max((each.bandwidth for each in qualities if each.bandwidth is not None), default=None),
    )


def mean_snr(weighted: Iterable[tuple[float | None, float]]) -> float | None:
    """Return the weighted mean, in dB, of the known values; None if none is known."""
    known = [(snr, weight) for snr, weight in weighted if snr is not None and weight > 0]
    if not known:
        return None
    return sum(snr * weight for snr, weight in known) / sum(weight for _, weight in known)
