"""The methods of the interface, one function each; those about existing profiles are in profile_methods.py.

The server has already checked the parameters against the interface file. A method reports a problem by raising a
`VoiceauthError`, which the server translates into an error of the protocol.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

import voiceauthd
from voiceauthd.errors import AudioError, NotEnrolledError, StorageError, UsageError
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
from voiceauthd.service.kept_takes import KEPT, attempt_of
from voiceauthd.service.monitoring import events
from voiceauthd.service.profile_methods import ProfileMethods
from voiceauthd.service.proofs import require_provable
from voiceauthd.service.recording_methods import RECORDING_METHODS, RecordingMethods
from voiceauthd.service.replies import Reply, model_reply
from voiceauthd.service.request_audio import listen
from voiceauthd.service.state import State
from voiceauthd.service.status import status_reply

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
CAPABILITIES = ("verify", "identify", "recordings", "enroll", "monitor", "profiles", "exemplars", "reload")


class Methods:
    """Answers calls, in the event loop's thread; only writing to the disk and running the model use other threads."""

    def __init__(self, state: State, bus: EventBus, reload: Callable[[], Awaitable[list[str]]]) -> None:
        self._state = state
        self._bus = bus
        self._reload = reload
        self._claims: Claims = state.claims
        self._upload: Upload | None = None
        self._context = context = Context(state)
        self._recordings = RecordingMethods(context)
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
            **self._recordings.table,
            **ProfileMethods(context).table,
        }

    async def handle(self, call: Call) -> None:
        """Answer a call: the single entry point, which applies the rate limits and audits the outcome.

        Access rights are checked by the methods, which know which profile the call is about.
        """
        try:
            if self._context.access.is_counted(call.peer) and not self._belongs_to_enrolment(call):
                self._state.rates.require(call.peer.uid, call.name, self._state.config.socket)
            if call.name in RECORDING_METHODS:
                self._state.rates.require_recording(call.peer.uid, self._state.config.socket)
            await self._table[call.name](call)
        except BaseException as problem:
            call.outcome, call.reason = failed_outcome(problem)
            raise
        finally:
            self._note_outcome(call)

    def _belongs_to_enrolment(self, call: Call) -> bool:
        """Return whether this is audio for the sender's own enrolment, which has limits of its own."""
        claim = self._claims.current
        return (
            call.name == "SendAudio"
            and claim is not None
            and (call.parameters["claim"], call.peer.uid) == (claim.token, claim.uid)
        )

    async def settle(self, seconds: float) -> None:
        """Wait until no change of the store is in progress, at most `seconds`."""
        await self._context.settle(seconds)

    def _note_outcome(self, call: Call) -> None:
        if not call.audited and (call.name in AUDITED or call.outcome == "denied"):
            auditor = self._state.auditor
            auditor.note(call.name, call.outcome, call.reason, call.peer, call.about, call.detail)

    # Information about the daemon

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
        proof, expires = self._state.proofs.issue(uid)
        await call.reply({"proof": proof, "expires": expires})

    # Listening

    async def _verify(self, call: Call) -> None:
        engine, profile = await self._context.profile_for(call)
        await self._context.require_own_voice(call.parameters["name"], profile)
        config, scores = engine.config, self._context.access.sees_scores(call.peer)
        policy = engine.policies[call.parameters.get("policy") or UNLOCK]
        call.about, call.detail = profile.name, policy.name
        require_usable(policy)
        self._state.lockout.require_unlocked(profile.name)
        verification = Verification(profile.name, engine.recogniser.compare, policy.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid):
            self._context.require_in_force(engine)
            self._state.nonces.use(call.parameters.get("nonce"))  # last, so that a refused call can be repeated with it
            with listen(self._state, self._bus) as audio:
                fixed = {"name": call.parameters["name"]}
                decision = await deciding.listen_until_decided(call, audio, verification, config, fixed)
            decision = await self._recorded(call, profile.name, decision, policy)
        ending = f"{decision.outcome.value}, {decision.reason}"
        log.info("verify %r by %s for %s: %s", profile.name, policy.name, call.peer, ending)
        await call.reply(deciding.verified_reply(call, decision, verification, config, scores=scores))

    async def _recorded(self, call: Call, name: str, decision: Decision, policy: Policy) -> Decision:
        """Record the decision in the lockout and the audit log, and return it.

        An accept that cannot be audited becomes inconclusive.
        """
        accepted = decision.outcome is Outcome.ACCEPT
        record = functools.partial(
            self._state.lockout.record_decision,
            name,
            decision.reason,
            accepted=accepted,
            false_accepts=policy.false_accepts,
        )
        await asyncio.shield(asyncio.to_thread(record))  # a decision counts even if the caller has disconnected
        if accepted:
            self._state.lockout.require_unlocked(name)
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
        with self._claims.take(call.name, call.peer.uid), listen(self._state, self._bus) as audio:
            identified = await deciding.listen_until_decided(call, audio, identification, config, {})
        call.outcome, call.reason = identified.recognition.value, identified.reason
        call.about = identified.identity
        log.info("identify for %s: %s, %s", call.peer, identified.recognition.value, identified.reason)
        await call.reply(deciding.identify_reply(identified, identification, config, scores))

    async def _monitor(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        self._state.monitors += 1
        try:
            with self._bus.subscribe() as inbox:
                engine.live.need()
                try:
                    async for event, last in events(inbox, self._state):
                        self._context.require(call)  # a reload may have revoked the right
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
        existing_name = enrolled_name(engine.store, name)
        owner_uid = await account(existing_name or name)
        existing = self._existing(call, engine, existing_name or name, owner_uid)
        await self._context.require_same_account(call.parameters["name"], existing_name)
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
        microphone = (call.parameters.get("source") or "microphone") == "microphone"
        with self._claims.take(call.name, call.peer.uid) as claim:
            self._context.require_in_force(engine)
            if microphone:
                await self._enroll_from_microphone(call, session, enrolment, engine)
            else:
                self._upload = upload = Upload()
                try:
                    await session.from_recordings(upload, claim.token, engine.recogniser)
                finally:
                    self._upload = None
                    upload.close()
            profile, store = enrolment.finish(), engine.store
            require_new_voice(profile, engine, call, self._context.access)
            # ADD must not restore what was deleted during the enrolment, hence `replace` and not `put`.
            add_to = functools.partial(store.replace, generation=existing.generation if existing else None)
            write: dict[EnrolMode, Callable[[Profile], Profile]]
            write = {EnrolMode.NEW: store.add, EnrolMode.ADD: add_to, EnrolMode.REPLACE: store.put}
            if existing_name is None:  # REPLACE must not overwrite a profile that was made during the enrolment
                write[EnrolMode.REPLACE] = store.add
            try:
                written = await self._context.change(call, write[enrolment.mode], profile)
            except StorageError:  # a full disk, for example: nobody shall speak all of it again
                if microphone:
                    self._keep_takes(call, enrolment, engine)
                raise
        self._state.kept_takes.forget(written.name)
        log.info("enrolled %r for %s: %s", written.name, call.peer, enrolment.summary())
        await call.reply(enrolment_reply(enrolment, "done") | {"profile": self._context.rated(call, engine, written)})

    async def _enroll_from_microphone(self, call: Call, session: Session, enrolment: Enrolment, engine: Engine) -> None:
        """Go on from the takes of an earlier try, and keep all takes for another one if there is not enough speech.

        Raises `AudioError`, reason `not_enough_speech`, and what ends the listening.
        """
        with listen(self._state, self._bus) as audio:
            if not call.parameters.get("fresh"):
                enrolment.go_on(self._state.kept_takes.take(attempt_of(enrolment, call.peer.uid)))
            continued = sum(exemplar.net_speech for exemplar in enrolment.new_exemplars)
            try:
                await session.from_microphone(audio, continued)
                enrolment.require_complete()
            except BaseException as problem:
                if self._keep_takes(call, enrolment, engine) and isinstance(problem, AudioError):
                    raise AudioError(f"{problem}; {KEPT}", problem.reason) from None
                raise

    def _keep_takes(self, call: Call, enrolment: Enrolment, engine: Engine) -> bool:
        """Keep what was accepted, unless a reload has replaced the engine. Returns whether there is anything."""
        if self._state.engine_now is not engine or not enrolment.new_exemplars:
            return False
        self._state.kept_takes.keep(attempt_of(enrolment, call.peer.uid), enrolment.new_exemplars)
        return True

    def _existing(self, call: Call, engine: Engine, name: str, account_uid: int | None) -> Profile | None:
        """Return the profile to add to or replace, after checking that the caller may do that."""
        try:
            existing = engine.store.get(name)
        except NotEnrolledError:
            existing = None
        except StorageError:
            # A profile that cannot be used can only be replaced; adding to it is not possible.
            if call.parameters.get("mode") != EnrolMode.REPLACE:
                self._context.require(call, name, account_uid)
                raise
            existing = None
        self._context.require(call, name, owner_of(account_uid, existing.owner_uid if existing else None))
        return existing

    async def _send_audio(self, call: Call) -> None:
        recording = self._recordings.sending(call.parameters["claim"])
        claim, upload = self._claims.current, self._upload
        if recording is not None:
            holder, upload = recording.uid, recording.upload
        elif claim is None or upload is None or call.parameters["claim"] != claim.token:
            raise no_such_claim()
        else:
            holder = claim.uid
        self._context.require(call, holder=holder)
        await upload.put(call.parameters["pcm"], call.parameters.get("end"))
        await call.reply({})


def _condition(call: Call) -> str:
    try:
        return check_condition(call.parameters.get("condition") or "default")
    except UsageError as problem:
        raise MismatchError("condition", str(problem)) from None
