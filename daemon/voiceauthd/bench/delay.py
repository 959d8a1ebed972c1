"""From the end of a window to its event at a client, in real time, and whether a live source loses windows.

A window ends when its last sample is played, which the player knows; its event has arrived when the client has parsed
it. The time of the forward pass, which the event reports, is subtracted. Only windows that end with a hop count: they
are cut the moment their last sample arrives. The tail of an utterance is known only after the hangover, by design.

Through a microphone only the daemon knows when a sample arrived, so its own latency is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.bench.context import BenchContext
from voiceauthd.bench.monitor_client import Event, MonitorClient
from voiceauthd.bench.realtime_player import FRAME, TimedPlayer
from voiceauthd.bench.report import Measurement, NotMeasuredError, median, percentile
from voiceauthd.bench.synthetic_audio import continuous_speech, white_noise
from voiceauthd.bench.virtual_microphone import VirtualMicrophone
from voiceauthd.client import Client
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.errors import NotRunningError

TARGET_MEDIAN_MS = 20
TARGET_P99_MS = 50

ROOM_DBFS = -75.0
"""Level of the silence before and after the speech: a quiet room."""

SILENCE_BEFORE, SILENCE_AFTER = 1.0, 2.0
"""Seconds. The silence after the speech ends the last utterance."""

OPEN_LIMIT = 15.0
"""Seconds for the microphone to open."""

FINISH_LIMIT = 60.0
"""Seconds for the daemon to process the queued windows after the audio has ended."""


@dataclass(frozen=True, slots=True)
class HopWindow:
    """The times of a window that ended with a hop. Seconds.

    ended     when its last sample was played
    arrived   when the client had its event
    forward   duration of the forward pass
    """

    ended: float
    arrived: float
    forward: float

    @property
    def total(self) -> float:
        return self.arrived - self.ended

    @property
    def overhead(self) -> float:
        """Everything except the forward pass."""
        return self.total - self.forward


def measure_delay(context: BenchContext) -> list[Measurement]:
    """Monitor a daemon that reads its standard input, and another that records a virtual microphone."""
    return [*through_pipe(context), *through_microphone(context)]


def through_pipe(context: BenchContext) -> list[Measurement]:
    """The targets apply here, because the player knows when a sample was played."""
    model = context.models.chosen()
    speech = SpeechConfig()
    seconds = speech.first + speech.hop * context.effort.windows
    before, after = (white_noise(silence, ROOM_DBFS) for silence in (SILENCE_BEFORE, SILENCE_AFTER))
    audio = np.concatenate((before, continuous_speech(seconds), after))
    context.progress(f"delay: starting {model.label}")
    with context.daemon(model, {"source": "-", "block_ms": 1000 * FRAME // RATE}) as daemon:
        daemon.wait_ready()
        with MonitorClient(daemon.socket) as monitor, TimedPlayer(daemon.stdin, audio) as player:
            context.progress(f"delay: {len(audio) / RATE:.0f} s of audio in real time")
            player.wait()
            daemon.stdin.close()
            monitor.wait_for_source("ended", limit=FINISH_LIMIT)
        with Client(daemon.socket) as client:
            status = client.call("Status")
    windows = hop_windows(monitor.arrived, player, speech)
    overhead = [1000.0 * window.overhead for window in windows]
    note = f"{model.label}{', ' + model.note if model.note else ''}"
    return [
        median("beyond the forward, median", overhead, "ms", TARGET_MEDIAN_MS, note),
        percentile("beyond the forward, 99th percentile", overhead, 99, "ms", TARGET_P99_MS),
        median("the forward in the daemon, median", [1000.0 * window.forward for window in windows], "ms"),
        median("end of window to event, median", [1000.0 * window.total for window in windows], "ms"),
        Measurement("windows cut from a live source", int(status["windows"]["cut"]), "windows", 1),
        Measurement("windows dropped from a live source", int(status["queue"]["dropped"]), "windows", 1, 0),
    ]


def through_microphone(context: BenchContext) -> list[Measurement]:
    """Half as many windows, through the sound server and the resampler; not measured without a sound server."""
    names = ("through a microphone at 48 kHz, median", "through a microphone at 48 kHz, 99th percentile")
    speech = SpeechConfig()
    audio = continuous_speech(speech.first + speech.hop * context.effort.windows / 2)
    try:
        with (
            VirtualMicrophone(context.folder / "pulse") as microphone,
            context.daemon(context.models.chosen(), {"source": "microphone"}, microphone.environment) as daemon,
        ):
            daemon.wait_ready()
            with MonitorClient(daemon.socket) as monitor:
                monitor.wait_for_source("open", limit=OPEN_LIMIT)
                context.progress(f"delay: {len(audio) / RATE:.0f} s of audio through a microphone")
                microphone.play_to_end(audio)
    except (NotMeasuredError, NotRunningError) as problem:
        return [Measurement(name, None, "ms", 0, note=str(problem)) for name in names]
    overhead = [event["latency_ms"] - event["forward_ms"] for _, event, _ in hop_events(monitor.arrived, speech)]
    note = "by the daemon's own clock, up to the socket; includes 12.5 ms of the resampler"
    return [median(names[0], overhead, "ms", note=note), percentile(names[1], overhead, 99, "ms")]


def hop_windows(arrived: Sequence[tuple[float, Event]], player: TimedPlayer, speech: SpeechConfig) -> list[HopWindow]:
    """The windows among `arrived` that ended with a hop."""
    return [
        HopWindow(player.played_at(end), when, event["forward_ms"] / 1000.0)
        for when, event, end in hop_events(arrived, speech)
    ]


def hop_events(arrived: Sequence[tuple[float, Event]], speech: SpeechConfig) -> list[tuple[float, Event, int]]:
    """The windows among `arrived` that ended with a hop, each with its end in samples since the source was opened.

    Tails and windows that failed are left out.
    """
    utterances = [_samples(event, "start") for _, event in arrived if event["kind"] == "speech"]
    ends = {_samples(event, "start") for _, event in arrived if event["kind"] == "silence"}
    first, hop = round(speech.first * RATE), round(speech.hop * RATE)
    found: list[tuple[float, Event, int]] = []
    for when, event in arrived:
        if event["kind"] != "window" or event.get("forward_ms") is None:
            continue
        start = _samples(event, "start")
        end = start + _samples(event, "duration")
        utterance = max((beginning for beginning in utterances if beginning <= start), default=None)
        if utterance is None or end in ends or (end - utterance - first) % hop:
            continue
        found.append((when, event, end))
    return found


def _samples(event: Event, key: str) -> int:
    """The protocol rounds seconds to 0.1 ms; windows and utterances are whole frames of 20 ms."""
    return round(float(event[key]) * RATE / FRAME) * FRAME
