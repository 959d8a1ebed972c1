"""Listen for a few seconds, and decide whether it is NAME who is speaking. Only
audio from now on counts. A voice alone is a convenience or a second factor: do
not make it the only thing that guards root.

A policy is how often a stranger may be taken for NAME: by default 1 in 100 for
monitor, 1 in 1,000 for unlock, 1 in 10,000 for auth. auth is refused before
listening, until the calibration has enough independent trials to demonstrate
its rate; `voiceauth status` shows what is demonstrated. Without a calibration
all policies decide by the same similarity, and none of the rates is known to
hold.

examples:
  voiceauth verify alice
  voiceauth verify alice --timeout 5 && echo "come in"
  voiceauth verify alice --policy auth && ./open-the-safe
  voiceauth verify alice --json --nonce "$(uuidgen)"
"""

from __future__ import annotations

import argparse

from voiceauthd.cli.arguments import LISTENING_CODES, add_timeout
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.decision_lines import decision_line, decision_object, listening_line
from voiceauthd.terminal.output import Output, plain

POLICIES = ("monitor", "unlock", "auth")


def configure(parser: Parser) -> None:
    codes = (ExitCode.REJECT, *LISTENING_CODES, ExitCode.NOT_ENROLLED, ExitCode.STORAGE)
    parser.explain_command(__doc__, codes, client=True, json="print the decision as one JSON object")
    parser.add_argument("name", metavar="NAME", help="who it should be")
    add_timeout(parser)
    parser.add_argument("--nonce", metavar="N", help="a text that the answer must carry (default: a random one)")
    policy = "monitor, unlock or auth: how strict to be (default: unlock); auth is refused until demonstrated"
    parser.add_argument("--policy", choices=POLICIES, metavar="NAME", help=policy)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Verify. Returns OK only for a decision that accepts and has not expired when this returns."""
    with Client(arguments.socket) as client:
        verified = client.verify(
            arguments.name,
            arguments.timeout,
            arguments.nonce,
            lambda reply: output.progress(listening_line(reply)),
            arguments.policy,
        )
    output.clear()
    output.line(decision_line(verified, output))
    if verified.advice and not verified.accepted:
        output.line(f"  {plain(verified.advice)}")
    output.object(decision_object(verified))
    if verified.accepted:
        return ExitCode.OK
    return ExitCode.REJECT if verified.outcome == "reject" else ExitCode.INCONCLUSIVE
