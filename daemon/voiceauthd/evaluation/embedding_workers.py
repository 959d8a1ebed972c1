"""Embeds many recordings, on two cores if there are two: in this process and in a helper process.

The helper gets two jobs at a time, so that it never waits for the next one, and returns the results in order. If it
dies, this process does the remaining jobs.
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

MIN_JOBS_FOR_HELPER = 40
"""With fewer jobs the helper would hardly be ready before they are done: it takes 5 s to load."""

HELPER_JOBS = 2
"""Jobs that the helper has at a time."""

Progress = Callable[[int, int], None]
"""Called with the number of finished jobs and the number of all jobs."""


class EmbeddingWorkers:
    """Embeds recordings with one model and configuration. `cache` None: nothing is cached."""

    def __init__(self, model: ModelConfig, speech: SpeechConfig, embedder: Embedder, cache: Cache | None) -> None:
        self._model = model
        self._speech = speech
        self._embedder = embedder
        self._cache = cache
        self._recording_embedder = RecordingEmbedder(embedder, speech)

    def embed(self, jobs: Sequence[Job], progress: Progress) -> list[EmbeddedRecording]:
        """Return the embedded recording of each job, in order; those in the cache are counted first.

        Raises `AudioError` for the first recording that cannot be read, with its reference and path.
        """
        found: dict[int, EmbeddedRecording] = {}
        keys: dict[int, str] = {}
        for index, job in enumerate(jobs):
            if self._cache is not None:
                keys[index] = self._cache.key(job)
                data = self._cache.get(keys[index])
                recording = unpack(data, self._embedder.model, len(job.cuts)) if data is not None else None
                if recording is not None:
                    found[index] = recording
        progress(len(found), len(jobs))
        todo = deque(index for index in range(len(jobs)) if index not in found)
        for index, data in self._do(jobs, todo):
            if self._cache is not None:
                self._cache.put(keys[index], data)
            recording = unpack(data, self._embedder.model, len(jobs[index].cuts))
            if recording is None:
                raise ModelError(f"{jobs[index].path}: the model gave no usable embeddings", "unusable_embedding")
            found[index] = recording
            progress(len(found), len(jobs))
        return [found[index] for index in range(len(jobs))]

    def _do(self, jobs: Sequence[Job], todo: deque[int]) -> Iterator[tuple[int, bytes]]:
        """The index and the packed result of each job in `todo`, as they are finished."""
        if len(todo) < MIN_JOBS_FOR_HELPER or not _second_core_helps(self._model):
            for index in todo:
                yield index, pack(self._recording_embedder.embed(jobs[index]))
            return
        with _running_helper(self._model, self._speech) as connection:
            helper = _Helper(connection, str(self._embedder.model))
            while todo or helper.assigned:
                yield from helper.collect(wait=not todo)
                helper.assign(jobs, todo)
                if todo:
                    index = todo.popleft()
                    yield index, pack(self._recording_embedder.embed(jobs[index]))


class _Helper:
    """This process's side of the helper. `assigned`: the jobs that it has, as indices."""

    def __init__(self, connection: Connection, model: str) -> None:
        self.assigned: deque[int] = deque()
        self._connection = connection
        self._model = model
        self._ready = False
        self._alive = True
        self._unfinished: list[int] = []

    def assign(self, jobs: Sequence[Job], todo: deque[int]) -> None:
        """Give it as many jobs as it may have; if it has died, put its jobs back into `todo`."""
        todo.extend(self._unfinished)
        self._unfinished = []
        while self._ready and self._alive and todo and len(self.assigned) < HELPER_JOBS:
            try:
                self._connection.send(jobs[todo[0]])
            except OSError:
                self._lost()
                todo.extend(self._unfinished)
                self._unfinished = []
                return
            self.assigned.append(todo.popleft())

    def collect(self, *, wait: bool) -> Iterator[tuple[int, bytes]]:
        """Its finished jobs. wait: until all of them are finished. Raises the error that occurred in the helper."""
        while self._alive and ((wait and self.assigned) or self._connection.poll()):
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
            yield self.assigned.popleft(), answer

    def _lost(self) -> None:
        self._alive = False
        self._unfinished += self.assigned
        self.assigned.clear()


def _second_core_helps(model: ModelConfig) -> bool:
    """Whether the model runs on the CPU and a second process would have a core of its own."""
    import torch

    on_cpu = model.device == "cpu" or (model.device == "auto" and not torch.cuda.is_available())
    return on_cpu and len(os.sched_getaffinity(0)) >= 2


@contextmanager
def _running_helper(model: ModelConfig, speech: SpeechConfig) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")  # a forked process with threads may hang
    here, there = context.Pipe()
    process = context.Process(target=_run_helper, args=(there, model, speech), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.terminate()
        process.join()


def _run_helper(connection: Connection, model: ModelConfig, speech: SpeechConfig) -> None:
    """The helper process: sends the id of its model, then the result of each job until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        embedder = load_embedder(model)
        recording_embedder = RecordingEmbedder(embedder, speech)
        connection.send(str(embedder.model))
        while True:
            connection.send(pack(recording_embedder.embed(connection.recv())))
    except (EOFError, OSError):
        return
    except VoiceauthError as error:
        connection.send(error)
