"""Work in threads that nobody waits for at the end: what cannot be interrupted must not hold up the exit."""

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
    """What `work` returns or raises, from a thread of its own.

    For what takes seconds. `asyncio.run` waits for the threads of `asyncio.to_thread` when it ends, however long they
    take; for this one it does not. If the caller is cancelled the thread goes on, and what it comes to is dropped.
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
        except BaseException as problem:  # noqa: BLE001 - whatever it is, the event loop raises it
            failure = problem
            put = lambda: future.set_exception(failure)  # noqa: E731
        else:
            put = lambda: future.set_result(result)  # noqa: E731
        try:
            loop.call_soon_threadsafe(settle, put)
        except RuntimeError:  # the loop has closed: nobody waits any more
            pass

    threading.Thread(target=run, name=getattr(work, "__name__", "background"), daemon=True).start()
    return await future
