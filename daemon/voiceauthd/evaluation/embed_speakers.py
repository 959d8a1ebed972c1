"""Embedding a folder of speech for a cohort: some recordings of each speaker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder
from voiceauthd.evaluation.cache import Cache, default_cache
from voiceauthd.evaluation.embed_recording import Job
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
from voiceauthd.evaluation.evaluate import StepProgress
from voiceauthd.evaluation.find_speakers import draw_recordings
from voiceauthd.scoring.cohort import Cohort


def make_workers(config: Config, embedder: Embedder, *, use_cache: bool) -> EmbeddingWorkers:
    """Return workers that embed recordings as configured. use_cache: keep the embeddings for the next run."""
    cache = Cache(default_cache(), embedder.model, config.speech) if use_cache else None
    return EmbeddingWorkers(config.model, config.speech, embedder, cache)


def embed_speakers(
    voices: Mapping[str, Sequence[Path]], files: int, workers: EmbeddingWorkers, progress: StepProgress
) -> dict[str, list[EmbeddedSpeech]]:
    """Embed `files` recordings of each speaker, drawn from as many sessions as there are."""
    generator = np.random.default_rng(0)
    chosen = {name: draw_recordings(recordings, files, generator) for name, recordings in voices.items()}
    jobs = [Job(path) for recordings in chosen.values() for path in recordings]
    embedded = iter(workers.embed(jobs, lambda done, of: progress("embedding", done, of)))
    return {name: [next(embedded).whole for _ in recordings] for name, recordings in chosen.items()}


def missing_speakers(voices: Iterable[str], cohort: Cohort) -> list[str]:
    """Return a warning about the speakers who are not in the cohort because no speech was found."""
    missing = sorted(set(voices) - set(cohort.speakers))
    return [f"no speech was found of {len(missing)} speakers, such as {missing[0]}: left out"] if missing else []
