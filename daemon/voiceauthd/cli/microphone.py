"""List the microphones, and test one. Needs no daemon.

examples:
  voiceauth microphone list
  voiceauth microphone test --device "USB Audio"
  voiceauth config set audio.device "USB Audio"
"""

from __future__ import annotations

import argparse

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, (ExitCode.NO_MICROPHONE, ExitCode.CONFIG))
    example = "voiceauth microphone list"
    parser.action(_list, "list", "List every device that can record; * marks the default", example)
    example = 'voiceauth microphone test\nvoiceauth microphone test --device "USB Audio"'
    more = " Speak\nmeanwhile; nothing is kept."
    test = parser.action(_test, "test", "Record three seconds, and say whether the level is right", example, more=more)
    test.add_argument("--device", metavar="NAME", help="name or number (default: the configured one)")


def _list(_arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.setup.report import show_microphones

    show_microphones(output)
    return ExitCode.OK


def _test(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.setup.report import show_level

    show_level(arguments.device, output)
    return ExitCode.OK
