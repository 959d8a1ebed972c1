"""The result of a comparison, and the decisions made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Score:
    """One identity compared with one voice.

    cosine      with the mean of the exemplars of the closest condition, -1 to 1
    normalised  the cosine minus the mean level of both sides against the cohort; the cosine itself without a cohort
    llr         log-likelihood ratio, natural logarithm: this identity against a stranger; None without a calibration
    """

    name: str
    cosine: float
    normalised: float
    llr: float | None = None


class Outcome(StrEnum):
    """The outcome of a verification. Only ACCEPT lets anybody in."""

    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class Recognition(StrEnum):
    """The outcome of an identification."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a verification: the outcome, the stable reason code, and the score, if any.

    margin  lead of the claimed identity over the best other one, in the unit of `Score.normalised`; None if there is no
            other
    """

    outcome: Outcome
    reason: str
    score: Score | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Identified:
    """The result of an open-set identification.

    identity  None unless `recognition` is KNOWN
    best      the closest identity, whether or not it was identified; None if nobody is enrolled
    margin    lead of the closest identity over the next one, as in `Decision`; None if there is no other
    """

    recognition: Recognition
    reason: str
    identity: str | None = None
    best: Score | None = None
    margin: float | None = None
