"""What a comparison says, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Score:
    """One identity compared with one voice.

    cosine      the number that is held against the threshold, -1 to 1
    centroid    cosine with the mean of the exemplars
    exemplar    mean cosine with the best exemplars
    """

    name: str
    cosine: float
    centroid: float
    exemplar: float


class Outcome(StrEnum):
    """What a verification ends with. Only ACCEPT lets anybody in."""

    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class Recognition(StrEnum):
    """What an identification ends with."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a verification: the outcome, the stable reason code, and the score it rests on, if any.

    margin   cosine of the claimed identity over the best other one; None when there is no other
    """

    outcome: Outcome
    reason: str
    score: Score | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Identified:
    """The end of an open-set identification.

    identity  None unless `recognition` is KNOWN
    best      the closest identity, whatever was made of it; None when nobody is enrolled
    margin    cosine of the closest identity over the next one; None when there is no other
    """

    recognition: Recognition
    reason: str
    identity: str | None = None
    best: Score | None = None
    margin: float | None = None
