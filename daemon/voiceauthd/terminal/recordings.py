"""Enrolment from files: send recordings over a second connection while the first streams the daemon's replies."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from voiceauthd.audio.file import read_recording
from voiceauthd.audio.pcm import pcm16
from voiceauthd.client import Client
from voiceauthd.errors import NotRunningError

CHUNK_BYTES = 32 * 1024
"""Bytes of PCM in one message: 1.02 s of audio. In base64 that is 43.7 KiB, well inside a message of 64 KiB."""

EXPLANATION_TIMEOUT = 3.0
"""Seconds to wait for the stream to explain why sending failed."""

Reply = dict[str, Any]


class SendFailure(NamedTuple):
    """The error that ended the sending."""

    error: BaseException


Arrivals = queue.SimpleQueue[Reply | BaseException | SendFailure | None]


def read_pcm(path: str) -> bytes:
    """Return a recording as mono 16 kHz signed 16-bit little-endian. Raises `AudioError` if it cannot be used."""
    return pcm16(read_recording(Path(path)))


def enroll_recordings(socket: str | None, parameters: dict[str, Any], takes: Sequence[bytes]) -> Iterator[Reply]:
    """Enrol from `takes` (PCM, one recording each) and yield the replies of the Enroll stream.

    parameters  of Enroll; `source` must be "recordings"
    Raises the daemon's error, from either connection.
    """
    replies: Arrivals = queue.SimpleQueue()
    with Client(socket) as stream, Client(socket, None) as upload:

        def read() -> None:
            try:
                for reply in stream.stream("Enroll", **parameters):
                    replies.put(reply)
                replies.put(None)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
                replies.put(error)

        def send() -> None:
            try:
                _send(upload.call, claim, takes)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
                replies.put(SendFailure(error))

        threading.Thread(target=read, daemon=True).start()
        first = _next(replies)
        if first is None or not first.get("claim"):
            raise NotRunningError("the daemon gave no claim to send recordings for", "no_answer")
        claim = str(first["claim"])
        threading.Thread(target=send, daemon=True).start()
        reply: Reply | None = first
        while reply is not None:
            yield reply
            reply = _next(replies)


def _next(replies: Arrivals) -> Reply | None:
    """Return the next reply, or None at the end of the stream. Raises the error that ended either thread.

    If sending fails because the enrolment has ended, the stream knows the reason: wait briefly for it.
    """
    item = replies.get()
    if isinstance(item, SendFailure):
        try:
            explanation = replies.get(timeout=EXPLANATION_TIMEOUT)
        except queue.Empty:
            explanation = None
        raise explanation if isinstance(explanation, BaseException) else item.error
    if isinstance(item, BaseException):
        raise item
    return item


def _send(call: Callable[..., Any], claim: str, takes: Sequence[bytes]) -> None:
    for index, pcm in enumerate(takes):
        chunks = [pcm[start : start + CHUNK_BYTES] for start in range(0, len(pcm), CHUNK_BYTES)] or [b""]
        for chunk in chunks[:-1]:
            call("SendAudio", claim=claim, pcm=base64.b64encode(chunk).decode())
        end = "all" if index == len(takes) - 1 else "take"
        call("SendAudio", claim=claim, pcm=base64.b64encode(chunks[-1]).decode(), end=end)
