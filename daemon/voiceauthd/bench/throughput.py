"""Speech from a file, as fast as the daemon reads it: CPU time per second of speech, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import soundfile

from voiceauthd.audio.block import RATE
from voiceauthd.bench.context import BenchContext
from voiceauthd.bench.models import WAVLM_BASE, Model
from voiceauthd.bench.monitor_client import MonitorClient
from voiceauthd.bench.process_usage import memory, usage
from voiceauthd.bench.report import Measurement, median
from voiceauthd.bench.synthetic_audio import continuous_speech
from voiceauthd.client import Client

SPEED_SECONDS = 60.0
"""Seconds of speech for the real-time factor."""

MEMORY_SECONDS = 15.0
"""Seconds of speech for the peak memory: enough windows to fill a batch."""

FINISH_LIMIT = 600.0
"""Seconds for the daemon to process the file: ten times real time."""


@dataclass(frozen=True, slots=True)
class FileRun:
    """One file through one daemon.

    wall     seconds from the first listener to the end of the file
    cpu      CPU seconds of all threads in that time
    cut      number of windows; `dropped`: how many of them were dropped
    loaded   MiB of memory before; `peak`: the maximum until the end
    """

    wall: float
    cpu: float
    cut: int
    dropped: int
    loaded: float
    peak: float


def measure_realtime(context: BenchContext) -> list[Measurement]:
    """Seconds of work per second of speech. Below 1 the daemon keeps up."""
    measurements: list[Measurement] = []
    file = _speech_file(context, SPEED_SECONDS)
    for model, count in _models(context, context.effort.file_runs):
        runs = []
        for number in range(count):
            context.progress(f"realtime: {model.label}, {number + 1} of {count}")
            runs.append(run_file(context, model, file))
        wall = [run.wall / SPEED_SECONDS for run in runs]
        cpu = [run.cpu / SPEED_SECONDS for run in runs]
        measurements += [
            median(f"{model.label}, elapsed", wall, "s a second of speech", note=model.note),
            median(f"{model.label}, on processors", cpu, "s a second of speech"),
            Measurement(f"{model.label}, windows cut from {SPEED_SECONDS:.0f} s", runs[-1].cut, "windows", count),
            Measurement(f"{model.label}, windows dropped", max(run.dropped for run in runs), "windows", count, 0),
        ]
    return measurements


def measure_memory(context: BenchContext) -> list[Measurement]:
    """Memory of the whole process: Python, torch, the voice activity detectors and the model."""
    measurements: list[Measurement] = []
    file = _speech_file(context, MEMORY_SECONDS)
    for model, _ in _models(context, 1):
        context.progress(f"memory: {model.label}")
        run = run_file(context, model, file)
        measurements += [
            Measurement(f"{model.label}, loaded", run.loaded, "MiB", 1, note=model.note),
            Measurement(f"{model.label}, peak", run.peak, "MiB", 1, note="of loading and of batches of speech"),
        ]
    return measurements


def run_file(context: BenchContext, model: Model, file: Path) -> FileRun:
    """Process `file` to its end with a new daemon."""
    with context.daemon(model, {"source": str(file), "pace": "fast"}) as daemon:
        daemon.wait_ready()
        loaded, _ = memory(daemon.pid)
        before = usage(daemon.pid)
        with MonitorClient(daemon.socket) as monitor:
            monitor.wait_for_source("ended", limit=FINISH_LIMIT)
            used = usage(daemon.pid).since(before)
        _, peak = memory(daemon.pid)
        with Client(daemon.socket) as client:
            status = client.call("Status")
    return FileRun(used.at, used.cpu, int(status["windows"]["cut"]), int(status["queue"]["dropped"]), loaded, peak)


def _models(context: BenchContext, runs: int) -> list[tuple[Model, int]]:
    """The chosen model, and WavLM base once: it takes half a minute for a minute of speech."""
    chosen = context.models.chosen()
    wavlm = context.models.named(WAVLM_BASE)
    return [(chosen, runs)] if chosen.name == wavlm.name else [(chosen, runs), (wavlm, 1)]


def _speech_file(context: BenchContext, seconds: float) -> Path:
    file = context.folder / f"speech-{seconds:.0f}.wav"
    soundfile.write(file, continuous_speech(seconds), RATE, subtype="PCM_16")
    return file
