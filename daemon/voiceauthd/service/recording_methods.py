"""VerifyRecording and IdentifyRecording: what the daemon would say about a recording that the caller sends.

For administrators alone, because it is a test bench for imitated voices. Neither counts for a lockout or opens
anything: the replies carry no nonce, which a login requires. The microphone stays free for others.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from voiceauthd.config.schema import Config
from voiceauthd.errors import AudioError, BusyError, WithdrawnError
from voiceauthd.pipeline.recording_decision import RecordingDecision
from voiceauthd.scoring.policy import UNLOCK, require_usable
from voiceauthd.scoring.sequential import Identification, SequentialTest, Verdict, Verification
from voiceauthd.server.call import Call
from voiceauthd.server.dispatch import Handler
from voiceauthd.service.context import Context
from voiceauthd.service.deciding import identify_reply, verified_recording_reply
from voiceauthd.service.engine import Engine
from voiceauthd.service.enrolling import Upload
from voiceauthd.service.threads import in_thread
from voiceauthd.speech.segmenter import Segmenter

log = logging.getLogger(__name__)

RECORDING_METHODS = frozenset({"VerifyRecording", "IdentifyRecording"})

MAX_RECORDINGS = 2
"""Recordings that are compared at one time: each competes with the microphone for the model."""

TIMEOUT = 120.0
"""Seconds for the whole recording to arrive and be compared."""

PIECE_TIMEOUT = 20.0
"""Seconds between two pieces, after which the place is given to somebody else."""


@dataclass(slots=True, eq=False)
class Sending:
    """A recording that its caller is sending. `token` is what SendAudio refers to it by."""

    uid: int
    upload: Upload = field(default_factory=Upload)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))


class RecordingMethods:
    """Answers calls about recordings; `table` maps each method to its handler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sending: dict[str, Sending] = {}
        self.table: dict[str, Handler] = {"VerifyRecording": self._verify, "IdentifyRecording": self._identify}

    def sending(self, token: str) -> Sending | None:
        """Return the recording that waits for audio under this token."""
        return self._sending.get(token)

    async def _verify(self, call: Call) -> None:
        engine, profile = await self._context.profile_for(call)
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        policy = engine.policies[call.parameters.get("policy") or UNLOCK]
        call.about, call.detail = profile.name, policy.name
        require_usable(policy)
        verification = Verification(profile.name, engine.recogniser.compare, policy.rule, config.verify)
        decision = await self._decide(call, engine, verification)
        log.info("recording verified as %r for %s: %s", profile.name, call.peer, decision.reason)
        await self._context.audit(call, decision.outcome.value, decision.reason)
        name = call.parameters["name"]
        await call.reply(verified_recording_reply(name, decision, verification, config, scores=scores))

    async def _identify(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        recogniser = engine.recogniser
        identification = Identification(recogniser.compare, recogniser.rule, config.verify)
        identified = await self._decide(call, engine, identification)
        call.about = identified.identity
        log.info("recording identified for %s: %s", call.peer, identified.reason)
        await self._context.audit(call, identified.recognition.value, identified.reason)
        await call.reply(identify_reply(identified, identification, config, scores))

    async def _decide(self, call: Call, engine: Engine, decider: SequentialTest[Verdict]) -> Verdict:
        """Receive the recording and return the decision, which may be clear before the recording ends.

        Raises `WithdrawnError` if the recording does not arrive in time, and `BusyError`.
        """
        with self._receiving(call.peer.uid) as sending:
            segmenter = await in_thread(Segmenter, engine.config.speech)
            decision = RecordingDecision(decider, segmenter, engine.recogniser)
            began = {"state": "listening", "claim": sending.token, **_name(call)}
            await call.reply(began | _progress(decider, engine.config), continues=True)
            clock = asyncio.get_running_loop().time
            deadline = clock() + TIMEOUT
            while True:
                try:
                    piece = await sending.upload.piece(min(deadline, clock() + PIECE_TIMEOUT))
                except AudioError as late:
                    raise WithdrawnError("the recording did not arrive in time") from late
                verdict = await in_thread(decision.push, piece.samples)
                if verdict is None and piece.end is not None:
                    verdict = await in_thread(decision.end)
                if verdict is not None:
                    return verdict

    @contextmanager
    def _receiving(self, uid: int) -> Iterator[Sending]:
        """Accept audio for one recording until the block ends. Raises `BusyError`."""
        if len(self._sending) >= MAX_RECORDINGS:
            raise BusyError(f"{MAX_RECORDINGS} other recordings are being compared")
        sending = Sending(uid)
        self._sending[sending.token] = sending
        try:
            yield sending
        finally:
            del self._sending[sending.token]
            sending.upload.close()


def _progress(decider: SequentialTest[Verdict], config: Config) -> dict[str, float]:
    return {"net_speech": round(decider.net_speech, 2), "net_speech_needed": config.verify.speech}


def _name(call: Call) -> dict[str, str]:
    name = call.parameters.get("name")
    return {} if name is None else {"name": name}
