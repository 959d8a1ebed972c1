"""Decide while a person speaks: all speech since the request is pooled and judged as one.

Never "any window passes": that would multiply the false accepts by the number of windows. A request applies the
sequential probability ratio test to the growing pool: it ends when the LLR passes the bound to accept or to reject,
otherwise when there is enough speech or no time left.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from voiceauthd.config.schema import VerifyConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.scoring.decide import UNUSABLE, Rule, identify, verify
from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score
from voiceauthd.scoring.pooled_speech import Pool, PooledSpeech
from voiceauthd.speech.window import Window

Compare = Callable[[PooledSpeech], list[Score]]

Verdict = TypeVar("Verdict", Decision, Identified)


class SequentialTest(Generic[Verdict]):
    """The pooled speech of one request, and the decision once there is enough of it."""

    def __init__(self, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        self.rule = rule
        self._compare = compare
        self._config = config
        self._pool = Pool()
        self._refused: Counter[str] = Counter()

    @property
    def net_speech(self) -> float:
        """Seconds of speech in the pool."""
        return self._pool.net_speech

    def add_refusal(self, reason: str) -> None:
        """Count a window that did not pass the quality gate, for this reason."""
        self._refused[reason] += 1

    def add(self, window: Window, embedding: Embedding) -> Verdict | None:
        """Add a window. Return the decision if there is one now; None to continue listening. Raises `ModelError`."""
        self._pool.add(window, embedding)
        if not self._enough:
            return None
        verdict = self.decide()
        over = verdict.reason == UNUSABLE or self.net_speech >= self._config.max_speech
        return verdict if over or self._clear(verdict) else None

    def decide(self) -> Verdict:
        """Return the decision on the speech so far. Raises `ModelError`."""
        voice = self._pool.voice() if self._enough else None
        return self.undecided(self._why_too_little()) if voice is None else self._judge(voice)

    @abstractmethod
    def undecided(self, reason: str) -> Verdict:
        """Return the decision if there is no speech to judge."""

    @abstractmethod
    def model_failed(self) -> Verdict:
        """Return the decision if the model returned nothing usable. Accepts nobody."""

    @abstractmethod
    def _judge(self, voice: PooledSpeech) -> Verdict: ...

    @abstractmethod
    def _clear(self, verdict: Verdict) -> bool:
        """Whether more speech would not change the decision."""

    @property
    def _enough(self) -> bool:
        return self.net_speech >= self._config.speech

    def _why_too_little(self) -> str:
        if self._refused:
            return self._refused.most_common(1)[0][0]
        return "too_little_speech" if self.net_speech > 0.0 else "no_speech"


class Verification(SequentialTest[Decision]):
    """A sequential test of the claim to be `name`."""

    def __init__(self, name: str, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        super().__init__(compare, rule, config)
        self.name = name

    def undecided(self, reason: str) -> Decision:
        """See `SequentialTest`."""
        return Decision(Outcome.INCONCLUSIVE, reason)

    def model_failed(self) -> Decision:
        """See `SequentialTest`."""
        return Decision(Outcome.REJECT, "embedding_failed")

    def _judge(self, voice: PooledSpeech) -> Decision:
        return verify(self.name, self._compare(voice), voice.net_speech, voice.agreement, self.rule)

    def _clear(self, verdict: Decision) -> bool:
        return verdict.outcome is Outcome.ACCEPT or verdict.reason == "no_match"


class Identification(SequentialTest[Identified]):
    """A sequential test of who speaks."""

    def undecided(self, reason: str) -> Identified:
        """See `SequentialTest`."""
        return Identified(Recognition.UNDECIDED, reason)

    def model_failed(self) -> Identified:
        """See `SequentialTest`."""
        return Identified(Recognition.UNDECIDED, "embedding_failed")

    def _judge(self, voice: PooledSpeech) -> Identified:
        return identify(self._compare(voice), voice.net_speech, voice.agreement, self.rule)

    def _clear(self, verdict: Identified) -> bool:
        return verdict.recognition is Recognition.KNOWN
