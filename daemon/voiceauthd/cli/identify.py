"""`voiceauth identify`: who is speaking, out of all who are enrolled."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from voiceauthd.cli.arguments import Parser, add_json, add_socket, seconds
from voiceauthd.cli.verify import listening_line
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.terminal.event_lines import how_sure
from voiceauthd.terminal.output import Output, plain

_EXAMPLES = """
voiceauth identify
voiceauth identify --timeout 5 --json | jq -r .identity
"""

_CODES = {"known": ExitCode.OK, "unknown": ExitCode.REJECT, "undecided": ExitCode.INCONCLUSIVE}


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth identify`."""
    parser.explain(
        "Listen, and name the enrolled person who speaks, or say that it is nobody enrolled. This is no proof of\n"
        "identity: to let somebody in, use `voiceauth verify NAME`.",
        _EXAMPLES,
        (ExitCode.REJECT, ExitCode.INCONCLUSIVE, ExitCode.BUSY, ExitCode.NO_MICROPHONE, ExitCode.MODEL),
        client=True,
    )
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up after S seconds (default: the daemon's)")
    add_json(parser, "print the daemon's decision as one JSON object")
    add_socket(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Identifies. OK only for somebody enrolled."""
    parameters = {} if arguments.timeout is None else {"timeout": arguments.timeout}
    answer: Mapping[str, Any] = {}
    with Client(arguments.socket) as client:
        for answer in client.stream("Identify", **parameters):
            if answer.get("state") != "decided":
                output.progress(listening_line(answer))
    output.clear()
    decision = str(answer.get("decision"))
    if answer.get("state") != "decided" or decision not in _CODES:
        raise NotRunningError("the daemon ended the identification without a decision", "no_answer")
    if decision == "known" and not answer.get("identity"):
        raise NotRunningError("the daemon knows somebody and does not say whom", "no_answer")
    output.object(answer)
    name = plain(answer["identity"]) if decision == "known" else decision
    colour = "green" if decision == "known" else "yellow"
    output.line(f"{output.style(name, 'bold', colour)}  {how_sure(answer)}  ({plain(answer.get('reason'))})")
    if decision != "known" and answer.get("advice"):
        output.line(f"  {plain(answer['advice'])}")
    return _CODES[decision]
