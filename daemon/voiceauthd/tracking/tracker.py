"""Who speaks now: one label out of many windows, which does not flicker.

    windows   anna  anna  ----  anna  ben   ben          ben        ----  ----
    label     anna                          ben                           unknown       nobody
              at    stays, for anna's score  after more  stays      after more        after the
              once  is not far below         than dwell             than dwell        dwell of silence

A name is strong evidence: it reached the bound of an open set, and led. That nobody was recognised is weak: a short or
noisy window of the right person says so as well. So a name is given at once where there is none, and "unknown" never
is. See docs/decisions/0013-one-label-at-a-time.md.
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

    recognition  KNOWN: `identity`; UNKNOWN: somebody who is not enrolled; UNDECIDED: nobody, as far as can be told
    since        seconds since the source was first opened: where the first window begins that speaks for the label, or
                 against the one before; for nobody where speech ended
    score        of the closest identity in the window that brought the label about, as `Rule.measure` has it
    """

    recognition: Recognition
    identity: str | None
    since: float
    score: float | None = None


class Tracker:
    """The label of one stream, for one subscriber. Each method returns the new label if there is one, else None.

    Has no clock: time comes with what was heard. `rule` and `config` may be swapped at any time.
    """

    def __init__(self, rule: Rule, config: MonitorConfig) -> None:
        self.rule = rule
        self.config = config
        self.label = Label(Recognition.UNDECIDED, None, 0.0)
        self._newest: Window | None = None  # the window that was heard last
        self._quiet: int | None = None  # where speech ended, in samples; None while somebody speaks
        self._begun: dict[int, int] = {}  # utterance to its first sample; beginnings overtake the windows before them
        self._withdraw(0)

    @property
    def expires(self) -> float | None:
        """When `silence` is due unless something is heard, in seconds on `time.monotonic()`'s clock; None: never."""
        if self._nobody or self._quiet is None or self._newest is None:
            return None
        ended = self._newest.captured + (self._quiet - self._newest.end) / RATE
        return ended + self.config.dwell

    def restart(self) -> Label | None:
        """Another stretch of sound follows, whose utterances and samples may be counted anew."""
        ended = self._quiet
        if ended is None:
            ended = 0 if self._newest is None else self._newest.end
        self._newest = self._quiet = None
        self._begun.clear()
        return self._withdraw(ended)

    def hear(self, window: Window, scores: Sequence[Score], identified: Identified) -> Label | None:
        """A window that was compared. `identified`: what `identify` makes of the scores."""
        usable = bool(scores) and all(
            math.isfinite(score.normalised) and math.isfinite(self.rule.measure(score)) for score in scores
        )
        if not usable or identified.recognition is Recognition.UNDECIDED or identified.best is None:
            return self._hear(window, scores, Recognition.UNDECIDED, None, None)
        score = self.rule.measure(identified.best)
        return self._hear(window, scores, identified.recognition, identified.identity, score)

    def miss(self, window: Window) -> Label | None:
        """A window that the gate refused or the model failed for. It is speech, and nobody's."""
        return self._hear(window, None, Recognition.UNDECIDED, None, None)

    def began(self, speech: SpeechBegan) -> Label | None:
        """Somebody began to speak."""
        self._begun[speech.utterance] = speech.start
        before, self._quiet = self._quiet, None
        return None if before is None else self._pause(before, speech.start)

    def ended(self, speech: SpeechEnded) -> Label | None:
        """An utterance ended. The next one may have begun already."""
        self._begun = {utterance: start for utterance, start in self._begun.items() if utterance > speech.utterance}
        if self._begun:
            return self._pause(speech.start, min(self._begun.values()))
        self._quiet = speech.start
        return None

    def silence(self) -> Label | None:
        """Nothing was heard until `expires`."""
        return None if self._quiet is None else self._withdraw(self._quiet)

    def lost(self) -> None:
        """Something was not told, perhaps the end of an utterance: it counts as ended with the newest window."""
        self._quiet = None if self._newest is None else self._newest.end

    # Silence

    def _pause(self, ended: int, began: int) -> Label | None:
        """Nobody spoke between these samples."""
        return self._withdraw(ended) if began - ended >= self.config.dwell * RATE else None

    def _withdraw(self, since: int) -> Label | None:
        """Nobody speaks, since this sample."""
        before = self.label
        self._give(before if self._nobody else Label(Recognition.UNDECIDED, None, since / RATE), 0)
        return None if self.label is before else self.label

    # Speech

    @property
    def _nobody(self) -> bool:
        return self.label.recognition is Recognition.UNDECIDED

    def _give(self, label: Label, utterance: int) -> None:
        self.label = label
        self._held = 0.0  # seconds of new speech since then, from the first window on that speaks for it
        self._confirm(utterance)

    def _confirm(self, utterance: int) -> None:
        """The label is right, for now. What is heard from now on until it is again, in seconds of new speech:"""
        self._confirmed_in = utterance
        self._doubt = 0.0  # all of it
        self._unknown = 0.0  # what is nobody's who is enrolled, since somebody else was named
        self._unheard = 0.0  # what says nothing, since somebody else was named
        self._doubted: int | None = None  # the first sample of it

    def _hear(
        self,
        window: Window,
        scores: Sequence[Score] | None,
        recognition: Recognition,
        identity: str | None,
        score: float | None,
    ) -> Label | None:
        self._newest, self._quiet = window, None
        self._held += window.new_speech
        gone = self._gone(scores)
        if gone:
            self._withdraw(window.start)
        if self._confirmed(scores, recognition):
            self._confirm(window.utterance)
            return None
        at_once = self._nobody and recognition is Recognition.KNOWN
        since = window.start if at_once or self._doubted is None else self._doubted
        if self._takes(window, recognition):
            self._give(Label(recognition, identity, since / RATE, score), window.utterance)
            self._held = window.new_speech
            return self.label
        self._doubted = since
        return self.label if gone else None

    def _gone(self, scores: Sequence[Score] | None) -> bool:
        """Whether who has the label is not enrolled any more."""
        name = self.label.identity
        return name is not None and scores is not None and all(score.name != name for score in scores)

    def _confirmed(self, scores: Sequence[Score] | None, recognition: Recognition) -> bool:
        """Whether a window speaks for who has the label: he is not far below the bound, and nobody leads him."""
        if recognition is Recognition.UNDECIDED or self._nobody or not scores:
            return False
        if self.label.recognition is Recognition.UNKNOWN:
            return recognition is Recognition.UNKNOWN
        own = next(score for score in scores if score.name == self.label.identity)
        leads = [score.normalised - own.normalised for score in scores]
        led = any(lead >= self.rule.margin and lead > 0.0 for lead in leads)
        return self.rule.measure(own) >= holding_bound(self.rule, len(scores), self.config.hysteresis) and not led

    def _takes(self, window: Window, recognition: Recognition) -> bool:
        """Whether what a window says, and who has the label does not confirm, becomes the label."""
        self._doubt += window.new_speech
        if recognition is Recognition.KNOWN:
            self._unknown = self._unheard = 0.0
            after_a_pause = window.utterance != self._confirmed_in and self._held > self.config.dwell
            return self._nobody or self._doubt > self.config.dwell or after_a_pause
        if recognition is Recognition.UNKNOWN:
            self._unknown += window.new_speech
            return self._unknown > self.config.dwell
        self._unheard += window.new_speech
        return self._unheard > self.config.dwell and not self._nobody


def holding_bound(rule: Rule, identities: int, hysteresis: float) -> float:
    """What one of so many identities must reach to keep the label: `hysteresis` (a share, 0 to 1) below the bound to
    take it, and never below the bound under which a voice is somebody else's. In the unit of `Rule.measure`.
    """
    bound = open_set_bound(rule, identities)
    if rule.calibrated:
        return max(bound * (1.0 - hysteresis), rule.reject)
    return bound - hysteresis * (bound - rule.reject)
