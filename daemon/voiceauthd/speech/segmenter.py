"""From blocks of sound to windows of speech: where an utterance begins and ends, and how it is cut.

    sound    ........#####.##########.####............
    onset            ^ pre-roll before it                     hangover: an utterance ends so long after its last word
    utterance       |---------------------------|
    windows         |--first--|
                    |------window-------|
                              |------window-------|
                                     |----tail----|

An utterance that is too short for a window of its own is joined to the short ones before it, and a window is cut from
what they hold together:

    sound    ....##..........###..........##.....
    joined       |-|         |--|                 one window, when the second one ends

The result does not depend on how the sound was cut into blocks: everything is counted in frames from the first sample.
A frame with samples that are not numbers is lost sound, like a gap: no detector, no noise level and no window gets it.
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
from voiceauthd.speech.quality import Frame, NoiseMeter, measure, power
from voiceauthd.speech.vad import Confirmation, FirstGate
from voiceauthd.speech.window import Speech, SpeechBegan, SpeechEnded, Window

PRE_ROLL = 0.2
"""Seconds kept before the onset: soft consonants begin before the detectors notice."""

PAD = 0.1
"""Seconds kept behind the last frame of speech when an utterance is trimmed."""

ONSET_SHARE = 0.8
"""So much of the onset time must be voiced. All of it would miss words with a stop in them."""

SHORTEST = 1.0
"""Seconds. No model takes a shorter window, whatever the configuration calls enough speech."""

NEW_SPEECH = 0.5
"""Seconds of speech that no earlier window held, below which a tail is not worth a forward."""

JOIN = 3.0
"""Seconds from one short utterance to the next, up to which they are joined. Words that are called out one by one stand
a second or two apart; after a longer pause it may well be somebody else who speaks."""

WORD = 0.2
"""Seconds of speech from which a short utterance counts as a word. Of 222 utterances of single words all but 3 have it;
of the 20 that eleven minutes of barks, sneezes and household noise were taken for, 8 do."""


class Segmenter:
    """The voice activity detection and the cutting, for one stream. One thread at a time."""

    def __init__(self, config: SpeechConfig) -> None:
        """Raises `ModelError`, reason `vad_unavailable`, if a detector cannot load."""
        self._aggressiveness = config.aggressiveness
        self._confirmation = Confirmation(config.confirm_threshold) if config.confirm else None
        self._frame = config.frame_ms * RATE // 1000
        self._onset = max(1, self._frames(config.onset))
        self._hangover = self._frames(config.hangover)
        self._first = self._frames(config.first)
        self._window = self._frames(config.window)
        self._hop = self._frames(config.hop)
        self._min_speech = config.min_speech
        self._new_speech = self._frames(NEW_SPEECH)
        self._word = self._frames(WORD)
        self._utterances = 0
        self.restart()

    @property
    def utterances(self) -> int:
        """How many utterances have begun, since the segmenter was made."""
        return self._utterances

    @property
    def idle(self) -> bool:
        """Whether nothing like speech is heard just now."""
        return not self._awake

    @property
    def net_speech(self) -> float:
        """Seconds of speech in all utterances since the segmenter was made or restarted."""
        return self._speech_frames * self._frame / RATE

    @property
    def under_way(self) -> Sequence[Frame]:
        """The newest frames of the utterance that is under way, as many as a window needs; none while nobody speaks."""
        return self._utterance.frames(0, self._utterance.length) if self._utterance is not None else ()

    def _frames(self, seconds: float) -> int:
        return round(seconds * RATE / self._frame)

    def restart(self) -> None:
        """Another recording follows: `reset`, and forgets the noise and what the first detector has got used to."""
        self._gate = FirstGate(self._aggressiveness)
        self._noise = NoiseMeter(self._frame)
        self._speech_frames = 0
        self.reset()

    def reset(self) -> None:
        """Drops the utterance that is under way and all sound that was kept; the noise of the room stays known."""
        self._short: tuple[Frame, ...] = ()  # words too short for a window, as far back as a window reaches
        self._short_cut = 0  # where the newest window of theirs ended, samples since the source was first opened
        self._rest()

    def _rest(self) -> None:
        """Nobody speaks any more."""
        self._pending: Samples = np.empty(0, dtype=np.float32)
        self._ring: deque[Frame] = deque(maxlen=self._frames(PRE_ROLL) + self._onset)
        self._voiced: deque[bool] = deque(maxlen=self._onset)
        self._awake = False  # the first gate let sound through and the confirmation listens
        self._heard = 0.0  # when the newest frame was heard
        self._quiet = 0  # frames since anything was voiced (awake) or speech (in an utterance)
        self._utterance: _Utterance | None = None
        if self._confirmation is not None:
            self._confirmation.reset()

    def push(self, block: Block) -> list[Speech]:
        """What this block brings about, in order: beginnings, windows, ends."""
        found: list[Speech] = []
        if block.gap:
            found += self.flush(block.captured)
        sound = np.concatenate((self._pending, block.samples)) if len(self._pending) else block.samples
        start = block.start - len(self._pending)
        whole = len(sound) - len(sound) % self._frame
        for offset in range(0, whole, self._frame):
            end = offset + self._frame
            captured = block.captured - (len(sound) - end) / RATE
            found += self._hear(sound[offset:end], start + offset, captured)
        self._pending = sound[whole:]
        return found

    def flush(self, captured: float) -> list[Speech]:
        """Ends the utterance that is under way, as if a long silence followed: what comes next stands for itself.

        captured: now
        """
        found = [] if self._utterance is None else self._end(self._utterance, captured)
        self.reset()
        return found

    def tail(self) -> Window | None:
        """The window that `flush` would cut now, if any. Nothing changes: the utterance goes on."""
        utterance = self._utterance
        if utterance is None:
            return None
        before = utterance.cut, self._short, self._short_cut
        found = self._cut_tail(utterance)
        utterance.cut, self._short, self._short_cut = before
        return found[0] if found else None

    def _hear(self, samples: Samples, start: int, captured: float) -> list[Speech]:
        strength = power(samples)
        if not math.isfinite(strength):
            return self.flush(captured)
        self._heard = captured
        voiced = self._gate.voiced(samples)
        if not self._awake:
            self._voiced.append(voiced)
            self._keep(Frame(samples, strength, voiced, start))
            if len(self._voiced) == self._onset and sum(self._voiced) >= ONSET_SHARE * self._onset:
                return self._wake(start, captured)
            return []
        speech = self._confirmation.speech(samples) if self._confirmation is not None else voiced
        frame = Frame(samples, strength, speech, start)
        if self._utterance is None:
            self._quiet = 0 if voiced else self._quiet + 1
            self._keep(frame)
            if speech:
                return self._begin(start, captured)
            if self._quiet >= self._hangover:
                self._awake = False
                self._voiced.clear()
            return []
        return self._follow(self._utterance, frame, captured)

    def _keep(self, frame: Frame) -> None:
        """Keeps a frame as pre-roll; what falls out of it is noise for certain."""
        if len(self._ring) == self._ring.maxlen:
            self._noise.hear(self._ring[0])
        self._ring.append(frame)

    def _wake(self, start: int, captured: float) -> list[Speech]:
        self._awake = True
        self._quiet = 0
        if self._confirmation is not None:
            self._confirmation.reset()
            heard = [replace(kept, speech=self._confirmation.speech(kept.samples)) for kept in self._ring]
            self._ring.clear()
            self._ring.extend(heard)
        return self._begin(start, captured) if self._ring[-1].speech else []

    def _begin(self, start: int, captured: float) -> list[Speech]:
        """The newest frame in the ring is the first that is speech for certain: an utterance begins with the ring."""
        self._utterances += 1
        first = start + self._frame - sum(len(frame.samples) for frame in self._ring)
        utterance = _Utterance(self._utterances, first, self._first, self._window, self._noise.power)
        self._utterance = utterance
        self._quiet = 0
        for frame in self._ring:
            utterance.append(frame)
        self._speech_frames += utterance.speech_frames
        self._ring.clear()
        return [SpeechBegan(utterance.ordinal, first, captured)]

    def _follow(self, utterance: _Utterance, frame: Frame, captured: float) -> list[Speech]:
        utterance.append(frame)
        self._speech_frames += frame.speech
        found: list[Speech] = []
        if utterance.length >= utterance.due:
            utterance.due = utterance.length + self._hop
            found += self._cut(utterance, utterance.length, captured, least_new=1)
        self._quiet = 0 if frame.speech else self._quiet + 1
        if self._quiet >= self._hangover:
            found += self._end(utterance, captured)
            self._rest()
        return found

    def _cut(self, utterance: _Utterance, end: int, captured: float, least_new: int) -> list[Window]:
        """The window that ends with frame `end`, if it has enough speech, and `least_new` frames of it are new."""
        frames = utterance.frames(end - self._window, end)
        new = utterance.new_speech_frames(end)
        window = self._window_of(frames, utterance, captured, new) if new >= least_new else None
        if window is None:
            return []
        utterance.cut = end
        return [window]

    def _window_of(self, frames: Sequence[Frame], utterance: _Utterance, captured: float, new: int) -> Window | None:
        """All of these frames as a window, if they hold enough speech."""
        spoken = sum(frame.speech for frame in frames) * self._frame / RATE
        if len(frames) * self._frame < SHORTEST * RATE or spoken < self._min_speech:
            return None
        samples = np.concatenate([frame.samples for frame in frames])
        quality = measure(samples, frames, utterance.noise)
        end = frames[-1].start + self._frame
        return Window(samples, frames[0].start, end, captured, utterance.ordinal, quality, new * self._frame / RATE)

    def _end(self, utterance: _Utterance, captured: float) -> list[Speech]:
        for frame in utterance.frames(utterance.length - self._quiet + self._frames(PAD), utterance.length):
            self._noise.hear(frame)
        end = self._end_of(utterance)
        net_speech = utterance.speech_frames * self._frame / RATE
        ended = SpeechEnded(utterance.ordinal, utterance.start + end * self._frame, captured, net_speech)
        return [*self._cut_tail(utterance), ended]

    def _cut_tail(self, utterance: _Utterance) -> list[Window]:
        end = self._end_of(utterance)
        heard = self._heard - (utterance.length - end) * self._frame / RATE
        tail = self._cut(utterance, end, heard, self._new_speech)
        if not utterance.cut:
            return self._join(utterance, end, heard)
        self._short = ()
        return tail

    def _join(self, utterance: _Utterance, end: int, captured: float) -> list[Window]:
        """A word that gave no window is put behind those before it: perhaps there is one in all of them."""
        if utterance.speech_frames < self._word:
            return []
        if self._short and utterance.start - (self._short[-1].start + self._frame) > JOIN * RATE:
            self._short = ()
        self._short = (*self._short, *utterance.frames(0, end))[-self._window :]
        new = sum(frame.speech for frame in self._short if frame.start >= self._short_cut)
        window = self._window_of(self._short, utterance, captured, new) if new >= self._new_speech else None
        if window is None:
            return []
        self._short_cut = window.end
        return [window]

    def _end_of(self, utterance: _Utterance) -> int:
        """The frame that an utterance is trimmed to."""
        return min(utterance.length, utterance.last_speech + 1 + self._frames(PAD))


class _Utterance:
    """The frames of one utterance; only as many are kept as a window needs."""

    def __init__(self, ordinal: int, start: int, due: int, window: int, noise: float | None) -> None:
        self.ordinal = ordinal
        self.start = start
        self.due = due  # length at which a window is to be cut next
        self.noise = noise
        self.length = 0
        self.speech_frames = 0
        self.last_speech = -1
        self.cut = 0  # the frame that the newest window ended with
        self._kept: deque[Frame] = deque()
        self._window = window
        self._dropped = 0

    def append(self, frame: Frame) -> None:
        if frame.speech:
            self.last_speech = self.length
            self.speech_frames += 1
        self._kept.append(frame)
        self.length += 1
        # A tail reaches back a whole window from the last speech, which may lie a hangover before the newest frame.
        while len(self._kept) > self._window + max(0, self.length - 1 - self.last_speech):
            self._kept.popleft()
            self._dropped += 1

    def frames(self, begin: int, end: int) -> list[Frame]:
        """Frames `begin` up to `end`, counted from the utterance's first; those before it do not exist."""
        return list(islice(self._kept, max(0, begin - self._dropped), max(0, end - self._dropped)))

    def new_speech_frames(self, end: int) -> int:
        """Frames of speech in the window that ends with frame `end` and in none before it."""
        return sum(frame.speech for frame in self.frames(max(self.cut, end - self._window), end))


def segment(blocks: Iterable[Block], segmenter: Segmenter) -> Iterator[Speech]:
    """The whole of a finite stream, the last utterance included; what the segmenter heard before is forgotten."""
    segmenter.restart()
    captured = 0.0
    for block in blocks:
        captured = block.captured
        yield from segmenter.push(block)
    yield from segmenter.flush(captured)
