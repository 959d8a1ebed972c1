"""`Segmenter` finds utterances in a stream of blocks, and cuts them into windows.

    audio    ........#####.##########.####............
    onset            ^ with the pre-roll before it            hangover: how long after its last word an utterance ends
    utterance       |---------------------------|
    windows         |--first--|
                    |------window-------|
                              |------window-------|
                                     |----tail----|

An utterance that is too short for a window of its own is joined to the short ones before it, and a window is cut from
all of them together:

    audio    ....##..........###..........##.....
    joined       |-|         |--|                 one window, when the second one ends

The result does not depend on how the audio is split into blocks: everything is counted in frames from the first sample.
A frame with samples that are not finite counts as lost audio, like a gap: it reaches no detector, no noise measurement
and no window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from voiceauthd.audio.block import RATE, Block, Samples
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.speech.quality import Frame, NoiseMeter, measure_quality, power
from voiceauthd.speech.vad import Confirmation, FirstGate
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, SpeechEvent, Window

PRE_ROLL = 0.2
"""Seconds kept before the onset: soft consonants begin before the detectors notice."""

PAD = 0.1
"""Seconds kept after the last frame of speech when an utterance is trimmed."""

MIN_ONSET_SHARE = 0.8
"""Share of the onset time that must be voiced. Requiring all of it would miss words that contain a stop consonant."""

MIN_WINDOW = 1.0
"""Seconds. No model accepts a shorter window, however little speech the configuration requires."""

MIN_NEW_SPEECH = 0.5
"""Seconds of speech in no earlier window. A tail with less is not worth a forward pass."""

MAX_JOIN_PAUSE = 3.0
"""Seconds from one short utterance to the next, up to which they are joined. Words called out one by one are a second
or two apart; after a longer pause somebody else may be speaking."""

MIN_WORD = 0.2
"""Seconds of speech from which a short utterance counts as a word. Of 222 utterances of single words all but 3 have
that much; of the 20 false utterances in eleven minutes of barks, sneezes and household noise, 8 do."""


class Segmenter:
    """Voice activity detection and cutting for one stream. Used by one thread at a time."""

    def __init__(self, config: SpeechConfig) -> None:
        """Load the detectors. Raises `ModelError`, reason `vad_unavailable`, if one cannot load."""
        self._aggressiveness = config.aggressiveness
        self._confirmation = Confirmation(config.confirm_threshold) if config.confirm else None
        self._frame = config.frame_ms * RATE // 1000
        self._onset = max(1, self._frames(config.onset))
        self._hangover = self._frames(config.hangover)
        self._first = self._frames(config.first)
        self._window = self._frames(config.window)
        self._hop = self._frames(config.hop)
        self._min_speech = config.min_speech
        self._min_new_speech = self._frames(MIN_NEW_SPEECH)
        self._min_word = self._frames(MIN_WORD)
        self._utterances = 0
        self.restart()

    @property
    def utterances(self) -> int:
        """Number of utterances that have begun since the segmenter was created."""
        return self._utterances

    @property
    def idle(self) -> bool:
        """Whether there is currently nothing that resembles speech."""
        return not self._awake

    @property
    def net_speech(self) -> float:
        """Seconds of speech in all utterances since the segmenter was created or restarted."""
        return self._speech_frames * self._frame / RATE

    @property
    def running(self) -> tuple[int, float]:
        """The ordinal of the current utterance and its seconds of speech so far; zeros while nobody speaks."""
        if self._utterance is None:
            return 0, 0.0
        return self._utterance.ordinal, self._utterance.speech_frames * self._frame / RATE

    @property
    def current_frames(self) -> Sequence[Frame]:
        """The newest frames of the current utterance, as many as a window needs; none while nobody speaks."""
        return self._utterance.frames(0, self._utterance.length) if self._utterance is not None else ()

    def _frames(self, seconds: float) -> int:
        return round(seconds * RATE / self._frame)

    def restart(self) -> None:
        """Prepare for another recording: `reset`, and forget the noise and the state of the first detector."""
        self._gate = FirstGate(self._aggressiveness)
        self._noise = NoiseMeter(self._frame)
        self._speech_frames = 0
        self.reset()

    def reset(self) -> None:
        """Drop the current utterance and all audio that was kept; the noise of the room stays known."""
        self._short: tuple[Frame, ...] = ()  # words too short for a window, as far back as a window reaches
        self._short_cut = 0  # where the newest window cut from them ended, samples since the source was first opened
        self._become_idle()

    def _become_idle(self) -> None:
        """Wait for the next utterance."""
        self._pending: Samples = np.empty(0, dtype=np.float32)
        self._pre_roll: deque[Frame] = deque(maxlen=self._frames(PRE_ROLL) + self._onset)
        self._voiced: deque[bool] = deque(maxlen=self._onset)
        self._awake = False  # the first gate let audio through, and the confirmation runs
        self._captured = 0.0  # when the newest frame was captured
        self._quiet = 0  # frames since the last voiced one (awake) or the last speech (in an utterance)
        self._utterance: _Utterance | None = None
        if self._confirmation is not None:
            self._confirmation.reset()

    def push(self, block: Block) -> list[SpeechEvent]:
        """Process a block. Return the beginnings, windows and ends that it causes, in order."""
        events: list[SpeechEvent] = []
        if block.gap:
            events += self.flush(block.captured)
        samples = np.concatenate((self._pending, block.samples)) if len(self._pending) else block.samples
        start = block.start - len(self._pending)
        whole = len(samples) - len(samples) % self._frame
        for offset in range(0, whole, self._frame):
            end = offset + self._frame
            captured = block.captured - (len(samples) - end) / RATE
            events += self._push_frame(samples[offset:end], start + offset, captured)
        self._pending = samples[whole:]
        return events

    def flush(self, captured: float) -> list[SpeechEvent]:
        """End the current utterance as if a long silence followed. Nothing after it is joined to anything before it.

        captured: now
        """
        events = [] if self._utterance is None else self._end(self._utterance, captured)
        self.reset()
        return events

    def tail(self) -> Window | None:
        """Return the window that `flush` would cut now, if any, without changing anything: the utterance goes on."""
        utterance = self._utterance
        if utterance is None:
            return None
        before = utterance.cut, self._short, self._short_cut
        cut = self._cut_tail(utterance)
        utterance.cut, self._short, self._short_cut = before
        return cut[0] if cut else None

    def _push_frame(self, samples: Samples, start: int, captured: float) -> list[SpeechEvent]:
        frame_power = power(samples)
        if not math.isfinite(frame_power):
            return self.flush(captured)
        self._captured = captured
        voiced = self._gate.voiced(samples)
        if not self._awake:
            self._voiced.append(voiced)
            self._keep_as_pre_roll(Frame(samples, frame_power, voiced, start))
            if len(self._voiced) == self._onset and sum(self._voiced) >= MIN_ONSET_SHARE * self._onset:
                return self._wake(start, captured)
            return []
        speech = self._confirmation.speech(samples) if self._confirmation is not None else voiced
        frame = Frame(samples, frame_power, speech, start)
        if self._utterance is None:
            self._quiet = 0 if voiced else self._quiet + 1
            self._keep_as_pre_roll(frame)
            if speech:
                return self._begin(start, captured)
            if self._quiet >= self._hangover:
                self._awake = False
                self._voiced.clear()
            return []
        return self._continue(self._utterance, frame, captured)

    def _keep_as_pre_roll(self, frame: Frame) -> None:
        """Keep a frame as pre-roll. A frame that falls out of the pre-roll is certainly noise."""
        if len(self._pre_roll) == self._pre_roll.maxlen:
            self._noise.add(self._pre_roll[0])
        self._pre_roll.append(frame)

    def _wake(self, start: int, captured: float) -> list[SpeechEvent]:
        """Start the confirmation, beginning with the pre-roll."""
        self._awake = True
        self._quiet = 0
        if self._confirmation is not None:
            self._confirmation.reset()
            confirmed = [replace(kept, speech=self._confirmation.speech(kept.samples)) for kept in self._pre_roll]
            self._pre_roll.clear()
            self._pre_roll.extend(confirmed)
        return self._begin(start, captured) if self._pre_roll[-1].speech else []

    def _begin(self, start: int, captured: float) -> list[SpeechEvent]:
        """Begin an utterance with the pre-roll, whose newest frame is the first that is certainly speech."""
        self._utterances += 1
        first = start + self._frame - sum(len(frame.samples) for frame in self._pre_roll)
        utterance = _Utterance(self._utterances, first, self._first, self._window, self._noise.power)
        self._utterance = utterance
        self._quiet = 0
        for frame in self._pre_roll:
            utterance.append(frame)
        self._speech_frames += utterance.speech_frames
        self._pre_roll.clear()
        return [SpeechBegan(utterance.ordinal, first, captured)]

    def _continue(self, utterance: _Utterance, frame: Frame, captured: float) -> list[SpeechEvent]:
        """Append a frame to the utterance, cut a window if one is due, and end the utterance after the hangover."""
        utterance.append(frame)
        self._speech_frames += frame.speech
        events: list[SpeechEvent] = []
        if utterance.length >= utterance.due:
            utterance.due = utterance.length + self._hop
            events += self._cut(utterance, utterance.length, captured, min_new=1)
        self._quiet = 0 if frame.speech else self._quiet + 1
        if self._quiet >= self._hangover:
            events += self._end(utterance, captured)
            self._become_idle()
        return events

    def _cut(self, utterance: _Utterance, end: int, captured: float, min_new: int) -> list[Window]:
        """Return the window that ends before frame `end` if it has enough speech, of which `min_new` frames are new."""
        frames = utterance.frames(end - self._window, end)
        new = utterance.new_speech_frames(end)
        window = self._make_window(frames, utterance, captured, new) if new >= min_new else None
        if window is None:
            return []
        utterance.cut = end
        return [window]

    def _make_window(self, frames: Sequence[Frame], utterance: _Utterance, captured: float, new: int) -> Window | None:
        """Return all of these frames as a window, None if they contain too little speech. new: frames of new speech."""
        spoken = sum(frame.speech for frame in frames) * self._frame / RATE
        if len(frames) * self._frame < MIN_WINDOW * RATE or spoken < self._min_speech:
            return None
        samples = np.concatenate([frame.samples for frame in frames])
        quality = measure_quality(samples, frames, utterance.noise)
        end = frames[-1].start + self._frame
        return Window(samples, frames[0].start, end, captured, utterance.ordinal, quality, new * self._frame / RATE)

    def _end(self, utterance: _Utterance, captured: float) -> list[SpeechEvent]:
        for frame in utterance.frames(utterance.length - self._quiet + self._frames(PAD), utterance.length):
            self._noise.add(frame)
        end = self._trimmed_length(utterance)
        net_speech = utterance.speech_frames * self._frame / RATE
        ended = SpeechEnded(utterance.ordinal, utterance.start + end * self._frame, captured, net_speech)
        return [*self._cut_tail(utterance), ended]

    def _cut_tail(self, utterance: _Utterance) -> list[Window]:
        end = self._trimmed_length(utterance)
        captured = self._captured - (utterance.length - end) * self._frame / RATE
        tail = self._cut(utterance, end, captured, self._min_new_speech)
        if not utterance.cut:
            return self._join(utterance, end, captured)
        self._short = ()
        return tail

    def _join(self, utterance: _Utterance, end: int, captured: float) -> list[Window]:
        """Append an utterance that gave no window to the short ones before it, and cut a window from all of them."""
        if utterance.speech_frames < self._min_word:
            return []
        if self._short and utterance.start - (self._short[-1].start + self._frame) > MAX_JOIN_PAUSE * RATE:
            self._short = ()
        self._short = (*self._short, *utterance.frames(0, end))[-self._window :]
        new = sum(frame.speech for frame in self._short if frame.start >= self._short_cut)
        window = self._make_window(self._short, utterance, captured, new) if new >= self._min_new_speech else None
        if window is None:
            return []
        self._short_cut = window.end
        return [window]

    def _trimmed_length(self, utterance: _Utterance) -> int:
        """Return the number of frames up to the last speech and the pad after it."""
        return min(utterance.length, utterance.last_speech + 1 + self._frames(PAD))


class _Utterance:
    """The frames of one utterance, of which only as many are kept as a window needs.

    due    length in frames at which the next window is cut
    noise  power of the noise before it; None if unknown
    cut    number of frames up to the end of its newest window
    """

    def __init__(self, ordinal: int, start: int, due: int, window: int, noise: float | None) -> None:
        self.ordinal = ordinal
        self.start = start
        self.due = due
        self.noise = noise
        self.length = 0
        self.speech_frames = 0
        self.last_speech = -1
        self.cut = 0
        self._kept: deque[Frame] = deque()
        self._window = window
        self._dropped = 0

    def append(self, frame: Frame) -> None:
        if frame.speech:
            self.last_speech = self.length
            self.speech_frames += 1
        self._kept.append(frame)
        self.length += 1
        # A tail reaches back a whole window from the last speech, which may be a hangover before the newest frame.
        while len(self._kept) > self._window + max(0, self.length - 1 - self.last_speech):
            self._kept.popleft()
            self._dropped += 1

    def frames(self, begin: int, end: int) -> list[Frame]:
        """Return frames `begin` up to `end`, counted from the utterance's first; a negative `begin` counts as 0."""
        return list(islice(self._kept, max(0, begin - self._dropped), max(0, end - self._dropped)))

    def new_speech_frames(self, end: int) -> int:
        """Return how many frames of speech are in the window that ends before frame `end` and in no earlier one."""
        return sum(frame.speech for frame in self.frames(max(self.cut, end - self._window), end))


def segment(blocks: Iterable[Block], segmenter: Segmenter) -> Iterator[SpeechEvent]:
    """Yield the events of a whole, finite stream, including its last utterance. Restarts the segmenter first."""
    segmenter.restart()
    captured = 0.0
    for block in blocks:
        captured = block.captured
        yield from segmenter.push(block)
    yield from segmenter.flush(captured)
