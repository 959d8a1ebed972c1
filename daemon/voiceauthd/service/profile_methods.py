"""The methods about existing profiles: list, show, rename, delete, drop an exemplar, export, import, unlock, rekey."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from voiceauthd.errors import StorageError, VoiceauthError
from voiceauthd.profiles.document import export_document, import_document
from voiceauthd.profiles.names import check_name
from voiceauthd.profiles.profile import Profile
from voiceauthd.server.call import Call, CallError, error_reply
from voiceauthd.server.dispatch import Handler
from voiceauthd.service.context import Context, account, enrolled_name
from voiceauthd.service.duplicate_voice import require_new_voice
from voiceauthd.service.replies import profile_reply, refused_reply

log = logging.getLogger(__name__)


class ProfileMethods:
    """Answers calls about profiles; `table` maps each method to its handler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.table: dict[str, Handler] = {
            "ListProfiles": self._list,
            "ShowProfile": self._show,
            "RenameProfile": self._rename,
            "DeleteProfile": self._delete,
            "DropExemplar": self._drop_exemplar,
            "ExportProfile": self._export,
            "ImportProfile": self._import,
            "Unlock": self._unlock,
            "Rekey": self._rekey,
        }

    async def _list(self, call: Call) -> None:
        self._context.require(call)
        store = (await self._context.engine()).store
        usable = [
            profile_reply(profile)
            for profile in store.all()
            if self._context.access.sees_profile(call.peer, profile.name, profile.owner_uid)
        ]
        refused = [
            refused_reply(name, problem)
            for name, problem in store.refused.items()
            if self._context.access.sees_profile(call.peer, name, None)
        ]
        await call.reply({"profiles": sorted(usable + refused, key=lambda profile: str(profile["name"]))})

    async def _show(self, call: Call) -> None:
        try:
            engine, profile = await self._context.profile_for(call)
        except StorageError as problem:
            await call.reply({"profile": refused_reply(call.parameters["name"], problem)})
            return
        await call.reply({"profile": self._context.rated(call, engine, profile)})

    async def _rename(self, call: Call) -> None:
        engine, profile = await self._context.profile_for(call)
        call.detail = new_name = call.parameters["new_name"]

        def rename() -> Profile:
            renamed = engine.store.rename(profile.name, new_name)
            self._context.state.lockout.rename(profile.name, renamed.name)
            return renamed

        with _about(new_name):
            renamed = await self._context.change(call, rename)
        self._forget_takes(profile.name, renamed.name)
        log.info("renamed %r to %r for %s", profile.name, renamed.name, call.peer)
        await call.reply({"profile": self._context.rated(call, engine, renamed)})

    async def _delete(self, call: Call) -> None:
        engine = await self._context.engine()
        try:
            _, profile = await self._context.profile_for(call)
            name = profile.name
        except StorageError:  # a profile that cannot be used can still be deleted
            name = check_name(call.parameters["name"])
        await self._context.change(call, engine.store.delete, name)
        self._forget_takes(name)
        log.info("deleted %r for %s", name, call.peer)
        await call.reply({})

    async def _drop_exemplar(self, call: Call) -> None:
        engine, profile = await self._context.profile_for(call)
        number, generation = call.parameters["exemplar"], call.parameters["generation"]
        call.detail = f"exemplar {number}"
        left = await self._context.change(call, engine.store.drop_exemplar, profile.name, number, generation)
        self._forget_takes(left.name)
        log.info("dropped exemplar %d of %r for %s", number, left.name, call.peer)
        await call.reply({"profile": self._context.rated(call, engine, left)})

    def _forget_takes(self, *names: str) -> None:
        """Forget what unfinished enrolments have collected for profiles that were changed."""
        for name in names:
            self._context.state.kept_takes.forget(name)

    async def _export(self, call: Call) -> None:
        _, profile = await self._context.profile_for(call)
        await self._context.audit(call)
        log.info("exported %r for %s", profile.name, call.peer)
        await call.reply({"document": export_document(profile)})

    async def _unlock(self, call: Call) -> None:
        _, profile = await self._context.profile_for(call)
        unlocked = await self._context.change(call, self._context.state.lockout.unlock, profile.name)
        log.info("%s %r for %s", "unlocked" if unlocked else "nothing to unlock for", profile.name, call.peer)
        await call.reply({"unlocked": unlocked})

    async def _rekey(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        key, count = await self._context.change(call, engine.store.rekey)
        log.info("encrypted %d profiles with the new key %s for %s", count, key, call.peer)
        await call.reply({"key": key, "profiles": count})

    async def _import(self, call: Call) -> None:
        self._context.require(call)
        engine = await self._context.engine()
        profile = import_document(call.parameters["document"])
        asked = call.parameters.get("name") or profile.name
        call.about = name = check_name(asked)
        # The owner's uid on the machine that exported the profile may belong to anybody here.
        profile = dataclasses.replace(profile, name=name, owner_uid=await account(name))
        write = engine.store.put if call.parameters.get("replace") else engine.store.add
        with _about(name):
            await self._context.require_same_account(asked, enrolled_name(engine.store, name))
            if not call.parameters.get("replace"):
                require_new_voice(profile, engine, call, self._context.access)
            written = await self._context.change(call, write, profile)
        self._forget_takes(written.name)
        log.info("imported %r for %s", written.name, call.peer)
        await call.reply({"profile": self._context.rated(call, engine, written)})


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Make errors raised in the block report `name` as their name instead of the call's own."""
    try:
        yield
    except VoiceauthError as problem:
        answer = error_reply(problem, {"name": name})
        if answer is None or answer.error is None:
            raise
        raise CallError(answer.error, answer.parameters) from problem
