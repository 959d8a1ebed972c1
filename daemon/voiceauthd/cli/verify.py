"""`voiceauth verify`: is it NAME who speaks?

Ends with 0 only if the client library, which fails closed, says accepted; everything else is another code.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from voiceauthd.cli.arguments import Parser, add_json, add_socket, seconds
from voiceauthd.client import Client, Verified
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.event_lines import closeness, number
from voiceauthd.terminal.output import Output, plain

_EXAMPLES = """
voiceauth verify alice
voiceauth verify alice --timeout 5 && echo "come in"
voiceauth verify alice --policy auth && ./open-the-safe
voiceauth verify alice --json --nonce "$(uuidgen)"
"""

POLICIES = ("monitor", "unlock", "auth")

_WORDS = {"accept": "expired", "reject": "rejected"}
_STYLES = {"accepted": "green", "rejected": "red"}


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth verify`."""
    parser.explain(
        "Listen for a few seconds, and decide whether it is NAME who speaks. Only sound from now on counts. A voice\n"
        "alone is a convenience or a second factor: do not make it the only thing that guards root.\n\n"
        "A policy is how often a stranger may be taken for NAME: by default 1 in 100 for monitor, 1 in 1,000 for\n"
        "unlock, 1 in 10,000 for auth. auth is refused before anything is heard, until the calibration rests on\n"
        "enough independent trials to demonstrate its rate; `voiceauth status` tells what is demonstrated. Without\n"
        "a calibration all policies decide by the same similarity, and none of the rates is known to hold.",
        _EXAMPLES,
        (
            ExitCode.REJECT,
            ExitCode.INCONCLUSIVE,
            ExitCode.BUSY,
            ExitCode.NOT_ENROLLED,
            ExitCode.NO_MICROPHONE,
            ExitCode.MODEL,
            ExitCode.STORAGE,
        ),
        client=True,
    )
    parser.add_argument("name", metavar="NAME", help="who it should be")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up after S seconds (default: the daemon's)")
    parser.add_argument("--nonce", metavar="N", help="a text that the answer must carry (default: a random one)")
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        metavar="NAME",
        help="monitor, unlock or auth: how strict to be (default: unlock); auth is refused until demonstrated",
    )
    add_json(parser, "print the decision as one JSON object")
    add_socket(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Verifies. OK only for a decision that accepts, and that has not expired when it is handed on."""
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


def listening_line(reply: Mapping[str, Any]) -> str:
    """What a verification or an identification is doing just now, or why it cannot use what it hears."""
    state = {"listening": "listening: speak now", "speech": "hearing you"}.get(str(reply.get("state")), "comparing")
    have, need = number(reply.get("net_speech"), ".1f", "0.0"), number(reply.get("net_speech_needed"), ".1f", "?")
    line = f"{state}  {have} of {need} s of speech"
    if not reply.get("reason"):
        return line
    return f"{line}  ({plain(reply['reason'])}: {plain(reply.get('advice') or 'this cannot be used')})"


def decision_line(verified: Verified, output: Output) -> str:
    """The decision, the reason, and what it rests on, as far as the caller may see it."""
    word = "accepted" if verified.accepted else _WORDS.get(verified.outcome, "inconclusive")
    outcome = output.style(f"{word:<12}", "bold", _STYLES.get(word, "yellow"))
    score = ""
    if verified.score is not None:
        form = ".1f" if verified.calibrated else ".2f"
        score = f"  {closeness(verified.score, calibrated=verified.calibrated)}"
        score += f", threshold {number(verified.threshold, form)}, margin {number(verified.margin, '+.2f')}"
    why = plain(verified.reason or "no reason given")
    return f"{outcome}  {plain(verified.name)}: {why}{score}  ({verified.net_speech:.1f} s of speech)"


def decision_object(verified: Verified) -> dict[str, object]:
    """The decision for a program."""
    return {
        "accepted": verified.accepted,
        "outcome": verified.outcome,
        "reason": verified.reason,
        "advice": verified.advice,
        "name": verified.name,
        "nonce": verified.nonce,
        "net_speech": verified.net_speech,
        "score": verified.score,
        "margin": verified.margin,
        "threshold": verified.threshold,
        "calibrated": verified.calibrated,
        "policy": verified.policy,
    }
