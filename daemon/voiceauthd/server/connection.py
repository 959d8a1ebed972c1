"""One client's connection: it reads requests, answers them in order, and handles every way in which it can end.

Reading never waits for answering, so that the end of the input is noticed while a stream runs. A client can make the
daemon hold only a bounded amount: one message, `requests_in_flight` requests, one output buffer. A client that does not
read is disconnected after `WRITE_STALL`, one that floods after `MAX_REFUSED`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

from voiceauthd.protocol import errors
from voiceauthd.protocol.wire import (
    BOTH_DELIMITERS,
    MAX_MESSAGE,
    Decoder,
    Reply,
    Request,
    WireError,
    encode_reply,
    parse_request,
)
from voiceauthd.server.call import Send
from voiceauthd.server.disconnect_watch import DisconnectWatch, is_disconnected
from voiceauthd.server.event_queue import SlowSubscriberError
from voiceauthd.server.peer import Peer

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
"""Bytes read from one connection before the others have their turn."""

WRITE_BUFFER = 64 * 1024
"""Bytes buffered for a client beyond the kernel's own buffer; above this, sending waits."""

WRITE_STALL = 5.0
"""Seconds that a buffer may stay full before the client is disconnected."""

MAX_REFUSED = 1024
"""Requests beyond `requests_in_flight` that are refused one by one. A client that sends more without reading an answer
is rejected."""

LINGER = 1.0
"""Seconds in which a rejected client may finish sending. If the connection were closed at once, it would get a broken
pipe before it reads why."""

Answer = Callable[[Request, Peer, Send], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Refusal:
    """An error to be sent `count` times when its turn comes."""

    reply: Reply
    count: int = 1


class Connection(asyncio.BufferedProtocol):
    """Answers the requests of one client in order.

    answer     answers one request
    in_flight  requests that may be unanswered at once; more are answered with TooManyRequests
    on_end     called once, when the connection is closed and nothing that it started still runs
    refusal    rejects the client with this error before anything is read
    ended      a future that is done when `on_end` is called
    """

    def __init__(
        self,
        peer: Peer,
        answer: Answer,
        watch: DisconnectWatch,
        *,
        in_flight: int,
        on_end: Callable[[Connection], None],
        refusal: Reply | None = None,
    ) -> None:
        self.peer = peer
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._watch = watch
        self._in_flight = in_flight
        self._on_end = on_end
        self._refusal = refusal
        self._decoder = Decoder()
        self._buffer = bytearray(READ_SIZE)
        self._queue: deque[Request | _Refusal] = deque()
        self._current: Request | None = None
        self._running: asyncio.Task[None] | None = None
        self._answered = False
        self._input_ended = False
        self._rejected = False
        self._discarding = False
        self._stopping = False
        self._closing = False
        self._gone = False
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._deadline: asyncio.TimerHandle | None = None

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._descriptor = self._transport.get_extra_info("socket").fileno()
        if self._refusal is not None:
            self._reject(self._refusal)
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._finished)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._discarding or self._input_ended:
            return
        for raw in self._decoder.feed(memoryview(self._buffer)[:nbytes]):
            self._accept(raw)
            if self._input_ended:
                return
        if self._decoder.overflowed:
            self._reject(_malformed(f"a message of more than {MAX_MESSAGE} bytes"))
        self._wake.set()

    def eof_received(self) -> bool:
        """Keep the connection open for answers, unless the client has disconnected."""
        if self._discarding:
            return False
        if not self._input_ended:
            for raw in self._decoder.finish():
                self._accept(raw)
        self._input_ended = True
        self._wake.set()
        if is_disconnected(self._descriptor):
            self._transport.abort()
        else:
            self._watch.add(self._descriptor, self._transport.abort)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected: cancel the calls that it waited for; oneway calls are still carried out."""
        self._gone = self._input_ended = True
        self._watch.discard(self._descriptor)
        self._set_deadline(None)
        self._queue = deque(item for item in self._queue if isinstance(item, Request) and item.oneway)
        if self._running is not None and self._current is not None and not self._current.oneway:
            self._running.cancel()
        self._writable.set()
        self._wake.set()
        if self._task.done():
            self._end()

    def pause_writing(self) -> None:
        self._writable.clear()
        if not self._closing:
            self._set_deadline(WRITE_STALL)

    def resume_writing(self) -> None:
        self._writable.set()
        if not self._closing:
            self._set_deadline(None)

    # Called by the server

    def stop(self) -> None:
        """Cancel the running call, tell the client, and close."""
        self._stopping = self._input_ended = True
        self._queue.clear()
        if self._running is not None:
            self._running.cancel()
        if self._discarding:
            self._transport.close()
        self._wake.set()

    def abort(self) -> None:
        """End at once, without sending what is still buffered."""
        self._transport.abort()
        self._task.cancel()

    # Requests, in order

    def _accept(self, raw: bytes) -> None:
        try:
            item: Request | _Refusal = parse_request(raw)
        except WireError as problem:
            item = _Refusal(_malformed(str(problem)))
        if len(self._queue) + (self._current is not None) < self._in_flight:
            self._queue.append(item)
        elif isinstance(item, _Refusal) or not item.oneway:
            self._refuse_too_many()

    def _refuse_too_many(self) -> None:
        reply = Reply({"limit": self._in_flight}, error=errors.TOO_MANY_REQUESTS)
        last = self._queue[-1] if self._queue else None
        if not (isinstance(last, _Refusal) and last.reply == reply):
            self._queue.append(_Refusal(reply))
        elif last.count < MAX_REFUSED:
            last.count += 1
        else:
            self._reject(reply)

    def _reject(self, reply: Reply) -> None:
        """Stop reading, and close after `reply`, which follows the answers to earlier requests."""
        self._queue.append(_Refusal(reply))
        self._input_ended = self._rejected = True
        self._transport.pause_reading()
        self._watch.add(self._descriptor, self._transport.abort)
        self._wake.set()

    async def _run(self) -> None:
        try:
            while (item := await self._next()) is not None:
                if isinstance(item, _Refusal):
                    await self._send_refusal(item)
                else:
                    await self._serve(item)
                await asyncio.sleep(0)  # let other connections run, even if nothing here ever waits
        finally:
            self._close()

    async def _next(self) -> Request | _Refusal | None:
        while not self._queue:
            if self._input_ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def _send_refusal(self, refusal: _Refusal) -> None:
        for _ in range(refusal.count):
            if self._gone:
                return
            await self._send(refusal.reply)
            await asyncio.sleep(0)

    async def _serve(self, request: Request) -> None:
        self._current, self._answered = request, False
        self._running = asyncio.get_running_loop().create_task(self._answer(request, self.peer, self._send))
        try:
            await asyncio.wait({self._running})
            problem = None if self._running.cancelled() else self._running.exception()
            if self._running.cancelled() and not (self._answered or request.oneway):
                detail = "the daemon is stopping" if self._stopping else "the call was cancelled"
                await self._send(Reply({"detail": detail}, error=errors.CANCELLED))
            elif isinstance(problem, SlowSubscriberError):
                log.warning("%s: %s", self.peer, problem)
                self._queue.clear()
                self._reject(Reply({"detail": str(problem)}, error=errors.CANCELLED))
            elif problem is not None:
                raise problem
        finally:
            self._running.cancel()
            self._current = self._running = None

    async def _send(self, reply: Reply) -> None:
        """Send one reply. Raises `RuntimeError`, before anything is sent, if JSON cannot represent it."""
        try:
            message = encode_reply(reply, self._decoder.delimiter or BOTH_DELIMITERS)
        except WireError as problem:
            raise RuntimeError(f"the reply cannot be sent: {problem}") from None
        if self._gone:
            return
        self._answered = not reply.continues
        self._transport.write(message)
        await self._writable.wait()

    # The end

    def _close(self) -> None:
        """Close, and give the client a limited time to read what was sent."""
        self._closing = True
        if self._gone:
            return
        if self._rejected and not self._stopping:
            self._discarding = True
            self._watch.discard(self._descriptor)
            self._transport.write_eof()
            self._transport.resume_reading()
            self._set_deadline(LINGER)
        else:
            self._transport.close()
            self._set_deadline(WRITE_STALL)

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("the connection of %s failed", self.peer, exc_info=task.exception())
        if self._gone:
            self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
            self._on_end(self)

    def _set_deadline(self, seconds: float | None) -> None:
        """Replace the timer that aborts the connection if its buffer has not emptied, or it has not closed, by then."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if not self._discarding:
            log.warning("%s does not read its answers; disconnecting it", self.peer)
        self._transport.abort()


def _malformed(detail: str) -> Reply:
    return Reply({"detail": detail}, error=errors.MALFORMED_MESSAGE)
