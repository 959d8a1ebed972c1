"""Settings of the socket, of who may use it, and of the log."""

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
            "The socket's file; null: the usual place in the system's or the user's runtime folder. Clients find "
            "another place only through $VOICEAUTHD_SOCKET or their own option. Needs a restart."
        ),
    ] = None
    mode: Annotated[
        int,
        Setting(
            "Permission bits of the socket, in octal with a leading zero. Who may connect is not who may do what: the "
            "access table decides that for each caller. 0660 keeps everybody else out altogether. Needs a restart.",
            low=0o600,
            high=0o777,
            form=Form.OCTAL,
        ),
    ] = 0o666
    connections: Annotated[
        int,
        Setting(
            "Connections at one time; more are turned away. Higher serves more programs with more memory.",
            unit="connections",
            low=1,
            high=4096,
        ),
    ] = 64
    connections_per_user: Annotated[
        int,
        Setting(
            "Connections of one user at one time. Higher lets one user crowd out the others; lower may be too few for "
            "a desktop with several monitors.",
            unit="connections",
            low=1,
            high=4096,
        ),
    ] = 8
    requests_in_flight: Annotated[
        int,
        Setting(
            "Unanswered requests of one connection. Higher lets a client run further ahead, with more memory for it.",
            unit="requests a connection",
            low=1,
            high=1024,
        ),
    ] = 16
    events_queued: Annotated[
        int,
        Setting(
            "Events that wait for one slow subscriber. Then the oldest are dropped and counted. Higher forgives longer "
            "pauses with more memory; lower keeps what is read recent.",
            unit="events a subscriber",
            low=8,
            high=65536,
        ),
    ] = 256
    calls_per_minute: Annotated[
        int,
        Setting(
            "Calls of one user in a minute, of whatever kind; root and the daemon's own user are not counted. Higher "
            "lets a user's programs ask more often, and busy the daemon more.",
            unit="calls a user and minute",
            low=10,
            high=1_000_000,
        ),
    ] = 600
    tries_per_minute: Annotated[
        int,
        Setting(
            "Calls of one user in a minute that listen to the microphone: Verify, Identify, Enroll, Monitor. Root and "
            "the daemon's own user are not counted. Each is a chance to try a voice, also one that is broken off.",
            unit="calls a user and minute",
            low=1,
            high=1_000_000,
        ),
    ] = 20


@dataclass(frozen=True, slots=True)
class LockoutConfig:
    failures: Annotated[
        int,
        Setting(
            "Verifications of one person that fail within `within` and lock that person's voice. Higher lets an "
            "impostor try more often; lower locks the voice of somebody with a cold. Passwords are never touched.",
            unit="failures",
            low=1,
            high=100,
        ),
    ] = 5
    within: Annotated[
        float,
        Setting("How long a failure counts. Longer finds slow guessing, too.", unit="s", low=1, high=86_400),
    ] = 60.0
    lasts: Annotated[
        float,
        Setting(
            "How long a locked voice stays locked, also across a restart. Longer keeps guessing slower, and the owner "
            "at the password for longer.",
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
            "Size at which a file of the audit log is closed and the next one begun. With `files` it bounds what the "
            "log takes of the disk; a line is about 300 bytes.",
            unit="KiB",
            low=16,
            high=1_048_576,
        ),
    ] = 1024
    files: Annotated[
        int,
        Setting(
            "Files of the audit log that are kept, the current one included; the oldest is removed when one more is "
            "begun. Higher remembers longer.",
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
            "Members of this group may monitor and see scores; null: only root may. A score tells an attacker how "
            "close an imitation comes, so keep the group small."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: Annotated[
        str,
        Setting(
            "What is logged: this and whatever is graver. `debug` also logs every window, which tells when somebody "
            "spoke.",
            choices=("debug", "info", "warning", "error"),
        ),
    ] = "info"
