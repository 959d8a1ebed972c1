"""Enroll: takes from the microphone, or from recordings that come through SendAudio, become a profile."""

from __future__ import annotations

import asyncio
import base64
import binascii
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import Config
from voiceauthd.errors import AudioError
from voiceauthd.pipeline.events import SourceChanged, SourceState
from voiceauthd.pipeline.recogniser import Recogniser, RefusedWindow, ScoredWindow, follow
from voiceauthd.profiles.enrolment import Enrolment
from voiceauthd.profiles.take_verdict import TakeVerdict
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.server.call import Call
from voiceauthd.service.replies import Reply, quality_reply
from voiceauthd.service.request_audio import RequestAudio
from voiceauthd.service.threads import in_thread
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

FULL_SCALE_16_BIT = 32768.0
MAX_PIECE_BYTES = 32 * 1024
"""Of PCM in one SendAudio: 1 s, and 43 KiB in base64, which a message of 64 KiB holds."""

MAX_RECORDING = 300
"""Seconds of one recording. Nobody needs more to enrol, and memory is bounded."""

LONG_TAKE = 6
"""Windows after which a take is judged although the person still speaks: somebody who reads aloud wants to see the bar
move."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What one SendAudio brought. `end`: "take", "all" or None."""

    samples: Samples
    end: str | None


class Upload:
    """The way from SendAudio to the enrolment that it belongs to. A full one makes the sender wait."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue(maxsize=32)
        self._closed = False

    async def put(self, pcm: str, end: str | None) -> None:
        """Raises `MismatchError` for what is not base64 of 16-bit PCM, or too long, and once nobody takes it."""
        await self._pieces.put(Piece(decode_pcm(pcm), end))
        if self._closed:
            raise no_such_claim()

    def close(self) -> None:
        """Nobody takes any more: whoever waits for room is told so."""
        self._closed = True
        while not self._pieces.empty():  # each place that is freed wakes one who waits
            self._pieces.get_nowait()

    async def recording(self, deadline: float) -> tuple[Samples, bool]:
        """One whole recording, and whether it was the last. Raises `AudioError` (`timeout`, `too_long`)."""
        samples: list[Samples] = []
        length = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    piece = await self._pieces.get()
            except TimeoutError:
                raise AudioError("the recordings did not come in time", "timeout") from None
            length += len(piece.samples)
            if length > MAX_RECORDING * RATE:
                raise AudioError(f"a recording is longer than {MAX_RECORDING} s; cut it", "too_long")
            samples.append(piece.samples)
            if piece.end is not None:
                return np.concatenate(samples), piece.end == "all"


def decode_pcm(pcm: str) -> Samples:
    """Base64 of mono 16 kHz signed 16-bit little-endian PCM to samples in ±1. Raises `MismatchError`."""
    try:
        raw = base64.b64decode(pcm, validate=True)
    except (binascii.Error, ValueError):
        raise MismatchError("pcm", "not base64") from None
    if len(raw) > MAX_PIECE_BYTES or len(raw) % 2:
        raise MismatchError("pcm", f"must hold whole 16-bit samples, {MAX_PIECE_BYTES} bytes at most, not {len(raw)}")
    samples: Samples = np.frombuffer(raw, dtype="<i2").astype(np.float32) / np.float32(FULL_SCALE_16_BIT)
    return samples


def no_such_claim() -> MismatchError:
    """The error for a piece of a recording that nobody waits for."""
    return MismatchError("claim", "no enrolment waits for recordings under this claim")


class Session:
    """One enrolment as its caller sees it."""

    def __init__(self, call: Call, enrolment: Enrolment, config: Config) -> None:
        self._call = call
        self._enrolment = enrolment
        self._config = config
        timeout = call.parameters.get("timeout")
        longest = config.enroll.timeout
        self._seconds = longest if timeout is None else min(timeout, longest)

    async def from_microphone(self, ear: RequestAudio) -> None:
        """Takes utterance after utterance until there is enough speech, or the time is over."""
        await ear.ready()
        await self._tell("listening")
        deadline = asyncio.get_running_loop().time() + self._seconds
        take: list[ScoredWindow | RefusedWindow] = []
        judged = 0  # the utterance that was judged last, perhaps in part
        while not self._enrolment.complete:
            sound = await ear.hear(deadline)
            over = sound is None or (isinstance(sound, SourceChanged) and sound.state is SourceState.ENDED)
            if isinstance(sound, SpeechBegan):
                await self._tell("speech")
            elif isinstance(sound, ScoredWindow | RefusedWindow):
                take.append(sound)
            ended = isinstance(sound, SpeechEnded)
            if isinstance(sound, SpeechEnded) and not take and sound.utterance != judged:
                await self._judge([])
            elif take and (over or ended or len(take) >= LONG_TAKE):
                judged = take[-1].window.utterance
                await self._judge(take)
                take = []
            if over:
                return

    async def from_recordings(self, upload: Upload, claim: str, recogniser: Recogniser) -> None:
        """Takes recording after recording until the last, even when there is enough speech before."""
        await self._tell("listening", claim=claim)
        segmenter = await in_thread(Segmenter, self._config.speech)
        deadline = asyncio.get_running_loop().time() + self._seconds
        heard = 0  # samples in all recordings so far: one follows the other, as from one source
        last = False
        gone = threading.Event()
        try:
            while not last:
                samples, last = await upload.recording(deadline)
                if last and not len(samples):
                    return
                block = Block(samples, start=heard, captured=time.monotonic())
                heard += len(samples)
                await self._judge(await in_thread(_recognise, block, segmenter, recogniser, gone))
        finally:
            gone.set()

    async def _judge(self, take: Sequence[ScoredWindow | RefusedWindow]) -> None:
        """By what of it passed the gate; by why nothing did, if nothing did."""
        heard = [result for result in take if isinstance(result, ScoredWindow)]
        refused = [result for result in take if isinstance(result, RefusedWindow)]
        if refused and not heard:
            reason = Counter(result.reason for result in refused).most_common(1)[0][0]
            window = next(result.window for result in refused if result.reason == reason)
            verdict = self._enrolment.refuse(reason, window.quality)
        else:
            spoilt = [result.reason for result in refused]
            verdict = self._enrolment.take([one.window for one in heard], [one.embedding for one in heard], spoilt)
        await self._tell("take", verdict=verdict)

    async def _tell(self, state: str, *, verdict: TakeVerdict | None = None, claim: str | None = None) -> None:
        await self._call.reply(enrolment_reply(self._enrolment, state, verdict, claim), continues=True)


def enrolment_reply(
    enrolment: Enrolment, state: str, verdict: TakeVerdict | None = None, claim: str | None = None
) -> Reply:
    """How far an enrolment is."""
    reply: Reply = {
        "state": state,
        "exemplars": enrolment.exemplars,
        "exemplars_needed": enrolment.exemplars_needed,
        "net_speech": round(enrolment.net_speech, 2),
        "net_speech_needed": enrolment.net_speech_needed,
    }
    if claim is not None:
        reply["claim"] = claim
    if verdict is not None:
        reply["accepted"] = verdict.accepted
        if verdict.reason is not None:
            reply["reason"] = verdict.reason
        if verdict.advice is not None:
            reply["advice"] = verdict.advice
        if verdict.quality is not None:
            reply["quality"] = quality_reply(verdict.quality)
    return reply


def _recognise(
    block: Block, segmenter: Segmenter, recogniser: Recogniser, gone: threading.Event
) -> list[ScoredWindow | RefusedWindow]:
    """What is heard in a recording, and what did not pass the gate, until `gone` is set. For a thread of its own.

    Window by window: the worker thread shares the model, and must not wait for a whole recording.
    """
    take: list[ScoredWindow | RefusedWindow] = []
    for result in follow([block], segmenter, recogniser):
        if gone.is_set():
            break
        if isinstance(result, ScoredWindow | RefusedWindow):
            take.append(result)
    return take
