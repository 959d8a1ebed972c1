"""What an open microphone costs while nobody speaks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.bench.process_usage import usage
from voiceauthd.bench.report import Figure, NotMeasuredError
from voiceauthd.bench.setting import Setting
from voiceauthd.bench.sound import Feeder, Monitor, noise
from voiceauthd.bench.virtual_microphone import VirtualMicrophone
from voiceauthd.errors import SourceError

TARGET_PERCENT = 2

LEVELS: tuple[tuple[str, float | None], ...] = (("digital silence", None), ("noise at -60 dBFS", -60.0))
"""A muted microphone, and one in a quiet room."""

SETTLE = 3.0
"""Seconds between the opening and the first look."""

CLOSED = 10.0
"""Seconds for which the daemon is watched while nobody listens."""

OPEN_LIMIT = 15.0
"""Seconds for the microphone to open."""


def measure_silence(setting: Setting) -> list[Figure]:
    """Through a virtual microphone if there can be one, else through standard input, and then it says so."""
    try:
        return _through_microphone(setting)
    except (NotMeasuredError, SourceError) as problem:
        note = f"no virtual microphone ({problem}): sound on standard input"
        return [_through_pipe(setting, name, level, note) for name, level in LEVELS]


def _through_microphone(setting: Setting) -> list[Figure]:
    model = setting.models.chosen()
    with (
        VirtualMicrophone(setting.folder / "pulse") as microphone,
        ChildDaemon(setting.folder, model, {"source": "microphone"}, microphone.environment) as child,
    ):
        child.wait_ready()
        setting.say("silence: nobody listens")
        figures = [_share(child, "microphone closed, nobody listens", CLOSED)]
        with Monitor(child.socket) as monitor:
            opened = str(monitor.wait_for_source("open", "lost", limit=OPEN_LIMIT)["detail"])
            if opened.startswith("lost"):
                raise SourceError(opened)
            for name, level in LEVELS:
                setting.say(f"silence: {name}")
                with _playing(microphone, level, setting.effort.quiet + 2 * SETTLE):
                    time.sleep(SETTLE)
                    figures.append(_share(child, name, setting.effort.quiet, TARGET_PERCENT))
    return figures


def _through_pipe(setting: Setting, name: str, level: float | None, note: str) -> Figure:
    setting.say(f"silence: {name}, on standard input")
    quiet = setting.effort.quiet
    with ChildDaemon(setting.folder, setting.models.chosen(), {"source": "-"}) as child:
        child.wait_ready()
        with Monitor(child.socket), Feeder(child.stdin, noise(quiet + 2 * SETTLE, level)):
            time.sleep(SETTLE)
            return _share(child, name, quiet, TARGET_PERCENT, note)


@contextlib.contextmanager
def _playing(microphone: VirtualMicrophone, level: float | None, seconds: float) -> Iterator[None]:
    """A null sink that nobody plays into gives digital silence by itself."""
    if level is None:
        yield
        return
    player = microphone.play(noise(seconds, level))
    try:
        yield
    finally:
        microphone.stop(player)


def _share(child: ChildDaemon, name: str, seconds: float, target: float | None = None, note: str = "") -> Figure:
    before = usage(child.pid)
    time.sleep(seconds)
    child.check()
    used = usage(child.pid).since(before)
    detail = (
        f"{seconds:.0f} s; user {100.0 * used.user / used.at:.2f}, system {100.0 * used.system / used.at:.2f}; "
        f"threads {used.busiest()}; {used.wakeups / used.at:.0f} wake-ups a second"
    )
    return Figure(name, used.share, "% of a core", 1, target, f"{detail}; {note}" if note else detail)
