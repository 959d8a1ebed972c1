"""Every setting there is: its type, default, unit, bounds, and what it does.

`load.py` enforces what stands here, `document.py` prints it; `config.yaml` and the table in `docs/configuration.md`
are made from it. A help text says what the key does and what follows from raising or lowering it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from voiceauthd.config.audio_settings import AudioConfig, ModelConfig, QueueConfig, SpeechConfig
from voiceauthd.config.decision_settings import (
    DecisionConfig,
    EnrollConfig,
    GateConfig,
    MonitorConfig,
    PoliciesConfig,
    VerifyConfig,
)
from voiceauthd.config.service_settings import AccessConfig, AuditConfig, LockoutConfig, LogConfig, SocketConfig
from voiceauthd.config.setting import Section, Setting

__all__ = [
    "AccessConfig",
    "AudioConfig",
    "AuditConfig",
    "Config",
    "DecisionConfig",
    "EnrollConfig",
    "GateConfig",
    "LockoutConfig",
    "LogConfig",
    "ModelConfig",
    "MonitorConfig",
    "PoliciesConfig",
    "QueueConfig",
    "SocketConfig",
    "SpeechConfig",
    "VerifyConfig",
]


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, validated and immutable.

    file     where it came from; None for the built-in one
    origins  of each key that is not at its default: where the value was set, as in "/etc/voiceauthd/config.yaml:12"
    """

    model: Annotated[ModelConfig, Section("The speaker model.")] = field(default_factory=ModelConfig)
    audio: Annotated[AudioConfig, Section("Where sound comes from.")] = field(default_factory=AudioConfig)
    speech: Annotated[SpeechConfig, Section("What counts as speech, and how it is cut into windows.")] = field(
        default_factory=SpeechConfig
    )
    queue: Annotated[QueueConfig, Section("Between the microphone and the model.")] = field(default_factory=QueueConfig)
    gate: Annotated[GateConfig, Section("Which windows are good enough to be compared.")] = field(
        default_factory=GateConfig
    )
    policies: Annotated[PoliciesConfig, Section("How often a stranger may be taken for somebody.")] = field(
        default_factory=PoliciesConfig
    )
    decision: Annotated[DecisionConfig, Section("When a voice counts as somebody's.")] = field(
        default_factory=DecisionConfig
    )
    verify: Annotated[VerifyConfig, Section("One verification: is this person speaking?")] = field(
        default_factory=VerifyConfig
    )
    enroll: Annotated[EnrollConfig, Section("What an enrolment asks for, and what it refuses.")] = field(
        default_factory=EnrollConfig
    )
    monitor: Annotated[MonitorConfig, Section("The label of who speaks now.")] = field(default_factory=MonitorConfig)
    socket: Annotated[SocketConfig, Section("The local socket and its limits.")] = field(default_factory=SocketConfig)
    access: Annotated[AccessConfig, Section("Who may do what, beyond root and oneself.")] = field(
        default_factory=AccessConfig
    )
    lockout: Annotated[LockoutConfig, Section("How often a voice may fail before it is locked for a while.")] = field(
        default_factory=LockoutConfig
    )
    audit: Annotated[AuditConfig, Section("The record of who did what, in `audit` in the state folder.")] = field(
        default_factory=AuditConfig
    )
    log: Annotated[LogConfig, Section("The log, on standard error.")] = field(default_factory=LogConfig)
    profiles: Annotated[
        Path | None,
        Setting(
            "Folder of the enrolled voices; null: the service's state folder, /var/lib/voiceauthd/profiles for root, "
            "else ~/.local/state/voiceauthd/profiles. Profiles are not moved when it changes."
        ),
    ] = None
    scoring: Annotated[
        Path | None,
        Setting(
            "Folder of the cohorts and calibrations that were made on this machine; null: `scoring` beside the default "
            "folder of the profiles. What comes with the package serves where there is none for the model."
        ),
    ] = None
    state: Annotated[
        Path | None,
        Setting(
            "Folder of the key that profiles are encrypted with (unless it is a systemd credential), of the audit log "
            "and of the lockouts; null: where the folder of the profiles lies. Needs a restart."
        ),
    ] = None
    file: Path | None = None
    origins: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
