"""Show the daemon's state: whether it is ready, the model, the policies, the audio
source, the queue, the delays, the profiles. For each policy: the false-accept
rate that it aims at, and what the calibration demonstrates. Ends with 0 if a
daemon answers, whatever its state; `voiceauth doctor` judges.

examples:
  voiceauth status
  voiceauth status --json | jq .queue.dropped
"""

from __future__ import annotations

import argparse

from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.status_rows import status_rows


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, (), client=True)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the daemon's status."""
    with Client(arguments.socket) as client:
        status = client.call("Status")
    output.object(status)
    for label, text in status_rows(status, output):
        output.wrapped(f"{label:<9} {text}", indent=10)
    return ExitCode.OK
