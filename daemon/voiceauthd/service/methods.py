"""The methods of the interface, one function each: who may call it, what it does, what it answers.

The server has checked the parameters against the interface file before a call comes here. A method raises what is
wrong as a `VoiceauthError`; the server says it in the protocol's words.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import pwd
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import voiceauthd
from voiceauthd.errors import DeniedError, NotEnrolledError, StorageError, UsageError, VoiceauthError
from voiceauthd.profiles.document import export_document, import_document
from voiceauthd.profiles.enrolment import Enrolment, EnrolMode
from voiceauthd.profiles.names import check_condition, check_name
from voiceauthd.profiles.profile import Profile
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.protocol.wire import MAX_MESSAGE
from voiceauthd.scoring.sequential import Identification, Verification
from voiceauthd.service import listening
from voiceauthd.service.access import Access
from voiceauthd.service.claims import Claims
from voiceauthd.service.ear import listen
from voiceauthd.service.engine import Engine, least_agreement
from voiceauthd.service.enrolling import Session, Upload, enrolment_reply, no_such_claim
from voiceauthd.service.hub import Hub
from voiceauthd.service.monitoring import events
from voiceauthd.service.replies import Reply, model_reply, profile_reply, refused_reply
from voiceauthd.service.requests import Call, CallError, error_reply
from voiceauthd.service.state import State
from voiceauthd.service.status import status_reply

log = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

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
        self._changes: set[asyncio.Task[Any]] = set()
        self._table: dict[str, Callable[[Call], Awaitable[None]]] = {
            "Info": self._info,
            "Status": self._status,
            "Enroll": self._enroll,
            "SendAudio": self._send_audio,
            "Verify": self._verify,
            "Identify": self._identify,
            "Monitor": self._monitor,
            "ListProfiles": self._list_profiles,
            "ShowProfile": self._show_profile,
            "RenameProfile": self._rename_profile,
            "DeleteProfile": self._delete_profile,
            "ExportProfile": self._export_profile,
            "ImportProfile": self._import_profile,
            "Reload": self._reload_config,
        }

    async def handle(self, call: Call) -> None:
        """The one door. Denies what is about no profile here; what is about one is decided where it is known."""
        handler = self._table[call.name]
        await handler(call)

    # Who may

    def _require(self, call: Call, name: str | None = None, owner_uid: int | None = None) -> None:
        if not self._access.allowed(call.peer, call.name, name, owner_uid):
            log.warning("denied %s%s to %s", call.name, f" of {name!r}" if name else "", call.peer)
            whose = f" of {name!r}" if name else ""
            raise DeniedError(f"{call.name}{whose} is not allowed to {call.peer.user or call.peer.uid}")

    async def _engine(self) -> Engine:
        return await self._state.ready()

    @property
    def _access(self) -> Access:
        return self._state.access

    async def _profile_for(self, call: Call) -> tuple[Engine, Profile]:
        """The profile that the call names. Nobody learns of a profile that is not theirs whether it exists."""
        name = check_name(call.parameters["name"])
        engine = await self._engine()
        try:
            profile = engine.store.get(name)
        except (NotEnrolledError, StorageError):
            self._require(call, name)
            raise
        self._require(call, profile.name, profile.owner_uid)
        return engine, profile

    # What the daemon is

    async def _info(self, call: Call) -> None:
        self._require(call)
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
        self._require(call)
        details = self._access.sees_scores(call.peer)
        await call.reply(status_reply(self._state, details=details))

    async def _reload_config(self, call: Call) -> None:
        self._require(call)
        await call.reply({"changed": await self._reload()})

    # Listening

    async def _verify(self, call: Call) -> None:
        engine, profile = await self._profile_for(call)
        config, scores = engine.config, self._access.sees_scores(call.peer)
        recogniser = engine.recogniser
        verification = Verification(profile.name, recogniser.compare, recogniser.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid), listen(self._state, self._hub) as ear:
            decision = await listening.verify(call, ear, profile, verification, config)
        log.info("verify %r for %s: %s, %s", profile.name, call.peer, decision.outcome.value, decision.reason)
        await call.reply(listening.verified_reply(call, decision, verification, config, scores=scores))

    async def _identify(self, call: Call) -> None:
        self._require(call)
        engine = await self._engine()
        config, scores = engine.config, self._access.sees_scores(call.peer)
        recogniser = engine.recogniser
        identification = Identification(recogniser.compare, recogniser.rule, config.verify)
        with self._claims.take(call.name, call.peer.uid), listen(self._state, self._hub) as ear:
            identified = await listening.identify(call, ear, identification, config)
        log.info("identify for %s: %s, %s", call.peer, identified.recognition.value, identified.reason)
        await call.reply(listening.identify_reply(identified, identification, config, scores))

    async def _monitor(self, call: Call) -> None:
        self._require(call)
        engine = await self._engine()
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
        account = await asyncio.to_thread(_account, name)
        engine = await self._engine()
        existing = self._existing(call, engine, name)
        enrolment = Enrolment(
            name,
            engine.embedder.model,
            engine.config.enroll,
            condition=condition,
            owner_uid=account,
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
            store = engine.store
            # What was deleted meanwhile is not brought back by adding to it.
            write = {EnrolMode.NEW: store.add, EnrolMode.ADD: store.replace, EnrolMode.REPLACE: store.put}
            written = await self._change(write[enrolment.mode], enrolment.finish())
        log.info("enrolled %r for %s: %s", written.name, call.peer, enrolment.summary())
        await call.reply(enrolment_reply(enrolment, "done") | {"profile": profile_reply(written)})

    def _existing(self, call: Call, engine: Engine, name: str) -> Profile | None:
        try:
            existing = engine.store.get(name)
        except NotEnrolledError:
            existing = None
        except StorageError:
            # What cannot be used can be replaced, and nothing else: there is nothing to add to.
            if call.parameters.get("mode") != EnrolMode.REPLACE:
                self._require(call, name)
                raise
            existing = None
        self._require(call, existing.name if existing else name, existing.owner_uid if existing else None)
        return existing

    async def _send_audio(self, call: Call) -> None:
        claim, upload = self._claims.current, self._upload
        if claim is None or upload is None or call.parameters["claim"] != claim.token:
            raise no_such_claim()
        self._require(call, owner_uid=claim.uid)
        await upload.put(call.parameters["pcm"], call.parameters.get("end"))
        await call.reply({})

    # Profiles

    async def _list_profiles(self, call: Call) -> None:
        self._require(call)
        store = (await self._engine()).store
        usable = [
            profile_reply(profile)
            for profile in store.all()
            if self._access.sees_profile(call.peer, profile.name, profile.owner_uid)
        ]
        refused = [
            refused_reply(name, problem)
            for name, problem in store.refused.items()
            if self._access.sees_profile(call.peer, name, None)
        ]
        await call.reply({"profiles": sorted(usable + refused, key=lambda profile: str(profile["name"]))})

    async def _show_profile(self, call: Call) -> None:
        try:
            _, profile = await self._profile_for(call)
        except StorageError as problem:
            await call.reply({"profile": refused_reply(call.parameters["name"], problem)})
            return
        await call.reply({"profile": profile_reply(profile)})

    async def _rename_profile(self, call: Call) -> None:
        engine, profile = await self._profile_for(call)
        new_name = call.parameters["new_name"]
        with _about(new_name):
            renamed = await self._change(engine.store.rename, profile.name, new_name)
        log.info("renamed %r to %r for %s", profile.name, renamed.name, call.peer)
        await call.reply({"profile": profile_reply(renamed)})

    async def _delete_profile(self, call: Call) -> None:
        engine = await self._engine()
        try:
            _, profile = await self._profile_for(call)
            name = profile.name
        except StorageError:  # what cannot be used can still be deleted
            name = check_name(call.parameters["name"])
        await self._change(engine.store.delete, name)
        log.info("deleted %r for %s", name, call.peer)
        await call.reply({})

    async def _export_profile(self, call: Call) -> None:
        _, profile = await self._profile_for(call)
        log.info("exported %r for %s", profile.name, call.peer)
        await call.reply({"document": export_document(profile)})

    async def _import_profile(self, call: Call) -> None:
        self._require(call)
        engine = await self._engine()
        profile = import_document(call.parameters["document"])
        name = check_name(call.parameters.get("name") or profile.name)
        # A number that stood for somebody on the machine it was exported from may be anybody here.
        account = await asyncio.to_thread(_account, name)
        profile = dataclasses.replace(profile, name=name, owner_uid=account)
        write = engine.store.put if call.parameters.get("replace") else engine.store.add
        with _about(name):
            written = await self._change(write, profile)
        log.info("imported %r for %s", written.name, call.peer)
        await call.reply({"profile": profile_reply(written)})

    async def _change(
        self, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Changes the store, in a thread; what it then holds is what is compared with. Comes to its end even if the
        caller has gone: what is on the disk and what is compared with must not differ.
        """

        async def change() -> Result:
            try:
                return await asyncio.to_thread(work, *arguments, **named)
            finally:
                self._state.engine.refresh()

        task = asyncio.create_task(change())
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)


@contextmanager
def _about(name: str) -> Iterator[None]:
    """What goes wrong in here is about `name`, which is not the call's own `name`."""
    try:
        yield
    except VoiceauthError as problem:
        answer = error_reply(problem, {"name": name})
        if answer is None or answer.error is None:
            raise
        raise CallError(answer.error, answer.parameters) from problem


def _condition(call: Call) -> str:
    try:
        return check_condition(call.parameters.get("condition") or "default")
    except UsageError as problem:
        raise MismatchError("condition", str(problem)) from None


def _account(name: str) -> int | None:
    """Whose voice it is: the user of this machine who has that name, if there is one."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
