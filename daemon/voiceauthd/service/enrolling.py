"""Enrolment: turning takes from the microphone, or recordings sent with SendAudio, into a profile."""

from __future__ import annotations

import asyncio
import base64
import binascii
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.audio.pcm import from_pcm16
from voiceauthd.config.schema import Config
from voiceauthd.errors import AudioError
from voiceauthd.pipeline.events import SourceChanged, SourceState
from voiceauthd.pipeline.meter import Reading
from voiceauthd.pipeline.recogniser import Recogniser, RefusedWindow, ScoredWindow, follow
from voiceauthd.profiles.enrolment import Enrolment
from voiceauthd.profiles.take_verdict import TakeVerdict
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.server.call import Call
from voiceauthd.service.enrolment_time import EnrolmentTime
from voiceauthd.service.replies import Reply, quality_reply
from voiceauthd.service.request_audio import RequestAudio
from voiceauthd.service.threads import in_thread
from voiceauthd.speech.segmenter import Segmenter
from voiceauthd.speech.window import SpeechBegan, SpeechEnded

MAX_PIECE_BYTES = 32 * 1024
"""Bytes of PCM in one SendAudio: 1 s, and 43 KiB in base64, which fits into a message of 64 KiB."""

MAX_RECORDING_SECONDS = 300
"""Length of one recording. Nobody needs more to enrol, and memory stays bounded."""

MAX_TAKE_WINDOWS = 6
"""Windows after which a take is judged although the person is still speaking, so that the progress bar moves while
somebody reads aloud."""

PROGRESS_INTERVAL = 0.25
"""Seconds between two replies with the level and the speech of the running take."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The content of one SendAudio. `end`: "take", "all" or None."""

    samples: Samples
    end: str | None


class Upload:
    """The queue from SendAudio to the enrolment that it belongs to. When it is full the sender waits."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue(maxsize=32)
        self._closed = False

    async def put(self, pcm: str, end: str | None) -> None:
        """Add a piece. Raises `MismatchError` if it is not base64 of 16-bit PCM or too long, or after `close`."""
        await self._pieces.put(Piece(decode_pcm(pcm), end))
        if self._closed:
            raise no_such_claim()

    def close(self) -> None:
        """Reject what is sent from now on, and the senders that wait for room."""
        self._closed = True
        while not self._pieces.empty():  # each place that is freed wakes one waiting sender
            self._pieces.get_nowait()

    async def piece(self, deadline: float) -> Piece:
        """Return the next piece. Raises `AudioError`, reason `timeout`."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._pieces.get()
        except TimeoutError:
            raise AudioError("the recordings did not arrive in time", "timeout") from None

    async def recording(self, deadline: float) -> tuple[Samples, bool]:
        """Return one whole recording, and whether it is the last. Raises `AudioError` (`timeout`, `too_long`)."""
        samples: list[Samples] = []
        length = 0
        while True:
            piece = await self.piece(deadline)
            length += len(piece.samples)
            if length > MAX_RECORDING_SECONDS * RATE:
                raise AudioError(f"a recording is longer than {MAX_RECORDING_SECONDS} s; cut it", "too_long")
            samples.append(piece.samples)
            if piece.end is not None:
                return np.concatenate(samples), piece.end == "all"


def decode_pcm(pcm: str) -> Samples:
    """Decode base64 of mono 16 kHz signed 16-bit little-endian PCM to samples in ±1. Raises `MismatchError`."""
    try:
        raw = base64.b64decode(pcm, validate=True)
    except (binascii.Error, ValueError):
        raise MismatchError("pcm", "not base64") from None
    if len(raw) > MAX_PIECE_BYTES or len(raw) % 2:
        raise MismatchError("pcm", f"must hold whole 16-bit samples, {MAX_PIECE_BYTES} bytes at most, not {len(raw)}")
    return from_pcm16(raw)


def no_such_claim() -> MismatchError:
    """Return the error for audio sent with a claim that is not valid."""
    return MismatchError("claim", "no enrolment waits for recordings under this claim")


class Session:
    """One Enroll call: collects takes, adds them to the enrolment, and reports each verdict to the caller."""

    def __init__(self, call: Call, enrolment: Enrolment, config: Config) -> None:
        self._call = call
        self._enrolment = enrolment
        self._config = config
        timeout = call.parameters.get("timeout")
        longest = config.enroll.timeout
        self._clock = asyncio.get_running_loop().time
        self._seconds = longest if timeout is None else min(timeout, longest)
        self._time = EnrolmentTime(self._seconds, self._clock())

    async def from_microphone(self, audio: RequestAudio, continued: float = 0.0) -> None:
        """Take one utterance after another until there is enough speech, or the time is up.

        continued  seconds of speech that an earlier try has contributed
        """
        await audio.ready()
        await self._reply("listening", more={"continued": round(continued, 2)} if continued > 0 else {})
        self._time = EnrolmentTime(self._seconds, self._clock())
        running = _RunningUtterance()
        tick = self._clock() + PROGRESS_INTERVAL
        take: list[ScoredWindow | RefusedWindow] = []
        judged = 0  # the last utterance of which at least a part was judged
        with audio.metered() as meter:
            while not self._enrolment.complete:
                event = await audio.next_event(tick)
                if self._clock() >= tick:
                    await self._show(meter.reading, running)
                    tick = self._clock() + PROGRESS_INTERVAL
                over = self._time.is_over(self._clock(), speaking=running.ordinal > 0)
                over |= isinstance(event, SourceChanged) and event.state is SourceState.ENDED
                if isinstance(event, SpeechBegan):
                    running = _RunningUtterance(event.utterance)
                    await self._reply("speech")
                elif isinstance(event, ScoredWindow | RefusedWindow):
                    take.append(event)
                ended = isinstance(event, SpeechEnded)
                if isinstance(event, SpeechEnded) and not take and event.utterance != judged:
                    await self._judge([])
                elif take and (over or ended or len(take) >= MAX_TAKE_WINDOWS):
                    judged = take[-1].window.utterance
                    await self._judge(take)
                    running.count(take)
                    take = []
                if isinstance(event, SpeechEnded) and event.utterance == running.ordinal:
                    running = _RunningUtterance()
                if over:
                    return

    async def _show(self, reading: Reading, running: _RunningUtterance) -> None:
        """Tell the caller how loud it is, how much of the running take was heard, and how much time is left."""
        running.follow(reading)
        progress = {"heard": round(running.heard, 2), "remaining": round(self._time.remaining(self._clock()), 1)}
        if reading.level_dbfs is not None:
            progress["level_dbfs"] = round(reading.level_dbfs, 1)
        await self._reply("progress", more=progress)

    async def from_recordings(self, upload: Upload, claim: str, recogniser: Recogniser) -> None:
        """Take all recordings up to the last one, even if there is enough speech before it."""
        await self._reply("listening", more={"claim": claim})
        segmenter = await in_thread(Segmenter, self._config.speech)
        self._time = EnrolmentTime(self._seconds, self._clock())
        position = 0  # samples in all recordings so far: they are treated as consecutive audio of one source
        last = False
        cancelled = threading.Event()
        try:
            while not last:
                samples, last = await upload.recording(self._time.deadline)
                if last and not len(samples):
                    return
                block = Block(samples, start=position, captured=time.monotonic())
                position += len(samples)
                began = self._clock()
                take = await in_thread(_recognise, block, segmenter, recogniser, cancelled)
                self._time.worked(self._clock() - began)
                await self._judge(take)
        finally:
            cancelled.set()

    async def _judge(self, take: Sequence[ScoredWindow | RefusedWindow]) -> None:
        """Add the windows of a take that passed the gate; if none did, refuse it for their most common reason."""
        scored = [result for result in take if isinstance(result, ScoredWindow)]
        refused = [result for result in take if isinstance(result, RefusedWindow)]
        if refused and not scored:
            reason = Counter(result.reason for result in refused).most_common(1)[0][0]
            window = next(result.window for result in refused if result.reason == reason)
            verdict = self._enrolment.refuse(reason, window.quality)
        else:
            reasons = [result.reason for result in refused]
            verdict = self._enrolment.take([one.window for one in scored], [one.embedding for one in scored], reasons)
        if verdict.accepted:
            self._time.accepted(self._clock())
        await self._reply("take", verdict)

    async def _reply(
        self, state: str, verdict: TakeVerdict | None = None, more: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        await self._call.reply({**enrolment_reply(self._enrolment, state, verdict), **more}, continues=True)


class _RunningUtterance:
    """The utterance that is running, as far as no take has been made of it.

    ordinal  0 while nobody speaks
    heard    seconds of its speech that were not judged yet
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.ordinal = ordinal
        self.heard = 0.0
        self._judged = 0.0

    def follow(self, reading: Reading) -> None:
        """Use a reading of the meter. Once the utterance has ended, the last one stays until its take is judged."""
        if reading.utterance == self.ordinal > 0:
            self.heard = max(0.0, reading.speech - self._judged)

    def count(self, take: Sequence[ScoredWindow | RefusedWindow]) -> None:
        """A take was judged: the speech of this utterance in it is no longer only heard."""
        self._judged += sum(one.window.new_speech for one in take if one.window.utterance == self.ordinal)
        self.heard = 0.0


def enrolment_reply(enrolment: Enrolment, state: str, verdict: TakeVerdict | None = None) -> Reply:
    """Return the reply that describes the progress of an enrolment."""
    reply: Reply = {
        "state": state,
        "exemplars": enrolment.exemplars,
        "exemplars_needed": enrolment.exemplars_needed,
        "net_speech": round(enrolment.net_speech, 2),
        "net_speech_needed": enrolment.net_speech_needed,
    }
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
    block: Block, segmenter: Segmenter, recogniser: Recogniser, cancelled: threading.Event
) -> list[ScoredWindow | RefusedWindow]:
    """Return the scored and the refused windows of a recording, up to the moment `cancelled` is set.

    Blocking. Works window by window, because the worker thread shares the model and must not wait for a whole
    recording.
    """
    take: list[ScoredWindow | RefusedWindow] = []
    for result in follow([block], segmenter, recogniser):
        if cancelled.is_set():
            break
        if isinstance(result, ScoredWindow | RefusedWindow):
            take.append(result)
    return take
