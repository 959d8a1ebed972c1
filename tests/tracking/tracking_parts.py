"""Feeds a tracker with windows, pauses and utterances, without audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from score_parts import RULE, scores, window

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import MonitorConfig
from voiceauthd.scoring.decide import Rule, identify
from voiceauthd.scoring.decision import Recognition, Score
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, Window
from voiceauthd.tracking.tracker import Label, Tracker

CONFIG = MonitorConfig(hysteresis=0.5, dwell=1.5)
HOLDING = 0.4
"""The bound for keeping a label: half-way from `RULE`'s bound of 0.5 to its reject bound, 0.3."""

ANNA, BEN, CLEO = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
STRANGER = [0.1, 0.1, 0.1]


class WindowStream:
    """A stream of consecutive windows, pauses and utterances. Each method returns the new label, if it changed.

    place   seconds since the beginning
    labels  all new labels so far
    names   their names, as in `name_of`
    """

    def __init__(self, config: MonitorConfig = CONFIG, rule: Rule = RULE) -> None:
        self.tracker = Tracker(rule, config)
        self.labels: list[Label] = []
        self.place = 0.0
        self.utterance = 0

    @property
    def label(self) -> str:
        return name_of(self.tracker.label)

    @property
    def names(self) -> list[str]:
        return [name_of(label) for label in self.labels]

    def begin(self) -> Label | None:
        self.utterance += 1
        return self._record(self.tracker.speech_began(SpeechBegan(self.utterance, self._sample, self.place)))

    def end(self) -> Label | None:
        return self._record(self.tracker.speech_ended(SpeechEnded(self.utterance, self._sample, self.place, 1.0)))

    def pause(self, seconds: float) -> Label | None:
        """End the utterance, and begin the next one after `seconds`."""
        self.end()
        self.place += seconds
        return self.begin()

    def say(self, values: Sequence[float], seconds: float = 1.5, net_speech: float = 1.5) -> Label | None:
        return self.scored(scores(values), seconds, net_speech)

    def scored(self, found: Sequence[Score], seconds: float = 1.5, net_speech: float = 1.5) -> Label | None:
        identified = identify(found, net_speech, 1.0, self.tracker.rule)
        return self._record(self.tracker.add_scored(self.window(seconds), found, identified))

    def unscored(self, seconds: float = 1.5) -> Label | None:
        return self._record(self.tracker.add_unscored(self.window(seconds)))

    def window(self, seconds: float) -> Window:
        cut = window(seconds, at=self.place)
        self.place += seconds
        return replace(cut, utterance=self.utterance, captured=1000.0 + self.place)

    @property
    def _sample(self) -> int:
        return round(self.place * RATE)

    def _record(self, label: Label | None) -> Label | None:
        if label is not None:
            self.labels.append(label)
            assert label == self.tracker.label
        return label


def name_of(label: Label) -> str:
    assert (label.identity is not None) == (label.recognition is Recognition.KNOWN)
    return label.identity or {"unknown": "somebody", "undecided": "nobody"}[label.recognition.value]


def speaking(*windows: Sequence[float], config: MonitorConfig = CONFIG, rule: Rule = RULE) -> WindowStream:
    stream = WindowStream(config, rule)
    stream.begin()
    for values in windows:
        stream.say(values)
    return stream
