"""Enrolment from files: send recordings over a second connection while the first streams the daemon's replies."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from voiceauthd.client import Client
from voiceauthd.errors import AudioError, NotRunningError
from voiceauthd.terminal.enrolment_progress import progress_share
from voiceauthd.terminal.long_recording import LongRecording

CHUNK_BYTES = 32 * 1024
"""Bytes of PCM in one message: 1.02 s of audio. In base64 that is 43.7 KiB, well inside a message of 64 KiB."""

EXPLANATION_TIMEOUT = 3.0
"""Seconds to wait for the stream to explain why sending failed."""

FINAL_STATES = ("done", "decided")
"""States of the last reply of a call."""

Reply = dict[str, Any]

Take = bytes | LongRecording
"""A recording as mono 16 kHz signed 16-bit little-endian, or one that is read in parts."""


class SendFailure(NamedTuple):
    """The error that ended the sending."""

    error: BaseException


Arrivals = queue.SimpleQueue[Reply | BaseException | SendFailure | None]


class Verdicts:
    """What the replies have said so far about the takes, for the thread that sends them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._judged = 0
        self._enough = self._ended = False

    def note(self, reply: Reply) -> None:
        """Note a reply."""
        with self._changed:
            self._judged += reply.get("state") == "take"
            self._enough = progress_share(reply) >= 1.0
            self._changed.notify_all()

    def end(self) -> None:
        """No more replies will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def enough(self, sent: int) -> bool:
        """Wait until `sent` takes were judged, and return whether the profile needs no more of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._judged >= sent)
            return self._enough or self._ended


def enroll_recordings(
    socket: str | None,
    parameters: dict[str, Any],
    takes: Sequence[Take],
    method: str = "Enroll",
    on_take: Callable[[int, int | None], None] = lambda index, part: None,
) -> Iterator[Reply]:
    """Enrol from `takes`, one recording each, and yield the replies of the Enroll stream.

    parameters  of Enroll; `source` must be "recordings"
    method      another one that receives recordings in the same way, with its own parameters
    on_take     called before a take is sent, with the index of its recording; and, for a long recording, the number of
                the part, from 1

    Of a long recording, no more parts are sent than the profile still needs. Raises the daemon's error, from either
    connection, and `AudioError` for a long recording that turns out to be damaged.
    """
    replies: Arrivals = queue.SimpleQueue()
    verdicts = Verdicts()
    with Client(socket) as stream, Client(socket, None) as upload:

        def read() -> None:
            try:
                for reply in stream.stream(method, **parameters):
                    verdicts.note(reply)
                    replies.put(reply)
                replies.put(None)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
                replies.put(error)
            finally:
                verdicts.end()

        def send() -> None:
            try:
                _send(upload.call, claim, takes, verdicts, on_take)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
                replies.put(SendFailure(error))

        threading.Thread(target=read, daemon=True).start()
        first = replies.get()
        if isinstance(first, BaseException):
            raise first
        if not isinstance(first, dict) or not first.get("claim"):
            raise NotRunningError("the daemon gave no claim to send recordings for", "no_answer")
        claim = str(first["claim"])
        threading.Thread(target=send, daemon=True).start()
        yield first
        yield from _rest(replies)


def _rest(replies: Arrivals) -> Iterator[Reply]:
    """Yield the replies up to the end of the stream. Raises the error that ended either thread.

    Sending fails when the call has ended early, and only the stream knows why: the replies on the way are still
    awaited, and with them the reason, or a decision that was clear before the end of the recording.
    """
    failed: SendFailure | None = None
    answered = False
    while True:
        try:
            item = replies.get(timeout=None if failed is None else EXPLANATION_TIMEOUT)
        except queue.Empty:
            item = None
        if isinstance(item, SendFailure):
            failed = item
            if isinstance(failed.error, AudioError):  # of this side: the recording is damaged
                raise failed.error
        elif isinstance(item, BaseException):
            raise item
        elif item is not None:
            answered = item.get("state") in FINAL_STATES
            yield item
        elif failed is not None and not answered:
            raise failed.error
        else:
            return


def _send(
    call: Callable[..., Any],
    claim: str,
    takes: Sequence[Take],
    verdicts: Verdicts,
    on_take: Callable[[int, int | None], None],
) -> None:
    sent = 0
    for index, take in enumerate(takes):
        last = index == len(takes) - 1
        if isinstance(take, bytes):
            on_take(index, None)
            _send_take(call, claim, take, "all" if last else "take")
            sent += 1
            continue
        for number, part in enumerate(take.parts(), 1):
            on_take(index, number)
            _send_take(call, claim, part, "take")
            sent += 1
            if verdicts.enough(sent):
                break
        if last:
            _send_take(call, claim, b"", "all")


def _send_take(call: Callable[..., Any], claim: str, pcm: bytes, end: str) -> None:
    chunks = [pcm[start : start + CHUNK_BYTES] for start in range(0, len(pcm), CHUNK_BYTES)] or [b""]
    for chunk in chunks[:-1]:
        call("SendAudio", claim=claim, pcm=base64.b64encode(chunk).decode())
    call("SendAudio", claim=claim, pcm=base64.b64encode(chunks[-1]).decode(), end=end)
