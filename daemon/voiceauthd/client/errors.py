"""The exceptions that a client raises, and how they are made from the daemon's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voiceauthd.errors import DeniedError, ExitCode, NotRunningError, VoiceauthError
from voiceauthd.protocol.errors import MAX_LINE_LENGTH, exception_for_error
from voiceauthd.protocol.wire import presentable


class CallFailedError(VoiceauthError):
    """The daemon answered a call with an error.

    Errors that have an exception of their own (`BusyError`, `NotEnrolledError`, …) are raised as that, with this one as
    their `__cause__`.

    error       the name on the wire: "org.voiceauthd.Busy"
    parameters  the error's parameters
    """

    reason = "call_failed"

    def __init__(self, error: str, parameters: Mapping[str, Any]) -> None:
        detail = str(parameters.get("detail") or dict(parameters))
        super().__init__(f"the daemon answered {presentable(error)}: {presentable(detail, MAX_LINE_LENGTH)}")
        self.error = error
        self.parameters = dict(parameters)


class NoAnswerError(NotRunningError):
    """The daemon did not answer in time, or closed the connection before the final answer."""

    reason = "no_answer"


def failure(error: str, parameters: Mapping[str, Any]) -> VoiceauthError:
    """Return the exception for an error that the daemon answered with."""
    failed = CallFailedError(error, parameters)
    known = exception_for_error(error, parameters)
    if known is None:
        return failed
    known.__cause__ = failed
    return known


def unreachable(path: str, problem: OSError) -> VoiceauthError:
    """Return the exception for a failed connection; its message says what to do."""
    if isinstance(problem, FileNotFoundError | NotADirectoryError):
        what = f"no daemon listens on {path}"
    elif isinstance(problem, ConnectionRefusedError):
        what = f"the daemon on {path} is gone"
    elif isinstance(problem, PermissionError):
        return DeniedError(f"this user may not connect to {path}")
    else:
        return NotRunningError(f"cannot reach the daemon on {path}: {problem.strerror or problem}", "unreachable")
    return NotRunningError(f"{what}: start it (`voiceauth service start`), or name its socket in $VOICEAUTHD_SOCKET")


def daemon_ended(code: int, last_log_line: str) -> VoiceauthError:
    """The error for a daemon that was started and has ended: with its own exit code, and what its log says last."""
    detail = f": {last_log_line}" if last_log_line else ""
    error = VoiceauthError(f"the daemon ended with exit code {code}{detail}", "daemon_ended")
    known = code in set(ExitCode) and code != ExitCode.OK
    error.exit_code = ExitCode(code) if known else ExitCode.NOT_RUNNING
    return error
