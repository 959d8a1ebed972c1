"""Listening until a decision is reached: the common part of Verify and Identify, and their replies.

Whatever ends a request early (an error, a timeout, a client that disconnects) ends it without an accept and frees the
claim.
"""

from __future__ import annotations

import asyncio

from voiceauthd.config.schema import Config
from voiceauthd.pipeline.events import SourceChanged, SourceState
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.pipeline.recording_decision import add_result
from voiceauthd.scoring.advice import ADVICE
from voiceauthd.scoring.decision import Decision, Identified
from voiceauthd.scoring.sequential import Identification, SequentialTest, Verdict, Verification
from voiceauthd.server.call import Call
from voiceauthd.service.replies import Reply, decision_reply, identified_reply
from voiceauthd.service.request_audio import AudioEvent, RequestAudio
from voiceauthd.speech.window import SpeechBegan


async def listen_until_decided(
    call: Call, audio: RequestAudio, decider: SequentialTest[Verdict], config: Config, fixed: Reply
) -> Verdict:
    """Stream the progress and return the decision, which is left to the caller to send. `fixed`: in every reply."""
    progress = _Progress(call, config, fixed)
    deadline = await progress.begin(audio)
    while True:
        event = await audio.next_event(deadline)
        if event is None or _ended(event):
            return decider.decide()
        if isinstance(event, SourceChanged) and event.state is SourceState.LOST:
            return decider.undecided("source_lost")
        if isinstance(event, ScoredWindow | RefusedWindow | FailedWindow):
            verdict = add_result(decider, event)
            if verdict is not None:
                return verdict
        await progress.report(event, decider.net_speech)


def verified_reply(
    call: Call, decision: Decision, verification: Verification, config: Config, *, scores: bool
) -> Reply:
    """Return the last reply of Verify."""
    name = call.parameters["name"]  # as in the call, even if the profile's name differs in case
    reply = verified_recording_reply(name, decision, verification, config, scores=scores)
    reply["expires"] = config.verify.expires
    if (nonce := call.parameters.get("nonce")) is not None:
        reply["nonce"] = nonce
    return reply


def verified_recording_reply(
    name: str, decision: Decision, verification: Verification, config: Config, *, scores: bool
) -> Reply:
    """Return the last reply of VerifyRecording: that of Verify, without what makes it valid for a login."""
    return decision_reply(decision, verification.rule, scores) | {
        "state": "decided",
        "name": name,
        "policy": verification.rule.policy,
        "advice": ADVICE[decision.reason],
        "net_speech": round(verification.net_speech, 2),
        "net_speech_needed": config.verify.speech,
    }


def identify_reply(identified: Identified, identification: Identification, config: Config, scores: bool) -> Reply:
    """Return the last reply of Identify."""
    return identified_reply(identified, identification.rule, scores) | {
        "state": "decided",
        "advice": ADVICE[identified.reason],
        "net_speech": round(identification.net_speech, 2),
        "net_speech_needed": config.verify.speech,
    }


def _ended(event: AudioEvent) -> bool:
    """Return whether a finite source has ended, which is treated like a timeout."""
    return isinstance(event, SourceChanged) and event.state is SourceState.ENDED


class _Progress:
    """The replies before the decision, for a caller who asked for them."""

    def __init__(self, call: Call, config: Config, fixed: Reply) -> None:
        self._call = call
        self._config = config
        self._fixed = fixed

    async def begin(self, audio: RequestAudio) -> float:
        """Reply `listening` once audio arrives, and return the deadline on the loop's clock."""
        await audio.ready()
        await self._send("listening", 0.0)
        timeout = self._call.parameters.get("timeout")
        longest = self._config.verify.timeout
        return asyncio.get_running_loop().time() + (longest if timeout is None else min(timeout, longest))

    async def report(self, event: AudioEvent, net_speech: float) -> None:
        """Reply that somebody speaks, how much speech there is, or why a window cannot be used."""
        if isinstance(event, SpeechBegan):
            await self._send("speech", net_speech)
        elif isinstance(event, ScoredWindow):
            await self._send("progress", net_speech)
        elif isinstance(event, RefusedWindow):
            await self._send("progress", net_speech, event.reason)

    async def _send(self, state: str, net_speech: float, reason: str | None = None) -> None:
        reply: Reply = {
            "state": state,
            "net_speech": round(net_speech, 2),
            "net_speech_needed": self._config.verify.speech,
        }
        if reason is not None:
            reply |= {"reason": reason, "advice": ADVICE[reason]}
        await self._call.reply(self._fixed | reply, continues=True)
