"""The decisions of a verification or an identification, as lines for a person and as objects for a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voiceauthd.client import VerifyResult
from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.terminal.event_lines import closeness, how_sure, number
from voiceauthd.terminal.output import Output, plain

_WORDS = {"accept": "expired", "reject": "rejected"}
"""For an outcome that was not accepted: an accept among them has expired."""

_COLOURS = {"accepted": "green", "rejected": "red"}

IDENTIFY_CODES = {"known": ExitCode.OK, "unknown": ExitCode.REJECT, "undecided": ExitCode.INCONCLUSIVE}
"""The exit code for each decision of an identification."""


def listening_line(reply: Mapping[str, Any]) -> str:
    """Describe what a verification or an identification is currently doing, or why it cannot use the audio."""
    state = {"listening": "listening: speak now", "speech": "hearing you"}.get(str(reply.get("state")), "comparing")
    have, need = number(reply.get("net_speech"), ".1f", "0.0"), number(reply.get("net_speech_needed"), ".1f", "?")
    line = f"{state}  {have} of {need} s of speech"
    if not reply.get("reason"):
        return line
    return f"{line}  ({plain(reply['reason'])}: {plain(reply.get('advice') or 'this cannot be used')})"


def decision_line(verified: VerifyResult, output: Output) -> str:
    """Return the decision, the reason and the score, as far as the caller may see it."""
    word = "accepted" if verified.accepted else _WORDS.get(verified.outcome, "inconclusive")
    return _decided(word, verified._asdict(), output)


def verification_lines(reply: Mapping[str, Any], output: Output) -> list[str]:
    """Return the decision of VerifyRecording, in the words of what it would be; where it is no accept, also advice."""
    word = {"accept": "would be accepted", "reject": "would be rejected"}.get(str(reply.get("outcome")), "inconclusive")
    line = _decided(word, reply, output)
    return [line, f"  {plain(reply['advice'])}"] if reply.get("outcome") != "accept" and reply.get("advice") else [line]


def _decided(word: str, decision: Mapping[str, Any], output: Output) -> str:
    outcome = output.style(f"{word:<12}", "bold", _COLOURS.get(word.rpartition(" ")[2], "yellow"))
    score, calibrated = decision.get("score"), decision.get("calibrated") is True
    sure = ""
    if isinstance(score, int | float):
        threshold = number(decision.get("threshold"), ".1f" if calibrated else ".2f")
        sure = f"  {closeness(score, calibrated=calibrated)}, threshold {threshold}"
        sure += f", margin {number(decision.get('margin'), '+.2f')}"
    why = plain(decision.get("reason") or "no reason given")
    return f"{outcome}  {plain(decision.get('name'))}: {why}{sure}  ({number(decision.get('net_speech'), '.1f')} s)"


def decision_object(verified: VerifyResult) -> dict[str, object]:
    """Return the decision for a program."""
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


def require_identification(answer: Mapping[str, Any]) -> str:
    """Return the decision in the last reply of Identify. Raises `NotRunningError` if there is none."""
    decision = str(answer.get("decision"))
    if answer.get("state") != "decided" or decision not in IDENTIFY_CODES:
        raise NotRunningError("the daemon ended the identification without a decision", "no_answer")
    if decision == "known" and not answer.get("identity"):
        raise NotRunningError("the daemon recognised somebody but gave no name", "no_answer")
    return decision


def identification_lines(answer: Mapping[str, Any], output: Output) -> list[str]:
    """Return who was identified and how surely; where nobody was, also the daemon's advice."""
    known = answer["decision"] == "known"
    name = output.style(plain(answer["identity"] if known else answer["decision"]), "bold", _colour(known))
    line = f"{name}  {how_sure(answer)}  ({plain(answer.get('reason'))})"
    return [line] if known or not answer.get("advice") else [line, f"  {plain(answer['advice'])}"]


def _colour(known: bool) -> str:
    return "green" if known else "yellow"
