"""The command `voiceauth`: finds the command, runs it, and turns whatever happens into an exit code.

No failure of any kind ends with 0: what is not foreseen ends with `ExitCode.INTERNAL`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from voiceauthd.cli.arguments import Parser
from voiceauthd.cli.manual import COMMANDS, INTERRUPTED, manual
from voiceauthd.errors import ExitCode, UsageError, VoiceauthError
from voiceauthd.terminal.output import Output, standard_output

_DEBUG = "VOICEAUTHD_DEBUG"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. `arguments` default to those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    output = standard_output("--json" in words)
    try:
        return _dispatch(words, output)
    except SystemExit as ending:  # argparse has printed a help page
        return ending.code if isinstance(ending.code, int) else ExitCode.USAGE
    except KeyboardInterrupt:
        output.clear()
        return INTERRUPTED
    except VoiceauthError as error:
        return _failed(error, output)
    except BaseException as problem:  # noqa: BLE001 - the last line of defence: nothing may end with 0 by accident
        return _defect(problem, output)


def _dispatch(words: list[str], output: Output) -> int:
    first = words[0] if words else "--help"
    if first in {"-h", "--help", "help"}:
        if len(words) > 1 and first == "help":
            return _dispatch([words[1], "--help"], output)
        output.raw(manual())
        return ExitCode.OK if words else ExitCode.USAGE
    if first == "--version":
        from voiceauthd import __version__

        output.raw(f"voiceauth {__version__}\n")
        return ExitCode.OK
    command = next((entry for entry in COMMANDS if entry.name == first), None)
    if command is None:
        raise UsageError(_unknown(first))
    module = import_module(command.module)
    parser = Parser(f"voiceauth {command.name}")
    module.configure(parser)
    parsed = parser.parse_args(words[1:])
    output.as_json = bool(getattr(parsed, "json", False))
    return int(module.run(parsed, output))


def _unknown(word: str) -> str:
    if word.startswith("-"):
        return f"unknown option {word!r} before a command (`voiceauth --help` lists the commands)"
    from difflib import get_close_matches

    near = get_close_matches(word, [command.name for command in COMMANDS], 1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return f"unknown command {word!r}{hint} (`voiceauth --help` lists them)"


def _failed(error: VoiceauthError, output: Output) -> int:
    if os.environ.get(_DEBUG):
        _traceback(error)
    try:
        output.failure(error)
    except VoiceauthError as second:
        output.note(f"voiceauth: {second}")
    code = int(error.exit_code)
    return code if code != ExitCode.OK else int(ExitCode.INTERNAL)


def _defect(problem: BaseException, output: Output) -> int:
    if os.environ.get(_DEBUG):
        _traceback(problem)
    detail = str(problem).splitlines()[0] if str(problem) else "no details"
    message = f"this is a defect of voiceauth: {type(problem).__name__}: {detail}"
    return _failed(VoiceauthError(f"{message} ({_DEBUG}=1 shows the traceback)"), output)


def _traceback(problem: BaseException) -> None:
    from traceback import print_exception

    print_exception(problem)


if __name__ == "__main__":
    sys.exit(main())
