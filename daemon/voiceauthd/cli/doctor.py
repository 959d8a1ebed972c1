"""Check everything between the microphone and the socket. Each check has a stable
name and ends as ok, warn or fail, with what was found and what to do. The
microphone is opened for half a second, unless the daemon has it. Ends with 0 if
nothing failed, else with the code of the first failure. Changes nothing.

examples:
  voiceauth doctor
  voiceauth doctor --deep
  voiceauth doctor --json | jq '.checks[] | select(.state == "fail")'
"""

from __future__ import annotations

import argparse

from voiceauthd.doctor.all_checks import run_checks
from voiceauthd.doctor.check import FAIL
from voiceauthd.doctor.report import check_lines, checks_object, summary_line
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output


def configure(parser: Parser) -> None:
    codes = (ExitCode.NO_MICROPHONE, ExitCode.CONFIG, ExitCode.MODEL, ExitCode.STORAGE)
    parser.explain_command(__doc__, codes, client=True)
    parser.add_argument("--deep", action="store_true", help="also load the model, which takes seconds")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run the checks, and print each result as it arrives."""
    done = []
    output.progress("checking")
    for check in run_checks(arguments.socket, deep=arguments.deep):
        for line in check_lines(check, output):
            output.line(line)
        output.progress("checking")
        done.append(check)
    output.clear()
    output.object(checks_object(done))
    output.line(summary_line(done))
    return next((check.code for check in done if check.state == FAIL), ExitCode.OK)
