"""How a command reports an error, and the exit code that follows from it. No error ends with 0."""

from __future__ import annotations

import os
from collections.abc import Sequence

from voiceauthd.errors import ExitCode, UsageError, VoiceauthError
from voiceauthd.terminal.output import Output

_DEBUG = "VOICEAUTHD_DEBUG"


def unknown_command(word: str, commands: Sequence[str]) -> UsageError:
    """Return the error for a word that is not a command, with the nearest one."""
    if word.startswith("-"):
        return UsageError(f"unknown option {word!r} before a command (`voiceauth --help` lists the commands)")
    from difflib import get_close_matches

    near = get_close_matches(word, commands, 1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return UsageError(f"unknown command {word!r}{hint} (`voiceauth --help` lists them)")


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
