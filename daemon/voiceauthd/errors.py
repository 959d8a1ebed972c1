"""The exit codes, and the errors that a person can act on.

The message of an error is one line: what is wrong, where, and what to do. Each error has a stable `reason` code for
programs and the exit code of the commands. Any other exception is a defect of voiceauthd and ends with
`ExitCode.INTERNAL`; no failure ends with 0.

Standard library only: clients import this module.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of `voiceauth` and `voiceauthd`. `docs/exit-codes.md` explains them to the user."""

    OK = 0  # success; for verify: accepted
    REJECT = 1
    USAGE = 2
    INCONCLUSIVE = 3
    BUSY = 4
    NOT_ENROLLED = 5
    NO_MICROPHONE = 6
    NOT_RUNNING = 7
    DENIED = 8
    CONFIG = 9
    MODEL = 10
    AUDIO = 11  # a recording or a take that cannot be used
    STORAGE = 12
    ALREADY_RUNNING = 13
    LOCKED = 14  # too many failures; passwords are not affected
    INTERNAL = 70


class VoiceauthError(Exception):
    """The base of all errors that a person can act on.

    `reason` is the stable code for programs; the default is the class's own.
    """

    exit_code = ExitCode.INTERNAL
    reason = "internal"

    def __init_subclass__(cls, *, exit_code: ExitCode | None = None, reason: str | None = None) -> None:
        cls.exit_code = cls.exit_code if exit_code is None else exit_code
        cls.reason = cls.reason if reason is None else reason

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class UsageError(VoiceauthError, exit_code=ExitCode.USAGE, reason="usage"):
    """A command or request that is invalid."""


class ConfigError(VoiceauthError, exit_code=ExitCode.CONFIG, reason="config"):
    """An invalid configuration; the message names file, line and key."""


class SourceError(VoiceauthError, exit_code=ExitCode.NO_MICROPHONE, reason="no_microphone"):
    """No audio source: no microphone, a device that was removed, a stream that has stalled."""


class AudioError(VoiceauthError, exit_code=ExitCode.AUDIO, reason="bad_audio"):
    """A recording that cannot be used: missing, not audio, too short, silent, clipped."""


class LockedError(VoiceauthError, exit_code=ExitCode.LOCKED, reason="locked"):
    """A voice that is locked after too many failures. `seconds`: remaining duration of the lock."""

    def __init__(self, message: str, reason: str | None = None, *, seconds: float = 0.0) -> None:
        super().__init__(message, reason)
        self.seconds = seconds


class ModelError(VoiceauthError, exit_code=ExitCode.MODEL, reason="model_unavailable"):
    """A model that is not available, does not match its hash, or returns no usable embedding."""


class NotEnrolledError(VoiceauthError, exit_code=ExitCode.NOT_ENROLLED, reason="not_enrolled"):
    """Nobody is enrolled under that name."""


class StorageError(VoiceauthError, exit_code=ExitCode.STORAGE, reason="storage"):
    """A file of profiles, keys, scoring, audit or settings that cannot be read, written or trusted."""


class BusyError(VoiceauthError, exit_code=ExitCode.BUSY, reason="busy"):
    """Another caller is verifying or enrolling, or another process holds a lock."""


class TooOftenError(BusyError, reason="too_often"):
    """More calls in a minute than a user may make. `limit`: calls per minute; `seconds` until the next is accepted."""

    def __init__(self, message: str, reason: str | None = None, *, limit: int = 0, seconds: float = 0.0) -> None:
        super().__init__(message, reason)
        self.limit = limit
        self.seconds = seconds


class WithdrawnError(VoiceauthError, exit_code=ExitCode.INCONCLUSIVE, reason="cancelled"):
    """The daemon ended a request before its decision, because it is stopping or was reconfigured."""


class DeniedError(VoiceauthError, exit_code=ExitCode.DENIED, reason="denied"):
    """The caller lacks the permission."""


class NotRunningError(VoiceauthError, exit_code=ExitCode.NOT_RUNNING, reason="not_running"):
    """No daemon is listening on the socket."""


class AlreadyRunningError(VoiceauthError, exit_code=ExitCode.ALREADY_RUNNING, reason="already_running"):
    """Another daemon is already listening on the socket."""
