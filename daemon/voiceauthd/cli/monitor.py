"""Print every event of the daemon, one a line: the clock, who is speaking, how
sure (the log-likelihood ratio, LLR, or an uncalibrated cosine; and the margin
over the next identity), net speech, SNR in dB, how late, and why it is nobody.
Each window is judged on its own; a line with >> says who is speaking now,
whenever that changes, and does not flicker. Ends with the daemon, with a finite
source, or on Ctrl-C. Root and the group `access.monitor_group` may monitor.

examples:
  voiceauth monitor
  voiceauth monitor --count 20               twenty events, then stop
  voiceauth monitor --json | jq -r 'select(.kind == "speaker") | .identity'
"""

from __future__ import annotations

import argparse

from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.argument_types import count
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.print_event import print_event


def configure(parser: Parser) -> None:
    codes = (ExitCode.BUSY, ExitCode.NO_MICROPHONE, ExitCode.MODEL)
    parser.explain_command(__doc__, codes, client=True, json="print the event objects of the interface, one a line")
    parser.add_argument("--count", type=count, metavar="N", help="end after N events")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print events until the stream ends, `--count` is reached, or the reader has gone."""
    seen = 0
    with Client(arguments.socket) as client:
        for reply in client.stream("Monitor"):
            print_event(reply["event"], output)
            seen += 1
            if output.closed or seen == arguments.count:
                break
    return ExitCode.OK
