"""The methods of the interface, one function each: who may call it, what it does, what it answers. Those about profiles
that are there are in profiles.py.

The server has checked the parameters against the interface file before a call comes here. A method raises what is
wrong as a `VoiceauthError`; the server says it in the protocol's words.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

import voiceauthd
from voiceauthd.errors import NotEnrolledError, StorageError, UsageError
from voiceauthd.profiles.enrolment import Enrolment, EnrolMode
from voiceauthd.profiles.names import check_condition, check_name
from voiceauthd.profiles.profile import Profile
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.protocol.wire import MAX_MESSAGE
from voiceauthd.scoring.decision import Decision, Outcome
from voiceauthd.scoring.policy import UNLOCK, Policy, require_usable
from voiceauthd.scoring.sequential import Identification, Verification
from voiceauthd.server.call import Call
from voiceauthd.server.dispatch import Handler
from voiceauthd.service import deciding
from voiceauthd.service.access import owner_of
from voiceauthd.service.auditing import AUDITED, failed_outcome
from voiceauthd.service.claims import Claims
from voiceauthd.service.context import Context, account, enrolled_name
from voiceauthd.service.duplicate_voice import require_new_voice
from voiceauthd.service.engine import Engine, least_agreement
from voiceauthd.service.enrolling import Session, Upload, enrolment_reply, no_such_claim
from voiceauthd.service.event_bus import EventBus
from voiceauthd.service.monitoring import events
from voiceauthd.service.profile_methods import ProfileMethods
from voiceauthd.service.proofs import require_provable
from voiceauthd.service.replies import Reply, model_reply
from voiceauthd.service.request_audio import listen
from voiceauthd.service.state import State
from voiceauthd.service.status import status_reply

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
CAPABILITIES = ("verify", "identify", "enroll", "monitor", "profiles", "reload")


class Methods:
    """Answers calls. All of it runs in the event loop's thread, save what writes to the disk or runs the model."""

    def __init__(self, state: State, hub: EventBus, reload: Callable[[], Awaitable[list[str]]]) -> None:
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
            "Vouch": self._vouch,
            **ProfileMethods(context).table,
        }

    async def handle(self, call: Call) -> None:
        """The one door: counts the call, has it answered, and tells the audit log what came of it.

        Whether the caller may do this is decided where it is known which profile it is about.
        """
        try:
            if self._context.access.is_counted(call.peer) and not self._is_awaited(call):
                self._state.rates.require(call.peer.uid, call.name, self._state.config.socket)
            await self._table[call.name](call)
        except BaseException as problem:
            call.outcome, call.reason = failed_outcome(problem)
            raise
        finally:
            self._tell(call)

    def _is_awaited(self, call: Call) -> bool:
        """Whether this is sound for the enrolment of its sender, which bounds it: one at a time, for so long."""
        claim = self._claims.current
        return (
            call.name == "SendAudio"
            and claim is not None
            and (call.parameters["claim"], call.peer.uid) == (claim.token, claim.uid)
        )

    async def settle(self, seconds: float) -> None:
        """Waits until no change of the store goes on, `seconds` at most."""
        await self._context.settle(seconds)

    def _tell(self, call: Call) -> None:
        if not call.audited and (call.name in AUDITED or call.outcome == "denied"):
            auditor = self._state.auditor
            auditor.note(call.name, call.outcome, call.reason, call.peer, call.about, call.detail)

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

    async def _vouch(self, call: Call) -> None:
        self._context.require(call)
        uid = call.parameters["uid"]
        require_provable(uid)
        call.detail = f"uid {uid}"
        await self._context.audit(call)
        proof, expires = self._state.proofs.give(uid)
        await call.reply({"proof": proof, "expires": expires})

    # Listening

    async def _verify(self, call: Call) -> None:
        engine, profile = await self._context.profile_for(call)
        await self._context.require_own_voice(call.parameters["name"], profile)
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        policy = engine.policies[call.parameters.get("policy") or UNLOCK]
        call.about, call.detail = profile.name, policy.name
        require_usable(policy)
        self._state.lockout.require_open(profile.name)
        verification = Verification(profile.name, engine.recogniser.compare, policy.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid):
            self._context.require_in_force(engine)
            self._state.nonces.use(call.parameters.get("nonce"))  # a call that was refused before may be made again
            with listen(self._state, self._hub) as ear:
                decision = await deciding.follow(call, ear, verification, config, {"name": call.parameters["name"]})
            decision = await self._settled(call, profile.name, decision, policy)
        ending = f"{decision.outcome.value}, {decision.reason}"
        log.info("verify %r by %s for %s: %s", profile.name, policy.name, call.peer, ending)
        await call.reply(deciding.verified_reply(call, decision, verification, config, scores=scores))

    async def _settled(self, call: Call, name: str, decision: Decision, policy: Policy) -> Decision:
        """The decision, once the lockout and the audit log have it. What cannot be told of accepts nobody."""
        accepted = decision.outcome is Outcome.ACCEPT
        judged = functools.partial(
            self._state.lockout.judged,
            name,
            decision.reason,
            accepted=accepted,
            false_accepts=policy.false_accepts,
        )
        await asyncio.shield(asyncio.to_thread(judged))  # what was decided counts, even if the caller has gone
        if accepted:
            self._state.lockout.require_open(name)
        try:
            await self._context.audit(call, decision.outcome.value, decision.reason)
        except StorageError as problem:
            log.error("the audit log was not written: %s", problem)
            if accepted:
                call.outcome, call.reason = Outcome.INCONCLUSIVE.value, "not_audited"
                return Decision(Outcome.INCONCLUSIVE, "not_audited")
        return decision

    async def _identify(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        recogniser = engine.recogniser
        identification = Identification(recogniser.compare, recogniser.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid), listen(self._state, self._hub) as ear:
            identified = await deciding.follow(call, ear, identification, config, {})
        call.outcome, call.reason = identified.recognition.value, identified.reason
        call.about = identified.identity
        log.info("identify for %s: %s, %s", call.peer, identified.recognition.value, identified.reason)
        await call.reply(deciding.identify_reply(identified, identification, config, scores))

    async def _monitor(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        self._state.monitors += 1
        try:
            with self._hub.subscribe() as inbox:
                engine.live.need()
                try:
                    async for event, last in events(inbox, self._state):
                        self._context.require(call)  # a reload may have taken the right away
                        await call.reply({"event": event}, continues=not last)
                finally:
                    self._state.live.release()
        finally:
            self._state.monitors -= 1

    # Enrolment

    async def _enroll(self, call: Call) -> None:
        name = check_name(call.parameters["name"])
        condition = _condition(call)
        engine = await self._context.engine()
        taken = enrolled_name(engine.store, name)
        owner_uid = await account(taken or name)
        existing = self._existing(call, engine, taken or name, owner_uid)
        await self._context.require_same_account(call.parameters["name"], taken)
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
            self._context.require_in_force(engine)
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
            if taken is None:  # and what came meanwhile was never the caller's to replace
                write[EnrolMode.REPLACE] = store.add
            written = await self._context.change(call, write[enrolment.mode], profile)
        log.info("enrolled %r for %s: %s", written.name, call.peer, enrolment.summary())
        await call.reply(enrolment_reply(enrolment, "done") | {"profile": self._context.rated(call, engine, written)})

    def _existing(self, call: Call, engine: Engine, name: str, account_uid: int | None) -> Profile | None:
        """The profile that is added to or replaced, once the caller may do that."""
        try:
            existing = engine.store.get(name)
        except NotEnrolledError:
            existing = None
        except StorageError:
            # What cannot be used can be replaced, and nothing else: there is nothing to add to.
            if call.parameters.get("mode") != EnrolMode.REPLACE:
                self._context.require(call, name, account_uid)
                raise
            existing = None
        self._context.require(call, name, owner_of(account_uid, existing.owner_uid if existing else None))
        return existing

    async def _send_audio(self, call: Call) -> None:
        claim, upload = self._claims.current, self._upload
        if claim is None or upload is None or call.parameters["claim"] != claim.token:
            raise no_such_claim()
        self._context.require(call, holder=claim.uid)
        await upload.put(call.parameters["pcm"], call.parameters.get("end"))
        await call.reply({})


def _condition(call: Call) -> str:
    try:
        return check_condition(call.parameters.get("condition") or "default")
    except UsageError as problem:
        raise MismatchError("condition", str(problem)) from None
