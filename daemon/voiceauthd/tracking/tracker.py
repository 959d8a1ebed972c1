"""`Tracker` says who speaks now: it turns many windows into one label that does not flicker.

    windows   anna  anna  ----  anna  ben   ben          ben        ----  ----
    label     anna                          ben                           unknown       nobody
              at    stays, as anna's score   after more  stays      after more        after the
              once  is not far below         than dwell             than dwell        dwell of silence

A recognised name is strong evidence: it reached the open-set bound, with a margin. That no enrolled voice matches is
weak evidence, because it also happens for short or noisy windows of the right person. So a name is given at once if
there is no label yet, and "unknown" never is. See docs/decisions/0013-one-label-at-a-time.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import MonitorConfig
from voiceauthd.scoring.decide import Rule, open_set_bound
from voiceauthd.scoring.decision import Identified, Recognition, Score
from voiceauthd.speech.window import SpeechBegan, SpeechEnded, Window


@dataclass(frozen=True, slots=True)
class Label:
    """Who speaks.

    recognition  KNOWN: `identity`; UNKNOWN: somebody who is not enrolled; UNDECIDED: nobody, as far as is known
    since        seconds since the source was first opened: the start of the first window that supports this label or
                 contradicts the one before; for nobody, the end of the speech
    score        `Rule.measure` of the closest identity in the window that led to the label
    """

    recognition: Recognition
    identity: str | None
    since: float
    score: float | None = None


class Tracker:
    """The label of one stream, for one subscriber. Each method returns the new label if it changed, else None.

    Has no clock: the time comes with the windows. `rule` and `config` may be replaced at any time.
    """

    def __init__(self, rule: Rule, config: MonitorConfig) -> None:
        self.rule = rule
        self.config = config
        self.label = Label(Recognition.UNDECIDED, None, 0.0)
        self._newest: Window | None = None
        self._speech_end: int | None = None  # where speech ended, in samples; None while somebody speaks
        self._begun: dict[int, int] = {}  # utterance to its first sample; beginnings overtake the windows before them
        self._withdraw(0)

    @property
    def expires(self) -> float | None:
        """When `silence` is due unless speech begins, in seconds on the clock of `time.monotonic()`; None: never."""
        if self._nobody or self._speech_end is None or self._newest is None:
            return None
        ended = self._newest.captured + (self._speech_end - self._newest.end) / RATE
        return ended + self.config.dwell

    def restart(self) -> Label | None:
        """Prepare for a new stream, which may number utterances and samples from the beginning again."""
        ended = self._speech_end
        if ended is None:
            ended = 0 if self._newest is None else self._newest.end
        self._newest = self._speech_end = None
        self._begun.clear()
        return self._withdraw(ended)

    def add_scored(self, window: Window, scores: Sequence[Score], identified: Identified) -> Label | None:
        """Add a window that was compared. `identified`: the result of `identify` for the scores."""
        usable = bool(scores) and all(
            math.isfinite(score.normalised) and math.isfinite(self.rule.measure(score)) for score in scores
        )
        if not usable or identified.recognition is Recognition.UNDECIDED or identified.best is None:
            return self._add(window, scores, Recognition.UNDECIDED, None, None)
        score = self.rule.measure(identified.best)
        return self._add(window, scores, identified.recognition, identified.identity, score)

    def add_unscored(self, window: Window) -> Label | None:
        """Add a window that the gate refused or the model failed for: speech, but no evidence of who speaks."""
        return self._add(window, None, Recognition.UNDECIDED, None, None)

    def speech_began(self, speech: SpeechBegan) -> Label | None:
        """An utterance began."""
        self._begun[speech.utterance] = speech.start
        before, self._speech_end = self._speech_end, None
        return None if before is None else self._pause(before, speech.start)

    def speech_ended(self, speech: SpeechEnded) -> Label | None:
        """An utterance ended. The next one may have begun already."""
        self._begun = {utterance: start for utterance, start in self._begun.items() if utterance > speech.utterance}
        if self._begun:
            return self._pause(speech.start, min(self._begun.values()))
        self._speech_end = speech.start
        return None

    def silence(self) -> Label | None:
        """Nobody has spoken until `expires`."""
        return None if self._speech_end is None else self._withdraw(self._speech_end)

    def events_lost(self) -> None:
        """Events were dropped, perhaps the end of an utterance: it counts as ended with the newest window."""
        self._speech_end = None if self._newest is None else self._newest.end

    # Silence

    def _pause(self, ended: int, began: int) -> Label | None:
        """Nobody spoke between these two samples."""
        return self._withdraw(ended) if began - ended >= self.config.dwell * RATE else None

    def _withdraw(self, since: int) -> Label | None:
        """Nobody speaks since this sample."""
        before = self.label
        self._set_label(before if self._nobody else Label(Recognition.UNDECIDED, None, since / RATE), 0)
        return None if self.label is before else self.label

    # Speech

    @property
    def _nobody(self) -> bool:
        return self.label.recognition is Recognition.UNDECIDED

    def _set_label(self, label: Label, utterance: int) -> None:
        self.label = label
        self._held = 0.0  # seconds of new speech since then, including the first window that supports the label
        self._confirm(utterance)

    def _confirm(self, utterance: int) -> None:
        """The label is right for now. Start measuring, in seconds of new speech, what does not confirm it again."""
        self._confirmed_in = utterance
        self._doubt = 0.0  # all speech since then
        self._unknown = 0.0  # speech that matches no enrolled voice, since somebody else was named
        self._inconclusive = 0.0  # speech that is evidence for nobody, since somebody else was named
        self._doubted: int | None = None  # first sample of the doubt

    def _add(
        self,
        window: Window,
        scores: Sequence[Score] | None,
        recognition: Recognition,
        identity: str | None,
        score: float | None,
    ) -> Label | None:
        self._newest, self._speech_end = window, None
        self._held += window.new_speech
        removed = self._is_removed(scores)
        if removed:
            self._withdraw(window.start)
        if self._confirmed(scores, recognition):
            self._confirm(window.utterance)
            return None
        at_once = self._nobody and recognition is Recognition.KNOWN
        since = window.start if at_once or self._doubted is None else self._doubted
        if self._takes_over(window, recognition):
            self._set_label(Label(recognition, identity, since / RATE, score), window.utterance)
            self._held = window.new_speech
            return self.label
        self._doubted = since
        return self.label if removed else None

    def _is_removed(self, scores: Sequence[Score] | None) -> bool:
        """Whether the identity of the label is no longer enrolled."""
        name = self.label.identity
        return name is not None and scores is not None and all(score.name != name for score in scores)

    def _confirmed(self, scores: Sequence[Score] | None, recognition: Recognition) -> bool:
        """Whether a window supports the label: its identity is not far below the bound, and no other one leads."""
        if recognition is Recognition.UNDECIDED or self._nobody or not scores:
            return False
        if self.label.recognition is Recognition.UNKNOWN:
            return recognition is Recognition.UNKNOWN
        own = next(score for score in scores if score.name == self.label.identity)
        leads = [score.normalised - own.normalised for score in scores]
        led = any(lead >= self.rule.margin and lead > 0.0 for lead in leads)
        return self.rule.measure(own) >= holding_bound(self.rule, len(scores), self.config.hysteresis) and not led

    def _takes_over(self, window: Window, recognition: Recognition) -> bool:
        """Whether the recognition of a window that does not support the label becomes the new label."""
        self._doubt += window.new_speech
        if recognition is Recognition.KNOWN:
            self._unknown = self._inconclusive = 0.0
            after_a_pause = window.utterance != self._confirmed_in and self._held > self.config.dwell
            return self._nobody or self._doubt > self.config.dwell or after_a_pause
        if recognition is Recognition.UNKNOWN:
            self._unknown += window.new_speech
            return self._unknown > self.config.dwell
        self._inconclusive += window.new_speech
        return self._inconclusive > self.config.dwell and not self._nobody


def holding_bound(rule: Rule, identities: int, hysteresis: float) -> float:
    """Return the score, in the unit of `Rule.measure`, that one of `identities` must reach to keep the label.

    It is `hysteresis` (a share, 0 to 1) below the bound for getting the label, and never below the reject bound.
    """
    bound = open_set_bound(rule, identities)
    if rule.calibrated:
        return max(bound * (1.0 - hysteresis), rule.reject)
    return bound - hysteresis * (bound - rule.reject)
