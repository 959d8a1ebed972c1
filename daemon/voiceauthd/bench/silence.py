"""The CPU usage of an open microphone while nobody speaks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from voiceauthd.bench.child_daemon import ChildDaemon, stop_process
from voiceauthd.bench.context import BenchContext
from voiceauthd.bench.monitor_client import MonitorClient
from voiceauthd.bench.process_usage import usage
from voiceauthd.bench.realtime_player import TimedPlayer
from voiceauthd.bench.report import Measurement, NotMeasuredError
from voiceauthd.bench.synthetic_audio import white_noise
from voiceauthd.bench.virtual_microphone import VirtualMicrophone
from voiceauthd.errors import SourceError

TARGET_PERCENT = 2

LEVELS: tuple[tuple[str, float | None], ...] = (("digital silence", None), ("noise at -60 dBFS", -60.0))
"""A muted microphone, and one in a quiet room."""

SETTLE_SECONDS = 3.0
"""Between opening the source and the first reading."""

CLOSED_SECONDS = 10.0
"""Length of the measurement without a listener."""

OPEN_LIMIT = 15.0
"""Seconds for the microphone to open."""


def measure_silence(context: BenchContext) -> list[Measurement]:
    """Through a virtual microphone if there is one, else through standard input, which the note then says."""
    try:
        return _through_microphone(context)
    except (NotMeasuredError, SourceError) as problem:
        note = f"no virtual microphone ({problem}): audio on standard input"
        return [_through_pipe(context, name, level, note) for name, level in LEVELS]


def _through_microphone(context: BenchContext) -> list[Measurement]:
    with (
        VirtualMicrophone(context.folder / "pulse") as microphone,
        context.daemon(context.models.chosen(), {"source": "microphone"}, microphone.environment) as daemon,
    ):
        daemon.wait_ready()
        context.progress("silence: nobody listens")
        measurements = [_share(daemon, "microphone closed, nobody listens", CLOSED_SECONDS)]
        with MonitorClient(daemon.socket) as monitor:
            source = str(monitor.wait_for_source("open", "lost", limit=OPEN_LIMIT)["detail"])
            if source.startswith("lost"):
                raise SourceError(source)
            for name, level in LEVELS:
                context.progress(f"silence: {name}")
                with _playing(microphone, level, context.effort.silence_seconds + 2 * SETTLE_SECONDS):
                    time.sleep(SETTLE_SECONDS)
                    measurements.append(_share(daemon, name, context.effort.silence_seconds, TARGET_PERCENT))
    return measurements


def _through_pipe(context: BenchContext, name: str, level: float | None, note: str) -> Measurement:
    context.progress(f"silence: {name}, on standard input")
    seconds = context.effort.silence_seconds
    with context.daemon(context.models.chosen(), {"source": "-"}) as daemon:
        daemon.wait_ready()
        noise = white_noise(seconds + 2 * SETTLE_SECONDS, level)
        with MonitorClient(daemon.socket), TimedPlayer(daemon.stdin, noise):
            time.sleep(SETTLE_SECONDS)
            return _share(daemon, name, seconds, TARGET_PERCENT, note)


@contextlib.contextmanager
def _playing(microphone: VirtualMicrophone, level: float | None, seconds: float) -> Iterator[None]:
    """Play noise into the microphone, or nothing: an idle null sink gives digital silence."""
    if level is None:
        yield
        return
    player = microphone.play(white_noise(seconds, level))
    try:
        yield
    finally:
        stop_process(player)


def _share(daemon: ChildDaemon, name: str, seconds: float, target: float | None = None, note: str = "") -> Measurement:
    """The daemon's CPU usage over the next `seconds`."""
    before = usage(daemon.pid)
    time.sleep(seconds)
    daemon.check()
    used = usage(daemon.pid).since(before)
    detail = (
        f"{seconds:.0f} s; user {100.0 * used.user / used.at:.2f}, system {100.0 * used.system / used.at:.2f}; "
        f"threads {used.busiest()}; {used.wakeups / used.at:.0f} wake-ups a second"
    )
    return Measurement(name, used.share, "% of a core", 1, target, f"{detail}; {note}" if note else detail)
