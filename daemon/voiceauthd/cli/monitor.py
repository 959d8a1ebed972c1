"""`voiceauth monitor`: who speaks, as it is heard."""

from __future__ import annotations

import argparse

from voiceauthd.cli.arguments import Parser, add_json, add_socket, count
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.event_lines import event_line
from voiceauthd.terminal.output import Output

_EXAMPLES = """
voiceauth monitor
voiceauth monitor --count 20                       twenty events, then stop
voiceauth monitor --json | jq -r 'select(.kind == "speaker") | .identity // .decision'
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth monitor`."""
    parser.explain(
        "Print every event of the daemon, a line each: the clock, who speaks, how sure (the log-likelihood ratio,\n"
        "LLR, or 'similarity, uncalibrated' where no calibration tells what it is worth; and the margin over the next\n"
        "identity), net speech, SNR, and how late. Each window speaks for itself; a line with >> says who speaks now,\n"
        "whenever that changes, and does not flicker. Ends with the daemon, with a finite source, or on Ctrl-C. Root\n"
        "and the configured group may monitor.",
        _EXAMPLES,
        (ExitCode.BUSY, ExitCode.NO_MICROPHONE, ExitCode.MODEL),
        client=True,
    )
    parser.add_argument("--count", type=count, metavar="N", help="end after N events")
    add_json(parser, "print the event objects of the interface, one a line")
    add_socket(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints events until the stream ends, `--count` is reached, or nobody reads any more."""
    seen = 0
    with Client(arguments.socket) as client:
        for reply in client.stream("Monitor"):
            event = reply["event"]
            output.line(event_line(event, output))
            output.object(event)
            seen += 1
            if output.closed or seen == arguments.count:
                break
    return ExitCode.OK
