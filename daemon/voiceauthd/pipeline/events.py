"""What the pipeline tells the world, in the order in which it happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.speech.window import SpeechBegan, SpeechEnded


class SourceState(StrEnum):
    """Where the source stands."""

    CLOSED = "closed"  # nobody needs it
    OPENING = "opening"
    OPEN = "open"
    LOST = "lost"  # reopened with backoff
    ENDED = "ended"  # a finite source has no more sound


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """The source's state changed. `detail`: what it is, or why it is lost."""

    state: SourceState
    detail: str


@dataclass(frozen=True, slots=True)
class MarkReached:
    """From here on sound counts for the request that `mark` belongs to: windows of later utterances than this one."""

    mark: int
    after_utterance: int


@dataclass(frozen=True, slots=True)
class WindowsDropped:
    """The worker was too slow for a live source: so many windows were lost."""

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
