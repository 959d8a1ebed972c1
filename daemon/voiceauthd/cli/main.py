"""The command `voiceauth`: finds the command, runs it, and turns every outcome into an exit code.

No failure of any kind ends with 0: an unexpected one ends with `ExitCode.INTERNAL`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from voiceauthd.cli.manual import COMMANDS
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.exit_meanings import INTERRUPTED
from voiceauthd.terminal.failures import report_defect, report_failure
from voiceauthd.terminal.manual_text import Command, manual
from voiceauthd.terminal.nearest_command import unknown_command
from voiceauthd.terminal.output import Output, standard_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `arguments` default to those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    output = standard_output("--json" in words)
    try:
        return dispatch(words, output)
    except SystemExit as ending:  # argparse has printed a help page
        return ending.code if isinstance(ending.code, int) else ExitCode.USAGE
    except KeyboardInterrupt:
        output.clear()
        return INTERRUPTED
    except VoiceauthError as error:
        return report_failure(error, output)
    except BaseException as problem:  # noqa: BLE001 - the last line of defence: nothing may end with 0 by accident
        return report_defect(problem, output)


def dispatch(words: list[str], output: Output) -> int:
    """Run the command that `words` name and return its exit code. Raises its errors, `UsageError` for a wrong name."""
    first = words[0] if words else "--help"
    if first in {"-h", "--help", "help"}:
        if len(words) > 1 and first == "help":
            return dispatch([words[1], "--help"], output)
        output.raw(manual(COMMANDS))
        return ExitCode.OK if words else ExitCode.USAGE
    if first == "--version":
        from voiceauthd import __version__

        output.raw(f"voiceauth {__version__}\n")
        return ExitCode.OK
    command = next((entry for entry in COMMANDS if entry.name == first), None)
    if command is None:
        pairs = [(entry.name, action) for entry in COMMANDS for action in parser_of(entry).actions]
        raise unknown_command(words, [entry.name for entry in COMMANDS], pairs)
    parsed = parser_of(command).read(words[1:])
    output.as_json = bool(getattr(parsed, "json", False))
    run = parsed.run if "run" in parsed else import_module(command.module).run
    return int(run(parsed, output))


def parser_of(command: Command) -> Parser:
    """Return the parser of one command, as its module configures it."""
    parser = Parser(f"voiceauth {command.name}")
    import_module(command.module).configure(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
