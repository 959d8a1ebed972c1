"""Listen for a few seconds, and decide whether it is NAME who is speaking. Only
audio from now on counts. A voice alone is a convenience or a second factor: do
not make it the only thing that guards root.

A policy is how often a stranger may be taken for NAME: by default 1 in 100 for
monitor, 1 in 1,000 for unlock, 1 in 10,000 for auth. auth is refused before
listening, until the calibration has enough independent trials to demonstrate
its rate; `voiceauth status` shows what is demonstrated. Without a calibration
all policies decide by the same similarity, and none of the rates is known to
hold.

With FILES, decide on each of these recordings instead: through the running
daemon, for root and its own user, else in this process, with your own profiles.
That opens nothing: it never counts for a login or a lockout.

examples:
  voiceauth verify alice
  voiceauth verify alice monday.wav tuesday.flac
  voiceauth verify alice --timeout 5 && echo "come in"
  voiceauth verify alice --policy auth && ./open-the-safe
  voiceauth verify alice --json --nonce "$(uuidgen)"
"""

from __future__ import annotations

import argparse
import os

from voiceauthd.cli.arguments import LISTENING_CODES, add_timeout
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.decision_lines import decision_line, decision_object, listening_line
from voiceauthd.terminal.offers import offer_profiles
from voiceauthd.terminal.output import Output, plain

POLICIES = ("monitor", "unlock", "auth")


def configure(parser: Parser) -> None:
    codes = (ExitCode.REJECT, *LISTENING_CODES, ExitCode.NOT_ENROLLED, ExitCode.AUDIO, ExitCode.STORAGE)
    parser.explain_command(__doc__, codes, client=True, json="print the decision as one JSON object")
    offer_profiles(parser.add_argument("name", metavar="NAME", help="who it should be"))
    parser.add_argument("files", metavar="FILE", nargs="*", help="a recording, instead of the microphone")
    add_timeout(parser)
    parser.add_argument("--nonce", metavar="N", help="a text that the answer must carry (default: a random one)")
    policy = "monitor, unlock or auth: how strict to be (default: unlock); auth is refused until demonstrated"
    parser.add_argument("--policy", choices=POLICIES, metavar="NAME", help=policy)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Verify. Returns OK only for a decision that accepts and has not expired when this returns."""
    if arguments.files:
        return _verify_recordings(arguments, output)
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


def _verify_recordings(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.terminal.recorded_decisions import Decide, show_recorded_decisions

    if arguments.nonce is not None or arguments.timeout is not None:
        raise UsageError("--nonce and --timeout are for the microphone: a recording is no login (see --help)")

    def load() -> Decide:
        from voiceauthd.config.load import find_config, load_config
        from voiceauthd.service.local_recordings import LocalRecordings

        local = LocalRecordings(load_config(find_config(None, os.environ)))
        return lambda samples: local.verify(arguments.name, samples, arguments.policy)

    given = {"name": arguments.name, "policy": arguments.policy}
    parameters = {key: value for key, value in given.items() if value is not None}
    return show_recorded_decisions(arguments.socket, "VerifyRecording", parameters, arguments.files, load, output)
