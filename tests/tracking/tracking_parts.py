"""Sound for a tracker without sound: windows, pauses and utterances, one behind the other."""

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
"""Half-way from `RULE`'s bound of 0.5 to the one to reject at, 0.3."""

ANNA, BEN, CLEO = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
STRANGER = [0.1, 0.1, 0.1]


class Stage:
    """Sound that goes on: windows one behind the other, pauses, utterances. Each method returns the new label."""

    def __init__(self, config: MonitorConfig = CONFIG, rule: Rule = RULE) -> None:
        self.tracker = Tracker(rule, config)
        self.labels: list[Label] = []
        self.place = 0.0
        self.utterance = 0

    @property
    def label(self) -> str:
        return name_of(self.tracker.label)

    @property
    def told(self) -> list[str]:
        return [name_of(label) for label in self.labels]

    def begin(self) -> Label | None:
        self.utterance += 1
        return self._tell(self.tracker.began(SpeechBegan(self.utterance, self._sample, self.place)))

    def end(self) -> Label | None:
        return self._tell(self.tracker.ended(SpeechEnded(self.utterance, self._sample, self.place, 1.0)))

    def pause(self, seconds: float) -> Label | None:
        """The utterance ends, and the next one begins."""
        self.end()
        self.place += seconds
        return self.begin()

    def say(self, values: Sequence[float], seconds: float = 1.5, net_speech: float = 1.5) -> Label | None:
        return self.compared(scores(values), seconds, net_speech)

    def compared(self, found: Sequence[Score], seconds: float = 1.5, net_speech: float = 1.5) -> Label | None:
        identified = identify(found, net_speech, 1.0, self.tracker.rule)
        return self._tell(self.tracker.hear(self.window(seconds), found, identified))

    def miss(self, seconds: float = 1.5) -> Label | None:
        return self._tell(self.tracker.miss(self.window(seconds)))

    def window(self, seconds: float) -> Window:
        cut = window(seconds, at=self.place)
        self.place += seconds
        return replace(cut, utterance=self.utterance, captured=1000.0 + self.place)

    @property
    def _sample(self) -> int:
        return round(self.place * RATE)

    def _tell(self, label: Label | None) -> Label | None:
        if label is not None:
            self.labels.append(label)
            assert label == self.tracker.label
        return label


def name_of(label: Label) -> str:
    assert (label.identity is not None) == (label.recognition is Recognition.KNOWN)
    return label.identity or {"unknown": "somebody", "undecided": "nobody"}[label.recognition.value]


def speaking(*windows: Sequence[float], config: MonitorConfig = CONFIG, rule: Rule = RULE) -> Stage:
    stage = Stage(config, rule)
    stage.begin()
    for values in windows:
        stage.say(values)
    return stage
