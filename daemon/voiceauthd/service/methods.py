"""The methods of the interface, one function each: who may call it, what it does, what it answers. Those about profiles
that are there are in profiles.py.

The server has checked the parameters against the interface file before a call comes here. A method raises what is
wrong as a `VoiceauthError`; the server says it in the protocol's words.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import voiceauthd
from voiceauthd.errors import NotEnrolledError, StorageError, UsageError
from voiceauthd.profiles.enrolment import Enrolment, EnrolMode
from voiceauthd.profiles.names import check_condition, check_name
from voiceauthd.profiles.profile import Profile
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.protocol.wire import MAX_MESSAGE
from voiceauthd.scoring.policy import UNLOCK, require_usable
from voiceauthd.scoring.sequential import Identification, Verification
from voiceauthd.service import listening
from voiceauthd.service.claims import Claims
from voiceauthd.service.context import Context, account
from voiceauthd.service.dispatch import Handler
from voiceauthd.service.ear import listen
from voiceauthd.service.engine import Engine, least_agreement
from voiceauthd.service.enrolling import Session, Upload, enrolment_reply, no_such_claim
from voiceauthd.service.hub import Hub
from voiceauthd.service.monitoring import events
from voiceauthd.service.newvoice import require_new_voice
from voiceauthd.service.profiles import ProfileMethods
from voiceauthd.service.replies import Reply, model_reply
from voiceauthd.service.requests import Call
from voiceauthd.service.state import State
from voiceauthd.service.status import status_reply

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
CAPABILITIES = ("verify", "identify", "enroll", "monitor", "profiles", "reload")


class Methods:
    """Answers calls. All of it runs in the event loop's thread, save what writes to the disk or runs the model."""

    def __init__(self, state: State, hub: Hub, reload: Callable[[], Awaitable[list[str]]]) -> None:
        self._state = state
        self._hub = hub
        self._reload = reload
        self._claims: Claims = state.claims
        self._upload: Upload | None = None
        self._context = context = Context(state)
        self._table: dict[str, Handler] = {
            "Info": self._info,
            "Status": self._status,
            "Enroll": self._enroll,
            "SendAudio": self._send_audio,
            "Verify": self._verify,
            "Identify": self._identify,
            "Monitor": self._monitor,
            "Reload": self._reload_config,
            **ProfileMethods(context).table,
        }

    async def handle(self, call: Call) -> None:
        """The one door. Denies what is about no profile here; what is about one is decided where it is known."""
        handler = self._table[call.name]
        await handler(call)

    # What the daemon is

    async def _info(self, call: Call) -> None:
        self._context.require(call)
        socket = self._state.config.socket
        engine = self._state.engine_now
        reply: Reply = {
            "version": voiceauthd.__version__,
            "protocol": PROTOCOL_VERSION,
            "capabilities": list(CAPABILITIES),
            "limits": {
                "message_bytes": MAX_MESSAGE,
                "connections": socket.connections,
                "connections_per_user": socket.connections_per_user,
                "requests_in_flight": socket.requests_in_flight,
                "events_queued": socket.events_queued,
            },
        }
        if engine is not None:
            reply["model"] = model_reply(engine.embedder, engine.recogniser.rule)
        await call.reply(reply)

    async def _status(self, call: Call) -> None:
        self._context.require(call)
        details = self._context.access.sees_scores(call.peer)
        await call.reply(status_reply(self._state, details=details))

    async def _reload_config(self, call: Call) -> None:
        self._context.require(call)
        await call.reply({"changed": await self._reload()})

    # Listening

    async def _verify(self, call: Call) -> None:
        engine, profile = await self._context.profile_for(call)
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        policy = engine.policies[call.parameters.get("policy") or UNLOCK]
        require_usable(policy)
        verification = Verification(profile.name, engine.recogniser.compare, policy.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid), listen(self._state, self._hub) as ear:
            decision = await listening.follow(call, ear, verification, config, {"name": call.parameters["name"]})
        ending = f"{decision.outcome.value}, {decision.reason}"
        log.info("verify %r by %s for %s: %s", profile.name, policy.name, call.peer, ending)
        await call.reply(listening.verified_reply(call, decision, verification, config, scores=scores))

    async def _identify(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        recogniser = engine.recogniser
        identification = Identification(recogniser.compare, recogniser.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid), listen(self._state, self._hub) as ear:
            identified = await listening.follow(call, ear, identification, config, {})
        log.info("identify for %s: %s, %s", call.peer, identified.recognition.value, identified.reason)
        await call.reply(listening.identify_reply(identified, identification, config, scores))

    async def _monitor(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        self._state.monitors += 1
        try:
            with self._hub.subscribe() as inbox:
                engine.live.need()
                try:
                    async for event, last in events(inbox, self._state):
                        await call.reply({"event": event}, continues=not last)
                finally:
                    self._state.live.release()
        finally:
            self._state.monitors -= 1

    # Enrolment

    async def _enroll(self, call: Call) -> None:
        name = check_name(call.parameters["name"])
        condition = _condition(call)
        owner_uid = await account(name)
        engine = await self._context.engine()
        existing = self._existing(call, engine, name)
        enrolment = Enrolment(
            name,
            engine.embedder.model,
            engine.config.enroll,
            condition=condition,
            owner_uid=owner_uid,
            existing=existing,
            mode=call.parameters.get("mode") or EnrolMode.NEW,
            min_speech=engine.config.speech.min_speech,
            min_agreement=least_agreement(engine),
        )
        session = Session(call, enrolment, engine.config)
        with self._claims.take(call.name, call.peer.uid) as claim:
            if (call.parameters.get("source") or "microphone") == "microphone":
                with listen(self._state, self._hub) as ear:
                    await session.from_microphone(ear)
            else:
                self._upload = upload = Upload()
                try:
                    await session.from_recordings(upload, claim.token, engine.recogniser)
                finally:
                    self._upload = None
                    upload.close()
            profile, store = enrolment.finish(), engine.store
            require_new_voice(profile, engine, call, self._context.access)
            # What was deleted meanwhile is not brought back by adding to it.
            write = {EnrolMode.NEW: store.add, EnrolMode.ADD: store.replace, EnrolMode.REPLACE: store.put}
            written = await self._context.change(write[enrolment.mode], profile)
        log.info("enrolled %r for %s: %s", written.name, call.peer, enrolment.summary())
        await call.reply(enrolment_reply(enrolment, "done") | {"profile": self._context.rated(call, engine, written)})

    def _existing(self, call: Call, engine: Engine, name: str) -> Profile | None:
        try:
            existing = engine.store.get(name)
        except NotEnrolledError:
            existing = None
        except StorageError:
            # What cannot be used can be replaced, and nothing else: there is nothing to add to.
            if call.parameters.get("mode") != EnrolMode.REPLACE:
                self._context.require(call, name)
                raise
            existing = None
        self._context.require(call, existing.name if existing else name, existing.owner_uid if existing else None)
        return existing

    async def _send_audio(self, call: Call) -> None:
        claim, upload = self._claims.current, self._upload
        if claim is None or upload is None or call.parameters["claim"] != claim.token:
            raise no_such_claim()
        self._context.require(call, owner_uid=claim.uid)
        await upload.put(call.parameters["pcm"], call.parameters.get("end"))
        await call.reply({})


def _condition(call: Call) -> str:
    try:
        return check_condition(call.parameters.get("condition") or "default")
    except UsageError as problem:
        raise MismatchError("condition", str(problem)) from None
