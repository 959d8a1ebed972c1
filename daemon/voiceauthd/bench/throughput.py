"""Speech from a file, as fast as the daemon takes it: how much work a second of speech is, and how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import soundfile

from voiceauthd.audio.block import RATE
from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.bench.models import WAVLM_BASE, Model
from voiceauthd.bench.process_usage import memory, usage
from voiceauthd.bench.report import Figure, median
from voiceauthd.bench.setting import Setting
from voiceauthd.bench.sound import Monitor, continuous_speech
from voiceauthd.client import Client

MINUTE = 60.0
"""Seconds of speech for the real-time factor."""

MEMORY_SPEECH = 15.0
"""Seconds of speech for the peak of the memory: enough windows to fill a batch."""

WORK_LIMIT = 600.0
"""Seconds in which a file must have been worked off: ten times real time."""


@dataclass(frozen=True, slots=True)
class Played:
    """One file through one daemon.

    wall     seconds from the first listener to the end of the file
    cpu      seconds on a processor meanwhile, of all threads
    cut      windows, and `dropped` of them
    loaded   MiB in memory before, `peak` at the most until the end
    """

    wall: float
    cpu: float
    cut: int
    dropped: int
    loaded: float
    peak: float


def measure_realtime(setting: Setting) -> list[Figure]:
    """Seconds of work for a second of speech. Under 1 it keeps up."""
    figures: list[Figure] = []
    file = _speech(setting, MINUTE)
    for model, plays in _models(setting, setting.effort.plays):
        played = []
        for number in range(plays):
            setting.say(f"realtime: {model.label}, {number + 1} of {plays}")
            played.append(play(setting.folder, model, file))
        wall = [one.wall / MINUTE for one in played]
        cpu = [one.cpu / MINUTE for one in played]
        figures += [
            median(f"{model.label}, elapsed", wall, "s a second of speech", note=model.note),
            median(f"{model.label}, on processors", cpu, "s a second of speech"),
            Figure(f"{model.label}, windows cut from {MINUTE:.0f} s", played[-1].cut, "windows", plays),
            Figure(f"{model.label}, windows dropped", max(one.dropped for one in played), "windows", plays, 0),
        ]
    return figures


def measure_memory(setting: Setting) -> list[Figure]:
    """Of the whole process: Python, torch, the voice activity detectors and the model."""
    figures: list[Figure] = []
    file = _speech(setting, MEMORY_SPEECH)
    for model, _ in _models(setting, 1):
        setting.say(f"memory: {model.label}")
        played = play(setting.folder, model, file)
        figures += [
            Figure(f"{model.label}, loaded", played.loaded, "MiB", 1, note=model.note),
            Figure(f"{model.label}, peak", played.peak, "MiB", 1, note="of loading and of batches of speech"),
        ]
    return figures


def play(folder: Path, model: Model, file: Path) -> Played:
    """Plays `file` through a new daemon, to its end."""
    with ChildDaemon(folder, model, {"source": str(file), "pace": "fast"}) as child:
        child.wait_ready()
        loaded, _ = memory(child.pid)
        before = usage(child.pid)
        with Monitor(child.socket) as monitor:
            monitor.wait_for_source("ended", limit=WORK_LIMIT)
            used = usage(child.pid).since(before)
        _, peak = memory(child.pid)
        with Client(child.socket) as client:
            status = client.call("Status")
    return Played(used.at, used.cpu, int(status["windows"]["cut"]), int(status["queue"]["dropped"]), loaded, peak)


def _models(setting: Setting, runs: int) -> list[tuple[Model, int]]:
    """What the daemon runs, and WavLM at its full size, once: it takes half a minute a minute."""
    chosen = setting.models.chosen()
    wavlm = setting.models.named(WAVLM_BASE)
    return [(chosen, runs)] if chosen.name == wavlm.name else [(chosen, runs), (wavlm, 1)]


def _speech(setting: Setting, seconds: float) -> Path:
    file = setting.folder / f"speech-{seconds:.0f}.wav"
    soundfile.write(file, continuous_speech(seconds), RATE, subtype="PCM_16")
    return file
