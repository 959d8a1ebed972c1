"""The enrolled voice of a person: the exemplars, and what is known about each."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from voiceauthd.embed.embedding import ModelId, Vector

MAX_EXEMPLARS = 20
"""More exemplars add little, and a profile must fit into one message of 64 KiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """The embedding of about a sentence of enrolment speech; see take.py.

    vector      shape (dimension,), length 1
    net_speech  seconds of speech that it is made of
    snr_db      SNR of that speech; None if no noise was measured
    condition   label chosen by the person: "default", "headset", "far-field", "whisper"
    recorded    ISO 8601, UTC
    """

    vector: Vector
    net_speech: float
    snr_db: float | None
    condition: str
    recorded: str


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The exemplars of one person, all of one model.

    uid         random, and constant for the profile's life, also across renames
    generation  number of times the profile was written: the highest is the newest
    owner_uid   the user of this machine whose voice this is; None if there is none
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
        """Seconds of speech of all exemplars."""
        return sum(exemplar.net_speech for exemplar in self.exemplars)


def new_uid() -> str:
    """Return 128 random bits in hexadecimal, which identify a profile across renames."""
    return secrets.token_hex(16)


def timestamp() -> str:
    """Return the current time in ISO 8601, UTC, with a resolution of one second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
