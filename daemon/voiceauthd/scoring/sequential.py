"""Deciding while somebody speaks: all speech since the request is pooled, and judged as one.

Never "any window passes": that would multiply the false accepts by the number of windows. A request looks at one pooled
voice, which grows, by the sequential probability ratio test: it ends when the ratio passes the bound to accept or the
bound to reject, and else when there is enough speech or no more time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from voiceauthd.config.schema import VerifyConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.scoring.decide import Rule, identify, verify
from voiceauthd.scoring.decision import Decision, Identified, Outcome, Recognition, Score
from voiceauthd.scoring.voice import Pool, Voice
from voiceauthd.speech.window import Window

Compare = Callable[[Voice], list[Score]]


class Verification:
    """Is it `name`? Hears windows until it can decide."""

    def __init__(self, name: str, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        self.name = name
        self.rule = rule
        self._compare = compare
        self._heard = _Heard(config)

    @property
    def net_speech(self) -> float:
        """Seconds of speech so far."""
        return self._heard.net_speech

    def refuse(self, reason: str) -> None:
        """A window did not pass the gate, for this reason."""
        self._heard.refuse(reason)

    def hear(self, window: Window, embedding: Embedding) -> Decision | None:
        """The decision, if this window brings it about; None: listen on. Raises `ModelError`."""
        self._heard.add(window, embedding)
        if not self._heard.enough:
            return None
        decision = self.decide()
        clear = decision.outcome is Outcome.ACCEPT or decision.reason == "no_match"
        return decision if clear or self._heard.all_there_will_be else None

    def decide(self) -> Decision:
        """What there is to say now, with no more speech to come. Raises `ModelError`."""
        voice, reason = self._heard.voice()
        if voice is None:
            return Decision(Outcome.INCONCLUSIVE, reason)
        return verify(self.name, self._compare(voice), voice.net_speech, voice.agreement, self.rule)


class Identification:
    """Who is it? Hears windows until it can decide."""

    def __init__(self, compare: Compare, rule: Rule, config: VerifyConfig) -> None:
        self.rule = rule
        self._compare = compare
        self._heard = _Heard(config)

    @property
    def net_speech(self) -> float:
        """Seconds of speech so far."""
        return self._heard.net_speech

    def refuse(self, reason: str) -> None:
        """A window did not pass the gate, for this reason."""
        self._heard.refuse(reason)

    def hear(self, window: Window, embedding: Embedding) -> Identified | None:
        """The decision, if this window brings it about; None: listen on. Raises `ModelError`."""
        self._heard.add(window, embedding)
        if not self._heard.enough:
            return None
        identified = self.decide()
        sure = identified.recognition is Recognition.KNOWN or self._heard.all_there_will_be
        return identified if sure else None

    def decide(self) -> Identified:
        """What there is to say now, with no more speech to come. Raises `ModelError`."""
        voice, reason = self._heard.voice()
        if voice is None:
            return Identified(Recognition.UNDECIDED, reason)
        return identify(self._compare(voice), voice.net_speech, voice.agreement, self.rule)


class _Heard:
    """What one request has heard."""

    def __init__(self, config: VerifyConfig) -> None:
        self._config = config
        self._pool = Pool()
        self._refused: Counter[str] = Counter()

    @property
    def net_speech(self) -> float:
        return self._pool.net_speech

    @property
    def enough(self) -> bool:
        return self.net_speech >= self._config.speech

    @property
    def all_there_will_be(self) -> bool:
        return self.net_speech >= self._config.max_speech

    def add(self, window: Window, embedding: Embedding) -> None:
        self._pool.add(window, embedding)

    def refuse(self, reason: str) -> None:
        self._refused[reason] += 1

    def voice(self) -> tuple[Voice | None, str]:
        """What is to be judged; else None, and why there is nothing."""
        voice = self._pool.voice() if self.enough else None
        if voice is not None:
            return voice, ""
        if self._refused:
            return None, self._refused.most_common(1)[0][0]
        return None, "too_little_speech" if self.net_speech > 0.0 else "no_speech"
