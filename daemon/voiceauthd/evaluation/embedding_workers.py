"""EmbeddedRecording many recordings, on two cores where there are two: this process works, and so does a helper.

The helper gets two jobs at a time, so that it never waits for the next one, and gives them back in order. If it dies,
this process does what is left.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

from voiceauthd.config.schema import ModelConfig, SpeechConfig
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import ModelError, VoiceauthError
from voiceauthd.evaluation.cache import Cache
from voiceauthd.evaluation.embed_recording import Job, RecordingEmbedder
from voiceauthd.evaluation.embedded_recording import EmbeddedRecording, pack, unpack

WORTH_A_HELPER = 40
"""Jobs below which a helper would hardly have started before they are done: loading takes it 5 s."""

AHEAD = 2
"""Jobs that the helper has at a time."""

Progress = Callable[[int, int], None]
"""Told how many jobs are done, and of how many."""


class EmbeddingWorkers:
    """The model and the way to it, for as many jobs as come. `cache` None: nothing is kept."""

    def __init__(self, model: ModelConfig, speech: SpeechConfig, embedder: Embedder, cache: Cache | None) -> None:
        self._model = model
        self._speech = speech
        self._embedder = embedder
        self._cache = cache
        self._hearer = RecordingEmbedder(embedder, speech)

    def hear(self, jobs: Sequence[Job], progress: Progress) -> list[EmbeddedRecording]:
        """One hearing a job, in order; those that are kept come first and cost nothing.

        Raises `AudioError` for the first recording that cannot be read, with its place and path.
        """
        found: dict[int, EmbeddedRecording] = {}
        keys: dict[int, str] = {}
        for index, job in enumerate(jobs):
            if self._cache is not None:
                keys[index] = self._cache.key(job)
                kept = self._cache.get(keys[index])
                hearing = unpack(kept, self._embedder.model, len(job.cuts)) if kept is not None else None
                if hearing is not None:
                    found[index] = hearing
        progress(len(found), len(jobs))
        todo = deque(index for index in range(len(jobs)) if index not in found)
        for index, data in self._work(jobs, todo):
            if self._cache is not None:
                self._cache.put(keys[index], data)
            hearing = unpack(data, self._embedder.model, len(jobs[index].cuts))
            if hearing is None:
                raise ModelError(f"{jobs[index].path}: the model gave no usable embeddings", "unusable_embedding")
            found[index] = hearing
            progress(len(found), len(jobs))
        return [found[index] for index in range(len(jobs))]

    def _work(self, jobs: Sequence[Job], todo: deque[int]) -> Iterator[tuple[int, bytes]]:
        if len(todo) < WORTH_A_HELPER or not _two_cores(self._model):
            for index in todo:
                yield index, pack(self._hearer.hear(jobs[index]))
            return
        with _helper(self._model, self._speech) as connection:
            helper = _Helper(connection, str(self._embedder.model))
            while todo or helper.given:
                yield from helper.collect(wait=not todo)
                helper.give(jobs, todo)
                if todo:
                    index = todo.popleft()
                    yield index, pack(self._hearer.hear(jobs[index]))


class _Helper:
    """This side of the helper. `given`: jobs that it has."""

    def __init__(self, connection: Connection, model: str) -> None:
        self.given: deque[int] = deque()
        self._connection = connection
        self._model = model
        self._ready = False
        self._alive = True
        self._returned: list[int] = []

    def give(self, jobs: Sequence[Job], todo: deque[int]) -> None:
        """As many jobs as it may have, and takes back those of one that died."""
        todo.extend(self._returned)
        self._returned = []
        while self._ready and self._alive and todo and len(self.given) < AHEAD:
            try:
                self._connection.send(jobs[todo[0]])
            except OSError:
                self._lost()
                todo.extend(self._returned)
                self._returned = []
                return
            self.given.append(todo.popleft())

    def collect(self, *, wait: bool) -> Iterator[tuple[int, bytes]]:
        """What it has done. wait: until it has done all that it was given. Raises what went wrong over there."""
        while self._alive and ((wait and self.given) or self._connection.poll()):
            try:
                answer = self._connection.recv()
            except (EOFError, OSError):
                self._lost()
                return
            if isinstance(answer, VoiceauthError):
                raise answer
            if isinstance(answer, str):
                if answer != self._model:
                    raise ModelError(f"the model changed from {self._model} to {answer} during the evaluation")
                self._ready = True
                continue
            yield self.given.popleft(), answer

    def _lost(self) -> None:
        self._alive = False
        self._returned += self.given
        self.given.clear()


def _two_cores(model: ModelConfig) -> bool:
    """Whether a second process would find a processor of its own, and the model computes on processors."""
    import torch

    on_processor = model.device == "cpu" or (model.device == "auto" and not torch.cuda.is_available())
    return on_processor and len(os.sched_getaffinity(0)) >= 2


@contextmanager
def _helper(model: ModelConfig, speech: SpeechConfig) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    here, there = context.Pipe()
    process = context.Process(target=_help, args=(there, model, speech), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.terminate()
        process.join()


def _help(connection: Connection, model: ModelConfig, speech: SpeechConfig) -> None:
    """The helper's whole life: says which model it has, then answers jobs until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        embedder = load_embedder(model)
        hearer = RecordingEmbedder(embedder, speech)
        connection.send(str(embedder.model))
        while True:
            connection.send(pack(hearer.hear(connection.recv())))
    except (EOFError, OSError):
        return
    except VoiceauthError as error:
        connection.send(error)
