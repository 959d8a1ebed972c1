"""Deciding while somebody speaks: all speech since the request is pooled, and judged as one.

Never "any window passes": that would multiply the false accepts by the number of windows. A request looks at one pooled
voice, which grows, by the sequential probability ratio test: it ends when the ratio passes the bound to accept or the
bound to reject, and else when there is enough speech or no more time.
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


class Sequential(Generic[Verdict]):
    """What one request has heard, and whether that is enough. Hears windows until it can decide."""

    def __init__(self, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        self.rule = rule
        self._compare = compare
        self._config = config
        self._pool = Pool()
        self._refused: Counter[str] = Counter()

    @property
    def net_speech(self) -> float:
        """Seconds of speech so far."""
        return self._pool.net_speech

    def refuse(self, reason: str) -> None:
        """A window did not pass the gate, for this reason."""
        self._refused[reason] += 1

    def hear(self, window: Window, embedding: Embedding) -> Verdict | None:
        """The decision, if this window brings it about; None: listen on. Raises `ModelError`."""
        self._pool.add(window, embedding)
        if not self._enough:
            return None
        verdict = self.decide()
        over = verdict.reason == UNUSABLE or self.net_speech >= self._config.max_speech
        return verdict if over or self._clear(verdict) else None

    def decide(self) -> Verdict:
        """What there is to say now, with no more speech to come. Raises `ModelError`."""
        voice = self._pool.voice() if self._enough else None
        return self.nothing(self._why_nothing()) if voice is None else self._judge(voice)

    @abstractmethod
    def nothing(self, reason: str) -> Verdict:
        """The decision without a voice to judge."""

    @abstractmethod
    def failed(self) -> Verdict:
        """The decision when the model gave nothing that can be used. Accepts nobody."""

    @abstractmethod
    def _judge(self, voice: PooledSpeech) -> Verdict: ...

    @abstractmethod
    def _clear(self, verdict: Verdict) -> bool:
        """Whether more speech is not worth waiting for."""

    @property
    def _enough(self) -> bool:
        return self.net_speech >= self._config.speech

    def _why_nothing(self) -> str:
        if self._refused:
            return self._refused.most_common(1)[0][0]
        return "too_little_speech" if self.net_speech > 0.0 else "no_speech"


class Verification(Sequential[Decision]):
    """Is it `name`?"""

    def __init__(self, name: str, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        super().__init__(compare, rule, config)
        self.name = name

    def nothing(self, reason: str) -> Decision:
        """See `Sequential`."""
        return Decision(Outcome.INCONCLUSIVE, reason)

    def failed(self) -> Decision:
        """See `Sequential`."""
        return Decision(Outcome.REJECT, "embedding_failed")

    def _judge(self, voice: PooledSpeech) -> Decision:
        return verify(self.name, self._compare(voice), voice.net_speech, voice.agreement, self.rule)

    def _clear(self, verdict: Decision) -> bool:
        return verdict.outcome is Outcome.ACCEPT or verdict.reason == "no_match"


class Identification(Sequential[Identified]):
    """Who is it?"""

    def nothing(self, reason: str) -> Identified:
        """See `Sequential`."""
        return Identified(Recognition.UNDECIDED, reason)

    def failed(self) -> Identified:
        """See `Sequential`."""
        return Identified(Recognition.UNDECIDED, "embedding_failed")

    def _judge(self, voice: PooledSpeech) -> Identified:
        return identify(self._compare(voice), voice.net_speech, voice.agreement, self.rule)

    def _clear(self, verdict: Identified) -> bool:
        return verdict.recognition is Recognition.KNOWN
