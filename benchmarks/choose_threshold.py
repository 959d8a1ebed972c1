"""Where the threshold of CAM++ comes from: false accepts and false rejects on real speech, by threshold.

    python benchmarks/choose_threshold.py FOLDER

FOLDER has `enroll.csv` and `trials.csv`; paths in them are relative to it. Every file goes the daemon's own way, from
blocks to windows to embeddings to the pooled score; a test without a window counts as a reject. Trials with a
doubtful label are left out.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import ModelConfig, SpeechConfig
from voiceauthd.embed.embedding import Embedder, Embedding
from voiceauthd.embed.load import load_embedder
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import chunks, pieces
from voiceauthd.scoring.sequential import Pool
from voiceauthd.scoring.similarity import compare, make_gallery
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import Window

Heard = tuple[list[Window], list[Embedding]]


def hear(file: Path, segmenter: Segmenter, embedder: Embedder) -> Heard:
    """The windows of a file and their embeddings."""
    block = Block(read_recording(file), start=0, captured=0.0)
    windows = [found for found in segment([block], segmenter) if isinstance(found, Window)]
    return windows, [embedder.embed([window.samples])[0] for window in windows]


def enrol(name: str, takes: Sequence[Heard], embedder: Embedder) -> Profile:
    """A profile of all takes, however short: an evaluation scores every trial."""
    found = [chunk for windows, embeddings in takes for chunk in chunks(pieces(windows, embeddings))]
    exemplars = tuple(Exemplar(chunk.vector, chunk.net_speech, chunk.snr_db, "default", "") for chunk in found)
    return Profile(name, name, 1, None, embedder.model, exemplars, "", "")


def pooled(heard: Heard) -> Embedding | None:
    """All of a test as one voice; None without a window."""
    pool = Pool()
    for window, embedding in zip(*heard, strict=True):
        pool.add(window, embedding)
    return pool.voice()


def score_trials(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A cosine for each trial, -1 where there was nothing to compare, and whether it is a target trial."""
    embedder = load_embedder(ModelConfig(name="campplus"))
    segmenter = Segmenter(SpeechConfig())
    with (folder / "trials.csv").open() as file:
        trials = [row for row in csv.DictReader(file) if row["label_doubt"] == "0"]
    galleries = {}
    with (folder / "enroll.csv").open() as file:
        for row in csv.DictReader(file):
            takes = [hear(folder / path, segmenter, embedder) for path in row["files"].split(";")]
            profile = enrol(row["enroll_id"], takes, embedder)
            galleries[row["enroll_id"]] = make_gallery([profile] if profile.exemplars else [], embedder.model)
    voices = {path: pooled(hear(folder / path, segmenter, embedder)) for path in {row["test_path"] for row in trials}}
    cosines = np.full(len(trials), -1.0)
    for index, row in enumerate(trials):
        voice, gallery = voices[row["test_path"]], galleries[row["enroll_id"]]
        if voice is not None and gallery.names:
            cosines[index] = compare(voice, gallery)[0].cosine
    return cosines, np.array([row["label"] == "target" for row in trials])


def main() -> None:
    """Prints the table."""
    cosines, target = score_trials(Path(sys.argv[1]))
    print(f"{np.sum(target)} target and {np.sum(~target)} non-target trials")
    print(f"{np.sum(cosines == -1.0)} trials without a window, counted as rejects")
    print("threshold  false accepts  false rejects")
    for threshold in np.arange(0.40, 0.76, 0.05).round(2):
        accepted = cosines >= threshold
        wrong, missed = accepted[~target], ~accepted[target]
        accepts = f"{np.mean(wrong):7.2%} ({np.sum(wrong):3d})"
        rejects = f"{np.mean(missed):7.2%} ({np.sum(missed):3d})"
        print(f"{threshold:9.2f}  {accepts}  {rejects}")


if __name__ == "__main__":
    main()
