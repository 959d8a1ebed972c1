"""The methods that listen until they can decide: Verify and Identify.

Each follows one request from its first word to its answer. Whatever ends it early, an error, a timeout, a client that
disconnects, ends it without an accept and frees the claim.
"""

from __future__ import annotations

import asyncio
import logging

from voiceauthd.config.schema import Config
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.events import SourceChanged, SourceState
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.scoring.advice import ADVICE
from voiceauthd.scoring.decision import Decision, Identified
from voiceauthd.scoring.sequential import Identification, Sequential, Verdict, Verification
from voiceauthd.server.call import Call
from voiceauthd.service.replies import Reply, decision_reply, identified_reply
from voiceauthd.service.request_audio import RequestAudio, Sound
from voiceauthd.speech.window import SpeechBegan

log = logging.getLogger(__name__)


async def follow(call: Call, ear: RequestAudio, deciding: Sequential[Verdict], config: Config, fixed: Reply) -> Verdict:
    """Streams how it goes, and returns the decision; the caller of this sends it. `fixed`: in every reply."""
    progress = _Progress(call, config, fixed)
    deadline = await progress.begin(ear)
    while True:
        sound = await ear.hear(deadline)
        if sound is None or _ended(sound):
            return deciding.decide()
        if (reason := _why_over(sound)) is not None:
            return deciding.nothing(reason)
        if isinstance(sound, ScoredWindow):
            try:
                verdict = deciding.hear(sound.window, sound.embedding)
            except ModelError as failure:
                log.error("%s%s: %s", call.name, f" of {fixed['name']!r}" if fixed else "", failure)
                return deciding.failed()
            if verdict is not None:
                return verdict
        elif isinstance(sound, RefusedWindow):
            deciding.refuse(sound.reason)
        await progress.tell(sound, deciding.net_speech)


def verified_reply(
    call: Call, decision: Decision, verification: Verification, config: Config, *, scores: bool
) -> Reply:
    """The last reply of Verify."""
    reply = decision_reply(decision, verification.rule, scores)
    reply |= {
        "state": "decided",
        "name": call.parameters["name"],  # as it was asked for, also where the profile spells it otherwise
        "policy": verification.rule.policy,
        "advice": ADVICE[decision.reason],
        "net_speech": round(verification.net_speech, 2),
        "net_speech_needed": config.verify.speech,
        "expires": config.verify.expires,
    }
    if (nonce := call.parameters.get("nonce")) is not None:
        reply["nonce"] = nonce
    return reply


def identify_reply(identified: Identified, identification: Identification, config: Config, scores: bool) -> Reply:
    """The last reply of Identify."""
    return identified_reply(identified, identification.rule, scores) | {
        "state": "decided",
        "advice": ADVICE[identified.reason],
        "net_speech": round(identification.net_speech, 2),
        "net_speech_needed": config.verify.speech,
    }


def _why_over(sound: Sound) -> str | None:
    """The reason code, if nothing more can come of this."""
    if isinstance(sound, FailedWindow):
        return "embedding_failed"
    if isinstance(sound, SourceChanged) and sound.state is SourceState.LOST:
        return "source_lost"
    return None


def _ended(sound: Sound) -> bool:
    """Whether a finite source has no more sound: as good as a timeout."""
    return isinstance(sound, SourceChanged) and sound.state is SourceState.ENDED


class _Progress:
    """What a caller who asked for more is told while it goes on."""

    def __init__(self, call: Call, config: Config, fixed: Reply) -> None:
        self._call = call
        self._config = config
        self._fixed = fixed

    async def begin(self, ear: RequestAudio) -> float:
        """Says that it listens, once it does. Returns the deadline on the loop's clock."""
        await ear.ready()
        await self._send("listening", 0.0)
        timeout = self._call.parameters.get("timeout")
        longest = self._config.verify.timeout
        return asyncio.get_running_loop().time() + (longest if timeout is None else min(timeout, longest))

    async def tell(self, sound: Sound, net_speech: float) -> None:
        """Says that somebody speaks, how far it is, or why what was heard cannot be used."""
        if isinstance(sound, SpeechBegan):
            await self._send("speech", net_speech)
        elif isinstance(sound, ScoredWindow):
            await self._send("progress", net_speech)
        elif isinstance(sound, RefusedWindow):
            await self._send("progress", net_speech, sound.reason)

    async def _send(self, state: str, net_speech: float, reason: str | None = None) -> None:
        reply: Reply = {
            "state": state,
            "net_speech": round(net_speech, 2),
            "net_speech_needed": self._config.verify.speech,
        }
        if reason is not None:
            reply |= {"reason": reason, "advice": ADVICE[reason]}
        await self._call.reply(self._fixed | reply, continues=True)
