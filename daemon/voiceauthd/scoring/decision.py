"""What a comparison says, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Score:
    """One identity compared with one voice.

    cosine      with the mean of the exemplars of the condition that is closest, -1 to 1
    normalised  the cosine, less what the closest strangers of the cohort reach; the cosine itself without a cohort
    llr         log-likelihood ratio, natural logarithm: how much more likely the voice is if it is this identity's than
                if it is a stranger's; None without a calibration
    """

    name: str
    cosine: float
    normalised: float
    llr: float | None = None


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

    margin   lead of the claimed identity over the best other one, in the unit of `Score.normalised`; None when there
             is no other
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
    margin    lead of the closest identity over the next one, as in `Decision`; None when there is no other
    """

    recognition: Recognition
    reason: str
    identity: str | None = None
    best: Score | None = None
    margin: float | None = None
