"""The settings of the socket, access rights, the lockout, and the logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from voiceauthd.config.setting import Form, Setting


@dataclass(frozen=True, slots=True)
class SocketConfig:
    path: Annotated[
        Path | None,
        Setting(
            "Path of the socket; null: the usual place in the system's or the user's runtime folder. Clients find "
            "another path only through $VOICEAUTHD_SOCKET or their own option. Needs a restart."
        ),
    ] = None
    mode: Annotated[
        int,
        Setting(
            "Permission bits of the socket, in octal with a leading zero. They only decide who may connect; what a "
            "caller may do is decided by the access table. 0660 excludes all other users. Needs a restart.",
            low=0o600,
            high=0o777,
            form=Form.OCTAL,
        ),
    ] = 0o666
    connections: Annotated[
        int,
        Setting(
            "Connections at one time; further ones are refused. Higher serves more programs and needs more memory.",
            unit="connections",
            low=1,
            high=4096,
        ),
    ] = 64
    connections_per_user: Annotated[
        int,
        Setting(
            "Connections of one user at one time. Higher lets one user crowd out the others; lower may be too few for "
            "a desktop that runs several monitors.",
            unit="connections",
            low=1,
            high=4096,
        ),
    ] = 8
    requests_in_flight: Annotated[
        int,
        Setting(
            "Unanswered requests of one connection. Higher lets a client send more ahead, and needs more memory.",
            unit="requests per connection",
            low=1,
            high=1024,
        ),
    ] = 16
    events_queued: Annotated[
        int,
        Setting(
            "Events that may wait for a slow subscriber; beyond that the oldest are dropped and counted. Higher "
            "tolerates longer pauses and needs more memory; lower keeps the events recent.",
            unit="events per subscriber",
            low=8,
            high=65536,
        ),
    ] = 256
    calls_per_minute: Annotated[
        int,
        Setting(
            "Calls of one user in a minute, of any kind; root and the daemon's own user are not limited. Higher lets a "
            "user's programs call more often, and load the daemon more.",
            unit="calls per user and minute",
            low=10,
            high=1_000_000,
        ),
    ] = 600
    tries_per_minute: Annotated[
        int,
        Setting(
            "Calls of one user in a minute that listen to the microphone: Verify, Identify, Enroll, Monitor. Root and "
            "the daemon's own user are not limited. Each call is a chance to try a voice, even if it is cancelled.",
            unit="calls per user and minute",
            low=1,
            high=1_000_000,
        ),
    ] = 20
    recordings_per_minute: Annotated[
        int,
        Setting(
            "Recordings that one user may have compared in a minute (VerifyRecording, IdentifyRecording). They are for "
            "root and the daemon's own user alone, and are limited for both: higher makes it easier to try imitated "
            "voices until one would be accepted.",
            unit="recordings per user and minute",
            low=1,
            high=1_000_000,
        ),
    ] = 60


@dataclass(frozen=True, slots=True)
class LockoutConfig:
    failures: Annotated[
        int,
        Setting(
            "Failed verifications of one person within `within` that lock that person's voice. Higher lets an impostor "
            "try more often; lower locks out somebody with a cold. Passwords are never affected.",
            unit="failures",
            low=1,
            high=100,
        ),
    ] = 5
    within: Annotated[
        float,
        Setting("How long a failure counts. Longer also detects slow guessing.", unit="s", low=1, high=86_400),
    ] = 60.0
    lasts: Annotated[
        float,
        Setting(
            "How long a locked voice stays locked, also across a restart. Longer slows down guessing, but the owner "
            "must use the password for longer.",
            unit="s",
            low=1,
            high=86_400,
        ),
    ] = 300.0


@dataclass(frozen=True, slots=True)
class AuditConfig:
    size: Annotated[
        int,
        Setting(
            "Size at which a file of the audit log is closed and the next one begun. Together with `files` it limits "
            "the disk space of the log; a line has about 300 bytes.",
            unit="KiB",
            low=16,
            high=1_048_576,
        ),
    ] = 1024
    files: Annotated[
        int,
        Setting(
            "Files of the audit log that are kept, including the current one; the oldest is removed when another one "
            "is begun. Higher keeps a longer history.",
            unit="files",
            low=2,
            high=1000,
        ),
    ] = 16


@dataclass(frozen=True, slots=True)
class AccessConfig:
    monitor_group: Annotated[
        str | None,
        Setting(
            "Members of this group may monitor and see scores; null: only root may. A score tells an attacker how good "
            "an imitation is, so keep the group small."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: Annotated[
        str,
        Setting(
            "The least severe messages that are logged. `debug` also logs every window, which reveals when somebody "
            "spoke.",
            choices=("debug", "info", "warning", "error"),
        ),
    ] = "info"
