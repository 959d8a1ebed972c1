"""From the end of a window to its event at a client, in real time, and whether a live source loses windows.

The end of a window is when its last sample was heard, which the feeder knows; the event has come when the client has
parsed it. The forward, which the event tells, is taken off. Only windows that end with a hop count: they are cut the
moment their last sample is heard. The tail of an utterance is known only after the hangover, by design.

Through a microphone nobody but the daemon knows when a sample was heard, so that its own word is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.bench.report import Figure, NotMeasuredError, median, percentile
from voiceauthd.bench.setting import Setting
from voiceauthd.bench.sound import FRAME, Event, Feeder, Monitor, continuous_speech, noise
from voiceauthd.bench.virtual_microphone import VirtualMicrophone
from voiceauthd.client import Client
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.errors import NotRunningError

TARGET_MEDIAN_MS = 20
TARGET_P99_MS = 50

ROOM_DBFS = -75.0
"""Of the silence before and after the speech: a quiet room."""

LEAD, REST = 1.0, 2.0
"""Seconds of silence before the speech, and after it, which end the last utterance."""

OPEN_LIMIT = 15.0
"""Seconds for the microphone to open."""

WORK_LIMIT = 60.0
"""Seconds for the daemon to work off what waits when the sound has ended."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A window that ended with a hop, and what became of it. Seconds.

    ended     when its last sample was heard
    arrived   when the client had its event
    forward   in the model
    """

    ended: float
    arrived: float
    forward: float

    @property
    def whole(self) -> float:
        return self.arrived - self.ended

    @property
    def beyond(self) -> float:
        """What is not the forward."""
        return self.whole - self.forward


def measure_delay(setting: Setting) -> list[Figure]:
    """Feeds a daemon on its standard input, and another one through a virtual microphone, and monitors them."""
    return [*through_pipe(setting), *through_microphone(setting)]


def through_pipe(setting: Setting) -> list[Figure]:
    """The targets are held against this one: the feeder knows when a sample was heard."""
    model = setting.models.chosen()
    speech = SpeechConfig()
    seconds = speech.first + speech.hop * setting.effort.windows
    sound = np.concatenate((noise(LEAD, ROOM_DBFS), continuous_speech(seconds), noise(REST, ROOM_DBFS)))
    setting.say(f"delay: starting {model.label}")
    with ChildDaemon(setting.folder, model, {"source": "-", "block_ms": 1000 * FRAME // RATE}) as child:
        child.wait_ready()
        with Monitor(child.socket) as monitor, Feeder(child.stdin, sound) as feeder:
            setting.say(f"delay: {len(sound) / RATE:.0f} s of sound in real time")
            feeder.wait()
            child.stdin.close()
            monitor.wait_for_source("ended", limit=WORK_LIMIT)
        with Client(child.socket) as client:
            status = client.call("Status")
    hops = hop_windows(monitor.arrived, feeder, speech)
    beyond = [1000.0 * hop.beyond for hop in hops]
    named = f"{model.label}{', ' + model.note if model.note else ''}"
    return [
        median("beyond the forward, median", beyond, "ms", TARGET_MEDIAN_MS, named),
        percentile("beyond the forward, 99th percentile", beyond, 99, "ms", TARGET_P99_MS),
        median("the forward in the daemon, median", [1000.0 * hop.forward for hop in hops], "ms"),
        median("end of window to event, median", [1000.0 * hop.whole for hop in hops], "ms"),
        Figure("windows cut from a live source", int(status["windows"]["cut"]), "windows", 1),
        Figure("windows dropped from a live source", int(status["queue"]["dropped"]), "windows", 1, 0),
    ]


def through_microphone(setting: Setting) -> list[Figure]:
    """Half as many windows, through the sound server and the resampler; not measured without a sound server."""
    names = ("through a microphone at 48 kHz, median", "through a microphone at 48 kHz, 99th percentile")
    speech = SpeechConfig()
    sound = continuous_speech(speech.first + speech.hop * setting.effort.windows / 2)
    try:
        with (
            VirtualMicrophone(setting.folder / "pulse") as microphone,
            ChildDaemon(
                setting.folder, setting.models.chosen(), {"source": "microphone"}, microphone.environment
            ) as child,
        ):
            child.wait_ready()
            with Monitor(child.socket) as monitor:
                monitor.wait_for_source("open", limit=OPEN_LIMIT)
                setting.say(f"delay: {len(sound) / RATE:.0f} s of sound through a microphone")
                microphone.play_to_end(sound)
    except (NotMeasuredError, NotRunningError) as problem:
        return [Figure(name, None, "ms", 0, note=str(problem)) for name in names]
    beyond = [event["latency_ms"] - event["forward_ms"] for _, event, _ in hop_events(monitor.arrived, speech)]
    note = "by the daemon's own clock, as far as the socket; 12.5 ms of it are the resampler's"
    return [median(names[0], beyond, "ms", note=note), percentile(names[1], beyond, 99, "ms")]


def hop_windows(arrived: Sequence[tuple[float, Event]], feeder: Feeder, speech: SpeechConfig) -> list[Hop]:
    """What became of the windows among `arrived` that ended with a hop."""
    return [
        Hop(feeder.heard_at(end), when, event["forward_ms"] / 1000.0)
        for when, event, end in hop_events(arrived, speech)
    ]


def hop_events(arrived: Sequence[tuple[float, Event]], speech: SpeechConfig) -> list[tuple[float, Event, int]]:
    """The windows among `arrived` that ended with a hop, each with its end in samples since the source was opened.

    Tails are left out, and windows that failed.
    """
    began = [_samples(event, "start") for _, event in arrived if event["kind"] == "speech"]
    ends = {_samples(event, "start") for _, event in arrived if event["kind"] == "silence"}
    first, hop = round(speech.first * RATE), round(speech.hop * RATE)
    found: list[tuple[float, Event, int]] = []
    for when, event in arrived:
        if event["kind"] != "window" or event.get("forward_ms") is None:
            continue
        start = _samples(event, "start")
        end = start + _samples(event, "duration")
        utterance = max((beginning for beginning in began if beginning <= start), default=None)
        if utterance is None or end in ends or (end - utterance - first) % hop:
            continue
        found.append((when, event, end))
    return found


def _samples(event: Event, key: str) -> int:
    """The protocol rounds seconds to 0.1 ms; windows and utterances are whole frames, of 20 ms."""
    return round(float(event[key]) * RATE / FRAME) * FRAME
