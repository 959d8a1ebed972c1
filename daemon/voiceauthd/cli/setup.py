"""Set everything up, in about three minutes: choose and test the microphone,
fetch a model or use the one there, start the daemon (as your own service, or
the system's, whichever can hear the microphone), enrol your voice, and verify
it once. Each step shows the command behind it, which also works alone. What is
done already is not done again: after a failure, run it again. Ends with the
code of the verification, or of the step that failed.

examples:
  voiceauth setup                     asks what to choose
  voiceauth setup --yes --name alice  takes every default
"""

from __future__ import annotations

import argparse

from voiceauthd.cli.arguments import LISTENING_CODES, RECORDING_CODES
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, (ExitCode.REJECT, *LISTENING_CODES, *RECORDING_CODES), client=True)
    parser.add_argument("--name", metavar="NAME", help="whom to enrol (default: you)")
    parser.add_argument("--yes", action="store_true", help="ask nothing, take every default")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run the steps, each through its own command."""
    from voiceauthd.cli.main import dispatch
    from voiceauthd.setup.guide import Guide

    return Guide(arguments.name, arguments.yes, lambda words: dispatch(list(words), output), output).run()
