"""The schema of the configuration: each setting with its type, default, unit, bounds and description.

`load.py` enforces the schema and `document.py` prints it; `config.yaml` and the table in `docs/configuration.md` are
generated from it. A description says what the setting does and what happens when it is raised or lowered.
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

    file     the configuration file; None if there was none
    origins  key and place of each setting that was set, as in ("audio.device", "/etc/voiceauthd/config.yaml:12")
    """

    model: Annotated[ModelConfig, Section("The speaker model.")] = field(default_factory=ModelConfig)
    audio: Annotated[AudioConfig, Section("The audio source.")] = field(default_factory=AudioConfig)
    speech: Annotated[SpeechConfig, Section("Detecting speech and cutting it into windows.")] = field(
        default_factory=SpeechConfig
    )
    queue: Annotated[QueueConfig, Section("The queue between the microphone and the model.")] = field(
        default_factory=QueueConfig
    )
    gate: Annotated[GateConfig, Section("The quality that a window needs to be compared.")] = field(
        default_factory=GateConfig
    )
    policies: Annotated[PoliciesConfig, Section("The error rates that decisions aim at.")] = field(
        default_factory=PoliciesConfig
    )
    decision: Annotated[DecisionConfig, Section("When a voice counts as an enrolled person's.")] = field(
        default_factory=DecisionConfig
    )
    verify: Annotated[VerifyConfig, Section("One verification: is this person speaking?")] = field(
        default_factory=VerifyConfig
    )
    enroll: Annotated[EnrollConfig, Section("What an enrolment requires, and what it refuses.")] = field(
        default_factory=EnrollConfig
    )
    monitor: Annotated[MonitorConfig, Section("The label of the current speaker.")] = field(
        default_factory=MonitorConfig
    )
    socket: Annotated[SocketConfig, Section("The local socket and its limits.")] = field(default_factory=SocketConfig)
    access: Annotated[AccessConfig, Section("Access rights besides those of root and of each user.")] = field(
        default_factory=AccessConfig
    )
    lockout: Annotated[LockoutConfig, Section("How often a voice may fail before it is locked for a while.")] = field(
        default_factory=LockoutConfig
    )
    audit: Annotated[AuditConfig, Section("The audit log, in the folder `audit` of the state folder.")] = field(
        default_factory=AuditConfig
    )
    log: Annotated[LogConfig, Section("The log, on standard error.")] = field(default_factory=LogConfig)
    profiles: Annotated[
        Path | None,
        Setting(
            "Folder of the enrolled voices; null: `profiles` in the service's state folder, else "
            "/var/lib/voiceauthd/profiles for root and ~/.local/state/voiceauthd/profiles for others. Existing "
            "profiles are not moved when this changes."
        ),
    ] = None
    scoring: Annotated[
        Path | None,
        Setting(
            "Folder of the cohorts and calibrations made on this machine; null: `scoring` next to the default folder "
            "of the profiles. If it has none for the model, those of the package are used."
        ),
    ] = None
    state: Annotated[
        Path | None,
        Setting(
            "Folder of the profile key (unless that is a systemd credential), the audit log and the lockouts; null: "
            "the parent of the folder of the profiles. Needs a restart."
        ),
    ] = None
    file: Path | None = None
    origins: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
