"""What all methods share: who calls, whether they may, the engine, and changes of the store."""

from __future__ import annotations

import asyncio
import logging
import pwd
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from voiceauthd.errors import DeniedError, NotEnrolledError, StorageError
from voiceauthd.profiles.names import check_name
from voiceauthd.profiles.profile import Profile
from voiceauthd.service.access import Access
from voiceauthd.service.engine import Engine
from voiceauthd.service.replies import Reply, rated_reply
from voiceauthd.service.requests import Call
from voiceauthd.service.state import State

log = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Context:
    """What a method may lean on. All of it runs in the event loop's thread, save what `change` is given."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._changes: set[asyncio.Task[Any]] = set()

    @property
    def access(self) -> Access:
        return self.state.access

    def require(self, call: Call, name: str | None = None, owner_uid: int | None = None) -> None:
        """Raises `DeniedError` if the caller may not do this, with the profile `name` of the user `owner_uid`."""
        if not self.access.allowed(call.peer, call.name, name, owner_uid):
            log.warning("denied %s%s to %s", call.name, f" of {name!r}" if name else "", call.peer)
            whose = f" of {name!r}" if name else ""
            raise DeniedError(f"{call.name}{whose} is not allowed to {call.peer.user or call.peer.uid}")

    async def engine(self) -> Engine:
        """Waits until the daemon is ready. Raises why it will not be."""
        return await self.state.ready()

    async def profile_for(self, call: Call) -> tuple[Engine, Profile]:
        """The profile that the call names. Nobody learns of a profile that is not theirs whether it exists.

        Raises `DeniedError`, `NotEnrolledError` and `StorageError`.
        """
        name = check_name(call.parameters["name"])
        engine = await self.engine()
        try:
            profile = engine.store.get(name)
        except (NotEnrolledError, StorageError):
            self.require(call, name)
            raise
        self.require(call, profile.name, profile.owner_uid)
        return engine, profile

    def rated(self, call: Call, engine: Engine, profile: Profile) -> Reply:
        """Type Profile with its rating, as far as the caller may see it."""
        return rated_reply(profile, engine.embedder.threshold, scores=self.access.sees_scores(call.peer))

    async def change(
        self, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Changes the store, in a thread; what it then holds is what is compared with. Comes to its end even if the
        caller has gone: what is on the disk and what is compared with must not differ.
        """

        async def change() -> Result:
            try:
                return await asyncio.to_thread(work, *arguments, **named)
            finally:
                self.state.engine.refresh()

        task = asyncio.create_task(change())
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)


async def account(name: str) -> int | None:
    """Whose voice it is: the user of this machine who has that name, if there is one."""
    return await asyncio.to_thread(_uid, name)


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
