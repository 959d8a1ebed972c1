"""`voiceauth verify`: is it NAME who speaks?

Ends with 0 only if the client library, which fails closed, says accepted; everything else is another code.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from voiceauthd.cli.arguments import Parser, add_json, add_socket, seconds
from voiceauthd.cli.events import number
from voiceauthd.cli.output import Output, plain
from voiceauthd.client import Client, Verified
from voiceauthd.errors import ExitCode

_EXAMPLES = """
voiceauth verify alice
voiceauth verify alice --timeout 5 && echo "come in"
voiceauth verify alice --json --nonce "$(uuidgen)"
"""

_WORDS = {"accept": "expired", "reject": "rejected"}
_STYLES = {"accepted": "green", "rejected": "red"}


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth verify`."""
    parser.explain(
        "Listen for a few seconds, and decide whether it is NAME who speaks. Only sound from now on counts. A voice\n"
        "alone is a convenience or a second factor: do not make it the only thing that guards root.",
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
    """What a verification or an identification is doing just now."""
    state = {"listening": "listening: speak now", "speech": "hearing you"}.get(str(reply.get("state")), "comparing")
    have, need = number(reply.get("net_speech"), ".1f", "0.0"), number(reply.get("net_speech_needed"), ".1f", "?")
    return f"{state}  {have} of {need} s of speech"


def decision_line(verified: Verified, output: Output) -> str:
    """The decision, the reason, and what it rests on, as far as the caller may see it."""
    word = "accepted" if verified.accepted else _WORDS.get(verified.outcome, "inconclusive")
    outcome = output.style(f"{word:<12}", "bold", _STYLES.get(word, "yellow"))
    score = ""
    if verified.score is not None:
        score = f"  cosine {verified.score:.2f}, threshold {number(verified.threshold, '.2f')}"
        score += f", margin {number(verified.margin, '+.2f')}"
        score += "" if verified.calibrated else ", uncalibrated"
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
    }
