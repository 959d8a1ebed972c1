"""What can go wrong, said once: the exit codes, and the errors a person can act on.

Every error here is one line for the person who must act: what is wrong, where, what to do. It carries a stable
`reason` code for programs and the exit code that the commands end with. Anything that is not a `VoiceauthError` is
a defect of ours and ends with `ExitCode.INTERNAL`; no failure of any kind ends with 0.

Standard library only: clients import this module.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How `voiceauth` and `voiceauthd` end. `docs/exit-codes.md` explains each to the user."""

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
    LOCKED = 14  # too many failures; a password is not affected
    INTERNAL = 70


class VoiceauthError(Exception):
    """The root of every error a person can act on.

    `reason` is the stable code that programs read; it defaults to the class's own.
    """

    exit_code = ExitCode.INTERNAL
    reason = "internal"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class UsageError(VoiceauthError):
    """A command or a request that makes no sense as it was given."""

    exit_code = ExitCode.USAGE
    reason = "usage"


class ConfigError(VoiceauthError):
    """A configuration that is refused; the message names file, line and key."""

    exit_code = ExitCode.CONFIG
    reason = "config"


class SourceError(VoiceauthError):
    """No sound can be had: no microphone, a device that vanished, a stream that does not flow."""

    exit_code = ExitCode.NO_MICROPHONE
    reason = "no_microphone"


class AudioError(VoiceauthError):
    """A recording that cannot be used: missing, not audio, too short, silent, clipped."""

    exit_code = ExitCode.AUDIO
    reason = "bad_audio"


class ModelError(VoiceauthError):
    """A model that cannot be had, does not match its hash, or gives no usable embedding."""

    exit_code = ExitCode.MODEL
    reason = "model_unavailable"


class NotEnrolledError(VoiceauthError):
    """Nobody of that name is enrolled."""

    exit_code = ExitCode.NOT_ENROLLED
    reason = "not_enrolled"


class StorageError(VoiceauthError):
    """A profile that cannot be read, written or trusted."""

    exit_code = ExitCode.STORAGE
    reason = "storage"


class BusyError(VoiceauthError):
    """Somebody else is verifying or enrolling just now."""

    exit_code = ExitCode.BUSY
    reason = "busy"


class WithdrawnError(VoiceauthError):
    """The daemon ended a request before it was decided: it stops, or was reconfigured."""

    exit_code = ExitCode.INCONCLUSIVE
    reason = "cancelled"


class LockedError(VoiceauthError):
    """A voice that failed too often is not listened to for a while. `seconds`: how long still."""

    exit_code = ExitCode.LOCKED
    reason = "locked"

    def __init__(self, message: str, reason: str | None = None, *, seconds: float = 0.0) -> None:
        super().__init__(message, reason)
        self.seconds = seconds


class TooOftenError(BusyError):
    """More calls in a minute than a user may make. `limit` calls; `seconds` until the next one is taken."""

    reason = "too_often"

    def __init__(self, message: str, reason: str | None = None, *, limit: int = 0, seconds: float = 0.0) -> None:
        super().__init__(message, reason)
        self.limit = limit
        self.seconds = seconds


class DeniedError(VoiceauthError):
    """The caller may not do that."""

    exit_code = ExitCode.DENIED
    reason = "denied"


class NotRunningError(VoiceauthError):
    """No daemon answers on the socket."""

    exit_code = ExitCode.NOT_RUNNING
    reason = "not_running"


class AlreadyRunningError(VoiceauthError):
    """Another daemon already answers on the socket."""

    exit_code = ExitCode.ALREADY_RUNNING
    reason = "already_running"
