"""Enrolment from files: decode each, and send it on a second connection while the first streams what is made of it."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voiceauthd.audio.block import Samples
from voiceauthd.audio.file import read_recording
from voiceauthd.client import Client
from voiceauthd.errors import NotRunningError

PIECE = 32 * 1024
"""Bytes of PCM a message: 1.02 s of sound; 43.7 KiB in base64, which leaves room in a message of 64 KiB."""

_MOMENT = 3.0
"""Seconds that the stream has to explain why sending failed."""

Reply = dict[str, Any]
Arrivals = queue.SimpleQueue[Reply | BaseException | None]


def pcm16(samples: Samples) -> bytes:
    """`samples`, shape (n,), full scale ±1.0, as signed 16-bit little-endian; what is over full scale is clipped."""
    scaled = np.clip(np.rint(samples.astype(np.float64) * 32768.0), -32768, 32767)
    return scaled.astype("<i2").tobytes()


def read_pcm(path: str) -> bytes:
    """A recording as mono 16 kHz signed 16-bit little-endian. Raises `AudioError` if it cannot be used."""
    return pcm16(read_recording(Path(path)))


def enroll_recordings(socket: str | None, parameters: dict[str, Any], takes: Sequence[bytes]) -> Iterator[Reply]:
    """Enrols from `takes` (PCM, one recording each) and yields the replies of the Enroll stream.

    parameters  of Enroll; `source` must be "recordings"
    Raises what the daemon answers, on either connection.
    """
    replies: Arrivals = queue.SimpleQueue()
    with Client(socket) as stream, Client(socket, None) as upload:

        def read() -> None:
            for reply in stream.stream("Enroll", **parameters):
                replies.put(reply)
            replies.put(None)

        _start(read, replies)
        first = _next(replies)
        if first is None or not first.get("claim"):
            raise NotRunningError("the daemon gave no claim to send recordings for", "no_answer")
        claim = str(first["claim"])
        _start(lambda: _send(upload.call, claim, takes), replies)
        reply: Reply | None = first
        while reply is not None:
            yield reply
            reply = _next(replies)


def _next(replies: Arrivals) -> Reply | None:
    """The next reply; None at the end of the stream. Raises what either thread ended with.

    When sending fails because the enrolment has ended, the stream knows why: it gets a moment to say so.
    """
    item = replies.get()
    if isinstance(item, BaseException):
        try:
            second = replies.get(timeout=_MOMENT)
        except queue.Empty:
            second = None
        raise second if isinstance(second, BaseException) else item
    return item


def _send(call: Callable[..., Any], claim: str, takes: Sequence[bytes]) -> None:
    for index, pcm in enumerate(takes):
        pieces = [pcm[start : start + PIECE] for start in range(0, len(pcm), PIECE)] or [b""]
        for piece in pieces[:-1]:
            call("SendAudio", claim=claim, pcm=base64.b64encode(piece).decode())
        end = "all" if index == len(takes) - 1 else "take"
        call("SendAudio", claim=claim, pcm=base64.b64encode(pieces[-1]).decode(), end=end)


def _start(work: Callable[[], None], replies: Arrivals) -> None:
    def guarded() -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 - handed to the thread that waits, whatever it is
            replies.put(problem)

    threading.Thread(target=guarded, daemon=True).start()
