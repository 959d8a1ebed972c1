"""Deciding while somebody speaks: all speech since the request is pooled, and judged as one.

Never "any window passes": that would multiply the false accepts by the number of windows. A verification looks at one
pooled voice, which grows; it accepts or rejects when it is sure, and must say something at the end.
"""

from __future__ import annotations

from collections.abc import Callable

from voiceauthd.config.schema import VerifyConfig
from voiceauthd.embed.embedding import Embedding, unit_mean
from voiceauthd.errors import ModelError
from voiceauthd.scoring.decide import Rule, identify, verify
from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score
from voiceauthd.speech.window import Window

CLEARLY_ANOTHER = 0.2
"""Cosine below the threshold at which a pooled voice is rejected without waiting for more speech: more speech moves
the score of the right person up by less than this."""

Compare = Callable[[Embedding], list[Score]]


class Pool:
    """All speech of one request as one voice: the mean of its windows, weighted by their net speech."""

    def __init__(self) -> None:
        self._embeddings: list[Embedding] = []
        self._weights: list[float] = []
        self.net_speech = 0.0

    def add(self, window: Window, embedding: Embedding) -> None:
        """Raises `ModelError`, reason `wrong_model`, if the model changed in the middle."""
        if self._embeddings and embedding.model != self._embeddings[0].model:
            raise ModelError("the model changed while somebody spoke", "wrong_model")
        self._embeddings.append(embedding)
        self._weights.append(window.quality.net_speech)
        self.net_speech += window.new_speech

    def voice(self) -> Embedding | None:
        """The pooled embedding; None before the first window."""
        if not self._embeddings:
            return None
        vector = unit_mean([embedding.vector for embedding in self._embeddings], self._weights)
        return Embedding(vector, self._embeddings[0].model)


class Verification:
    """Is it `name`? Hears windows until it can decide."""

    def __init__(self, name: str, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        self.name = name
        self._compare = compare
        self.rule = rule
        self._config = config
        self._pool = Pool()

    @property
    def net_speech(self) -> float:
        """Seconds of speech so far."""
        return self._pool.net_speech

    def hear(self, window: Window, embedding: Embedding) -> Decision | None:
        """The decision, if this window brings it about; None: listen on."""
        self._pool.add(window, embedding)
        if not self.net_speech >= self._config.speech:
            return None
        decision = self.decide()
        if decision.outcome is Outcome.ACCEPT or self.net_speech >= self._config.max_speech:
            return decision
        score = decision.score
        if score is not None and score.cosine < self.rule.threshold - CLEARLY_ANOTHER:
            return decision
        return None

    def decide(self) -> Decision:
        """What there is to say now, with no more speech to come."""
        voice = self._pool.voice()
        if voice is None:
            return Decision(Outcome.INCONCLUSIVE, "no_speech")
        if not self.net_speech >= self._config.speech:
            return Decision(Outcome.INCONCLUSIVE, "too_little_speech")
        return verify(self.name, self._compare(voice), self.net_speech, self.rule)


class Identification:
    """Who is it? Hears windows until it can decide."""

    def __init__(self, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        self._compare = compare
        self.rule = rule
        self._config = config
        self._pool = Pool()

    @property
    def net_speech(self) -> float:
        """Seconds of speech so far."""
        return self._pool.net_speech

    def hear(self, window: Window, embedding: Embedding) -> Identified | None:
        """The decision, if this window brings it about; None: listen on."""
        self._pool.add(window, embedding)
        if not self.net_speech >= self._config.speech:
            return None
        identified = self.decide()
        sure = identified.recognition is Recognition.KNOWN or self.net_speech >= self._config.max_speech
        return identified if sure else None

    def decide(self) -> Identified:
        """What there is to say now, with no more speech to come."""
        voice = self._pool.voice()
        if voice is None:
            return Identified(Recognition.UNDECIDED, "no_speech")
        return identify(self._compare(voice), self.net_speech, self.rule)
