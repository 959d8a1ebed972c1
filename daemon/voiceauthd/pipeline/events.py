"""The events that the live pipeline publishes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.speech.window import SpeechBegan, SpeechEnded


class SourceState(StrEnum):
    """Whether the source delivers audio."""

    CLOSED = "closed"  # nobody needs it
    OPENING = "opening"
    OPEN = "open"
    LOST = "lost"  # failed; being reopened with backoff
    ENDED = "ended"  # a finite source has no more audio


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """The state of the source changed. `detail`: what the source is, or why it was lost."""

    state: SourceState
    detail: str


@dataclass(frozen=True, slots=True)
class MarkReached:
    """A mark took effect: for its request, only windows of utterances later than `after_utterance` count."""

    mark: int
    after_utterance: int


@dataclass(frozen=True, slots=True)
class WindowsDropped:
    """The worker was too slow for a live source, and `count` windows were dropped."""

    count: int


PipelineEvent = (
    SourceChanged
    | MarkReached
    | SpeechBegan
    | SpeechEnded
    | ScoredWindow
    | RefusedWindow
    | FailedWindow
    | WindowsDropped
)
