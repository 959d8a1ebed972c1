"""What all methods share: permission checks, the engine, the audit log, and changes of the store."""

from __future__ import annotations

import asyncio
import logging
import pwd
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from voiceauthd.errors import DeniedError, NotEnrolledError, StorageError, WithdrawnError
from voiceauthd.profiles.names import check_name, name_key
from voiceauthd.profiles.profile import Profile
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.server.call import Call
from voiceauthd.service.access import Access, owner_of
from voiceauthd.service.auditing import failed_outcome
from voiceauthd.service.engine import Engine
from voiceauthd.service.replies import Reply, rated_reply
from voiceauthd.service.state import State

log = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Context:
    """The helpers of a method. Everything runs in the event loop's thread, except the work given to `change`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._changes: set[asyncio.Task[Any]] = set()

    @property
    def access(self) -> Access:
        return self.state.access

    def require(self, call: Call, name: str | None = None, owner: int | None = None, holder: int | None = None) -> None:
        """Raise `DeniedError` if the caller may not do this, with the reason `proof_needed` if a proof would help. Uses
        up the call's proof, if it needs one.

        name    the profile that the call is about, for the log
        owner   the uid of its owner
        holder  the user who holds the claim that the call names
        """
        if self.access.allowed(call.peer, call.name, owner, holder=holder):
            return
        whose = f" of {name!r}" if name else ""
        if self.access.allowed(call.peer, call.name, owner, proven=True):
            if self.state.proofs.spend(call.parameters.get("proof"), call.peer.uid):
                return
            raise DeniedError(f"{call.name}{whose} needs the password of {call.peer.user}", "proof_needed")
        log.warning("denied %s%s to %s", call.name, whose, call.peer)
        user = str(call.peer.user or call.peer.uid)
        raise DeniedError(f"{call.name}{whose} is not allowed to {user}: {self.access.who_may(call.name, user)}")

    async def audit(self, call: Call, outcome: str | None = None, reason: str = "") -> None:
        """Write the outcome of a call to the audit log, before it is answered. Raises `StorageError`."""
        if outcome is not None:
            call.outcome, call.reason = outcome, reason
        call.audited = True  # even if the caller disconnects: the line is still written
        try:
            await self.state.auditor.record(call.name, call.outcome, call.reason, call.peer, call.about, call.detail)
        except StorageError:
            call.audited = False
            raise

    async def engine(self) -> Engine:
        """The engine, once the daemon is ready. Raises `ModelError` if it will not be."""
        return await self.state.ready()

    async def profile_for(self, call: Call) -> tuple[Engine, Profile]:
        """The profile that the call names. Does not reveal to other users whether a profile exists.

        Raises `DeniedError`, `NotEnrolledError` and `StorageError`.
        """
        name = check_name(call.parameters["name"])
        engine = await self.engine()
        try:
            profile = engine.store.get(name)
        except (NotEnrolledError, StorageError):
            name = enrolled_name(engine.store, name) or name
            self.require(call, name, await account(name))
            raise
        self.require(call, profile.name, owner_of(await account(profile.name), profile.owner_uid))
        return engine, profile

    async def require_own_voice(self, asked: str, profile: Profile) -> None:
        """Raise `NotEnrolledError` or `StorageError` if `profile`, found by the name `asked`, may hold the voice of a
        different account than the one that its decision would open.
        """
        if asked != profile.name and await account(asked) is not None:
            # Profile names ignore case, account names do not: `Anna` and `anna` are two users.
            raise NotEnrolledError(f"nobody is enrolled as {asked!r}, and {profile.name!r} is another account")
        uid = await account(profile.name)
        if uid is not None and owner_of(uid, profile.owner_uid) is None:
            raise StorageError(
                f"the voice was enrolled for uid {profile.owner_uid}, and the account is uid {uid} now: an "
                "administrator must enrol it again",
                "wrong_owner",
            )

    async def require_same_account(self, asked: str, enrolled: str | None) -> None:
        """Raise `StorageError`, reason `already_enrolled`, if an enrolment under the name `asked` would be written into
        the profile `enrolled`, which that name finds, and so open another account.
        """
        if enrolled not in (None, asked) and await account(asked) is not None:
            raise StorageError(f"{asked!r} is another account than {enrolled!r}, who is enrolled", "already_enrolled")

    def require_in_force(self, engine: Engine) -> None:
        """Raise `WithdrawnError` if a reload has replaced `engine` since the call began. Call it once the claim is
        held: from then on a reload that changes audio or model cancels the claim.
        """
        if self.state.engine_now is not engine:
            raise WithdrawnError("the configuration was reloaded; try again")

    def rated(self, call: Call, engine: Engine, profile: Profile) -> Reply:
        """A reply of type Profile with its rating, as far as the caller may see it."""
        reply = rated_reply(profile, engine.embedder.threshold, scores=self.access.sees_scores(call.peer))
        if (seconds := self.state.lockout.locked_for(profile.name)) is not None:
            reply["locked_for"] = round(seconds, 1)
        return reply

    async def change(
        self, call: Call, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Change the store in a thread, and compare with its new content. Finishes even if the caller has disconnected:
        the disk, the voices compared with and the audit log must agree.

        Raises `StorageError` before any change if the audit log cannot be written.
        """
        await self.state.auditor.require_working(call.name, call.peer, call.about)

        async def change() -> Result:
            try:
                result = await asyncio.to_thread(work, *arguments, **named)
            except BaseException as problem:
                self.state.auditor.note(call.name, *failed_outcome(problem), call.peer, call.about, call.detail)
                self.state.engine.refresh()
                raise
            try:
                self.state.engine.refresh()
            finally:
                await self._tell_done(call)
            return result

        call.audited = True  # by the change, which goes on when the call is cancelled
        task = asyncio.create_task(change())
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _tell_done(self, call: Call) -> None:
        try:
            await self.audit(call, "done")
        except StorageError as problem:  # the change has been made; only its line is missing
            log.error("%s of %r is not in the audit log: %s", call.name, call.about, problem)

    async def settle(self, seconds: float) -> None:
        """Wait until no change is running, at most `seconds`."""
        if self._changes:
            await asyncio.wait(self._changes, timeout=seconds)


def enrolled_name(store: ProfileStore, name: str) -> str | None:
    """The name of the usable or refused profile that `name` finds; None if there is none."""
    try:
        return store.get(name).name
    except NotEnrolledError:
        return None
    except StorageError:
        same = [other for other in store.refused if name_key(other) == name_key(name)]
        return name if name in same else next(iter(same), None)


async def account(name: str) -> int | None:
    """The uid of the account with exactly this name, if there is one."""
    return await asyncio.to_thread(find_account, name)


def find_account(name: str) -> int | None:
    """What `account` returns. May ask a network's user database, so it must not run in the event loop's thread."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    return entry.pw_uid if entry.pw_name == name else None  # some user databases find `anna` for `Anna`
