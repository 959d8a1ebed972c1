"""A person's voice as enrolled: the exemplars, and what is known of each."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from voiceauthd.embed.embedding import ModelId, Vector

MAX_EXEMPLARS = 20
"""More exemplars than this add little, and a profile must travel in one message of 64 KiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """What was said between two pauses at enrolment, or a sentence's worth of it; see take.py.

    vector      shape (dimension,), length 1
    net_speech  seconds of speech behind it
    snr_db      of its speech; None if no noise was heard
    condition   what the person called it: "default", "headset", "far-field", "whisper"
    recorded    ISO 8601, UTC
    """

    vector: Vector
    net_speech: float
    snr_db: float | None
    condition: str
    recorded: str


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Somebody's exemplars. All belong to `model`.

    uid         random and constant for life, also across a rename
    generation  counts the times the profile was written; the higher one is the newer
    owner_uid   the user whose voice this is; None if no user of this machine
    created, updated  ISO 8601, UTC
    """

    name: str
    uid: str
    generation: int
    owner_uid: int | None
    model: ModelId
    exemplars: tuple[Exemplar, ...]
    created: str
    updated: str

    @property
    def net_speech(self) -> float:
        """Seconds of speech behind all exemplars."""
        return sum(exemplar.net_speech for exemplar in self.exemplars)


def new_uid() -> str:
    """128 random bits in hex: what stays the same of a profile when its name does not."""
    return secrets.token_hex(16)


def timestamp() -> str:
    """Now, in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
