"""What every measurement is given: a folder to work in, how often to measure, and the models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.bench.models import Model, Models


@dataclass(frozen=True, slots=True)
class Effort:
    """How often, or for how long, each part measures.

    forwards         forward passes of each model and window length
    windows          windows in real time, 1.5 s apart
    silence_seconds  of digital silence, and of noise
    file_runs        runs of a minute of speech from a file
    starts           starts of a daemon
    calls            calls of a client
    """

    forwards: int
    windows: int
    silence_seconds: float
    file_runs: int
    starts: int
    calls: int

    @classmethod
    def from_runs(cls, runs: int) -> Effort:
        """The meaning of `--runs`: `runs` of quick measurements, fewer of those that take seconds."""
        return cls(
            forwards=runs,
            windows=12 * runs,
            silence_seconds=max(20.0, 6.0 * runs),
            file_runs=max(1, runs // 3),
            starts=max(3, runs // 2),
            calls=2 * runs,
        )


@dataclass(frozen=True, slots=True)
class BenchContext:
    """What a measurement works with.

    folder    for temporary files
    progress  shows the current step to the user
    """

    folder: Path
    effort: Effort
    models: Models
    progress: Callable[[str], None]

    def daemon(
        self, model: Model, audio: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> ChildDaemon:
        """A daemon, not yet started, that runs `model`. `audio`: the section of that name of its configuration."""
        config = model.config
        settings = {
            "model": {
                "name": config.name,
                "device": config.device,
                "threads": config.threads,
                "cache": str(config.cache),
            },
            "audio": dict(audio),
            "log": {"level": "warning"},
        }
        folder = Path(tempfile.mkdtemp(prefix="daemon-", dir=self.folder))
        return ChildDaemon(folder, settings, environment=environment)
