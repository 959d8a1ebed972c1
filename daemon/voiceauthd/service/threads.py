"""Running blocking work in daemon threads: work that cannot be interrupted must not delay the exit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


async def in_thread(
    work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Run `work` in a new daemon thread, and return or raise its result.

    For work that takes seconds: at its end `asyncio.run` waits for the threads of `asyncio.to_thread`, however long
    they take, but not for these. If the caller is cancelled the thread continues, and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(put: Callable[[], None]) -> None:
        if not future.cancelled():
            put()

    def run() -> None:
        put: Callable[[], None]
        try:
            result = work(*arguments, **named)
        except BaseException as problem:  # noqa: BLE001 - raised again in the event loop
            failure = problem
            put = lambda: future.set_exception(failure)  # noqa: E731
        else:
            put = lambda: future.set_result(result)  # noqa: E731
        try:
            loop.call_soon_threadsafe(settle, put)
        except RuntimeError:  # the loop has closed, so nobody is waiting
            pass

    threading.Thread(target=run, name=getattr(work, "__name__", "background"), daemon=True).start()
    return await future
