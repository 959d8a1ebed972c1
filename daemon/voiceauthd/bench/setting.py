"""What every measurement is given: where it may work, how often to measure, and the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.bench.models import Models


@dataclass(frozen=True, slots=True)
class Effort:
    """How often, or how long.

    forwards  of each model and length
    windows   in real time, 1.5 s apart
    quiet     seconds of silence, and of noise
    plays     of a minute of speech
    starts    of a daemon
    calls     of a client
    """

    forwards: int
    windows: int
    quiet: float
    plays: int
    starts: int
    calls: int


def effort(runs: int) -> Effort:
    """What `--runs` stands for: `runs` of what is quick, fewer of what takes seconds."""
    return Effort(
        forwards=runs,
        windows=12 * runs,
        quiet=max(20.0, 6.0 * runs),
        plays=max(1, runs // 3),
        starts=max(3, runs // 2),
        calls=2 * runs,
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """say: tells what goes on just now."""

    folder: Path
    effort: Effort
    models: Models
    say: Callable[[str], None]
