"""Every setting there is. `config.yaml` is written from this file, and checked against it.

`setting` gives each key its default, unit, bounds and what it does; `load.py` enforces them, `document.py` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """A dataclass field with what `load.py` and `document.py` need to know of it. Bounds are inclusive."""
    return field(
        default=default, metadata={"help": help, "unit": unit, "low": low, "high": high, "choices": choices}
    )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    name: str = setting("microsoft/wavlm-base-sv", "…")
    revision: str | None = setting(None, "…")
    device: str = setting("auto", "…", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = setting(1, "…", unit="threads", low=1, high=64)
    cache: Path | None = setting(None, "…")


@dataclass(frozen=True, slots=True)
class AudioConfig:
    source: str = setting("microphone", "…")  # "microphone", "-" (raw PCM on stdin), or a file
    device: str | int | None = setting(None, "…")
    block_ms: int = setting(20, "…", unit="ms", low=10, high=100)
    pace: str = setting("realtime", "…", choices=("realtime", "fast"))  # of a file
    always_on: bool = setting(False, "…")
    stall: float = setting(1.0, "…", unit="s", low=0.2, high=60)  # no sound for this long: the device is lost
    backoff: float = setting(0.5, "…", unit="s", low=0.1, high=60)  # before the first try to reopen; doubles to
    backoff_limit: float = setting(10.0, "…", unit="s", low=0.1, high=600)


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    frame_ms: int = setting(20, "…", unit="ms", choices=(20, 30))
    aggressiveness: int = setting(2, "…", choices=(0, 1, 2, 3))
    onset: float = setting(0.1, "…", unit="s", low=0.02, high=1)
    hangover: float = setting(0.5, "…", unit="s", low=0.1, high=3)
    confirm: bool = setting(True, "…")
    confirm_threshold: float = setting(0.5, "…", unit="probability", low=0.05, high=0.95)
    window: float = setting(3.0, "…", unit="s", low=1, high=10)
    hop: float = setting(1.5, "…", unit="s", low=0.25, high=10)
    first: float = setting(1.5, "…", unit="s", low=1, high=10)
    min_speech: float = setting(1.0, "…", unit="s", low=0.5, high=10)


@dataclass(frozen=True, slots=True)
class QueueConfig:
    windows: int = setting(16, "…", unit="windows", low=1, high=1024)
    batch: int = setting(4, "…", unit="windows", low=1, high=64)


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    threshold: float | None = setting(None, "…", unit="cosine", low=-1, high=1)  # None: the model's own
    margin: float = setting(0.05, "…", unit="cosine", low=0, high=1)
    min_speech: float = setting(1.0, "…", unit="s", low=1, high=30)  # before identify/monitor/verify may decide


@dataclass(frozen=True, slots=True)
class VerifyConfig:
    timeout: float = setting(10.0, "…", unit="s", low=1, high=120)
    speech: float = setting(2.0, "…", unit="s", low=1, high=30)  # net speech before the first decision
    max_speech: float = setting(6.0, "…", unit="s", low=1, high=60)  # net speech at which it must decide
    expires: float = setting(10.0, "…", unit="s", low=1, high=300)


@dataclass(frozen=True, slots=True)
class EnrollConfig:
    speech: float = setting(20.0, "…", unit="s", low=2, high=300)
    exemplars: int = setting(5, "…", unit="exemplars", low=1, high=20)
    timeout: float = setting(120.0, "…", unit="s", low=5, high=3600)
    min_snr_db: float = setting(6.0, "…", unit="dB", low=-20, high=60)
    max_clipping: float = setting(0.01, "…", unit="share of samples", low=0, high=1)
    min_level_dbfs: float = setting(-50.0, "…", unit="dBFS", low=-100, high=0)
    min_agreement: float = setting(0.3, "…", unit="cosine", low=-1, high=1)


@dataclass(frozen=True, slots=True)
class SocketConfig:
    path: Path | None = setting(None, "…")
    mode: int = setting(0o666, "…")  # written and shown in octal
    connections: int = setting(64, "…", unit="connections", low=1, high=4096)
    connections_per_user: int = setting(8, "…", unit="connections", low=1, high=4096)
    requests_in_flight: int = setting(16, "…", unit="requests a connection", low=1, high=1024)
    events_queued: int = setting(256, "…", unit="events a subscriber", low=8, high=65536)


@dataclass(frozen=True, slots=True)
class AccessConfig:
    monitor_group: str | None = setting(None, "…")


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: str = setting("info", "…", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, validated and immutable. `file` is where it came from; None for the built-in one."""

    model: ModelConfig = field(default_factory=ModelConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    enroll: EnrollConfig = field(default_factory=EnrollConfig)
    socket: SocketConfig = field(default_factory=SocketConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    log: LogConfig = field(default_factory=LogConfig)
    profiles: Path | None = setting(None, "…")  # folder of the store
    file: Path | None = None
