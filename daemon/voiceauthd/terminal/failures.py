"""How a command reports an error, and the exit code that follows from it. No error ends with 0."""

from __future__ import annotations

import os

from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.terminal.output import Output

_DEBUG = "VOICEAUTHD_DEBUG"


def report_failure(error: VoiceauthError, output: Output) -> int:
    """Print the error, and return its exit code."""
    _trace(error)
    try:
        output.failure(error)
    except VoiceauthError as second:
        output.note(f"voiceauth: {second}")
    code = int(error.exit_code)
    return code if code != ExitCode.OK else int(ExitCode.INTERNAL)


def report_defect(problem: BaseException, output: Output) -> int:
    """Print an exception that nothing expects, and return the exit code."""
    _trace(problem)
    detail = str(problem).splitlines()[0] if str(problem) else "no details"
    message = f"this is a defect of voiceauth: {type(problem).__name__}: {detail}"
    return report_failure(VoiceauthError(f"{message} ({_DEBUG}=1 shows the traceback)"), output)


def _trace(problem: BaseException) -> None:
    if os.environ.get(_DEBUG):
        from traceback import print_exception

        print_exception(problem)
