"""How good a profile is, and what would improve it.

Each condition is compared separately, so each is rated separately: the grade is that of the condition with the most
speech, lowered if the exemplars of any condition disagree.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile
from voiceauthd.profiles.take import mean_snr

GOOD_EXEMPLARS, GOOD_SPEECH = 5, 20.0
"""The default requirements of an enrolment; seconds. More than 30 s improves little."""

FAIR_EXEMPLARS, FAIR_SPEECH = 3, 10.0
"""Below these a single bad take weighs too much, and false rejects increase; seconds."""

GOOD_SNR, FAIR_SNR = 10.0, 6.0
"""In dB. Recorded noise added to the enrolments of 24 speakers, at a measured median of 21, 18 and 10 dB, lowered the
10th percentile of the target cosines (CAM++) from 0.71 to 0.69, 0.69 and 0.67. Takes below 6 dB are refused by
default."""

FAIR_AGREEMENT_MARGIN = 0.1
"""Cosine below the model's threshold. Measured with CAM++ (threshold 0.60) on 57 enrolments of one voice: the exemplar
that agrees least with the others reaches 0.60 in 96 % and 0.50 in all; an exemplar of another person never reaches 0.50
(285 tries)."""


class Grade(StrEnum):
    """A POOR profile often causes false accepts or false rejects."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class Rating:
    """The rating of a profile.

    net_speech, exemplars  of all conditions; seconds
    agreement  mean cosine with the other exemplars of its condition, of the exemplar where this is lowest; None if no
               condition has two, NaN for vectors that contain NaN
    snr_db     mean of the exemplars, weighted by their speech; None if no noise was measured
    advice     sentences, the most important first. NAME stands for the profile's name
    """

    grade: Grade
    net_speech: float
    exemplars: int
    agreement: float | None
    snr_db: float | None
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Condition:
    name: str
    exemplars: int
    net_speech: float
    agreement: float | None
    snr_db: float | None

    @property
    def add(self) -> str:
        return f"voiceauth enroll NAME --add --condition {shlex.quote(self.name)}"


def rate(profile: Profile, threshold: float) -> Rating:
    """Rate a profile. threshold: the cosine at and above which the profile's model takes two voices for the same."""
    names = dict.fromkeys(exemplar.condition for exemplar in profile.exemplars)
    conditions = [
        _condition(name, [exemplar for exemplar in profile.exemplars if exemplar.condition == name]) for name in names
    ]
    agreements = [each.agreement for each in conditions if each.agreement is not None]
    agreement = float(np.min(agreements)) if agreements else None  # NaN if one is
    return Rating(
        grade=_grade(conditions, agreement, threshold),
        net_speech=profile.net_speech,
        exemplars=len(profile.exemplars),
        agreement=agreement,
        snr_db=_snr(profile.exemplars),
        advice=tuple(_advice(conditions, len(profile.exemplars), threshold)),
    )


def agreements(profile: Profile) -> list[float | None]:
    """Return for each exemplar its mean cosine with the others of its condition; None for the only one, NaN for a
    vector that contains NaN."""
    found: list[float | None] = [None] * len(profile.exemplars)
    for name in {exemplar.condition for exemplar in profile.exemplars}:
        places = [place for place, exemplar in enumerate(profile.exemplars) if exemplar.condition == name]
        if len(places) > 1:
            means = _with_others([profile.exemplars[place] for place in places])
            for place, mean in zip(places, means, strict=True):
                found[place] = float(mean)
    return found


def _condition(name: str, exemplars: Sequence[Exemplar]) -> _Condition:
    speech = sum(exemplar.net_speech for exemplar in exemplars)
    return _Condition(name, len(exemplars), speech, _agreement(exemplars), _snr(exemplars))


def _agreement(exemplars: Sequence[Exemplar]) -> float | None:
    return float(np.min(_with_others(exemplars))) if len(exemplars) > 1 else None


def _with_others(exemplars: Sequence[Exemplar]) -> NDArray[np.float64]:
    """Return the mean cosine of each of two or more exemplars with the others."""
    vectors = np.asarray([exemplar.vector for exemplar in exemplars], np.float64)
    cosines = vectors @ vectors.T
    means: NDArray[np.float64] = (np.sum(cosines, axis=1) - np.diag(cosines)) / (len(exemplars) - 1)
    return means


def _snr(exemplars: Sequence[Exemplar]) -> float | None:
    mean = mean_snr((exemplar.snr_db, exemplar.net_speech) for exemplar in exemplars)
    # Rounding may put a mean of equal numbers just below them, and below a limit that each of them reaches.
    return None if mean is None else round(mean, 3)


def _grade(conditions: Sequence[_Condition], agreement: float | None, threshold: float) -> Grade:
    """Grade a profile. Every comparison is written so that NaN gives POOR."""
    if not conditions:
        return Grade.POOR
    most = max(conditions, key=lambda condition: condition.net_speech)

    def reaches(exemplars: int, speech: float, snr: float, min_agreement: float) -> bool:
        return (
            most.exemplars >= exemplars
            and most.net_speech >= speech
            and (most.snr_db is None or most.snr_db >= snr)
            and (agreement is None or agreement >= min_agreement)
        )

    if reaches(GOOD_EXEMPLARS, GOOD_SPEECH, GOOD_SNR, threshold):
        return Grade.GOOD
    if reaches(FAIR_EXEMPLARS, FAIR_SPEECH, FAIR_SNR, threshold - FAIR_AGREEMENT_MARGIN):
        return Grade.FAIR
    return Grade.POOR


def _advice(conditions: Sequence[_Condition], exemplars: int, threshold: float) -> list[str]:
    found = []
    for each in conditions:
        if each.agreement is not None and not each.agreement >= threshold - FAIR_AGREEMENT_MARGIN:
            found.append(
                f"Takes of the condition {each.name} differ too much: one may be another person's, or from another "
                "microphone or room, which needs its own condition. Start over: voiceauth enroll NAME --replace."
            )
        elif each.agreement is not None and not each.agreement >= threshold:
            found.append(f"Takes of the condition {each.name} differ more than usual: one of them may be bad.")
    for each in conditions:
        found += _more(each, full=exemplars >= MAX_EXEMPLARS)
    for each in conditions:
        if each.snr_db is not None and not each.snr_db >= GOOD_SNR:
            found.append(
                f"The condition {each.name} was enrolled in noise: enrol again in a quieter place, or closer to the "
                "microphone: voiceauth enroll NAME --replace."
            )
    if len(conditions) == 1 and exemplars < MAX_EXEMPLARS:
        found.append(
            f"Only the condition {conditions[0].name} is enrolled. If another microphone is also used, or from farther "
            "away, add that: voiceauth enroll NAME --add --condition far-field."
        )
    return found


def _more(condition: _Condition, *, full: bool) -> list[str]:
    wanted = []
    if not condition.net_speech >= GOOD_SPEECH:
        wanted.append(f"{math.ceil(GOOD_SPEECH - condition.net_speech)} s of speech")
    if condition.exemplars < GOOD_EXEMPLARS:
        missing = GOOD_EXEMPLARS - condition.exemplars
        wanted.append("one more sentence" if missing == 1 else f"{missing} more sentences")
    if not wanted:
        return []
    how = "the profile is full: voiceauth enroll NAME --replace" if full else condition.add
    return [f"More speech makes the condition {condition.name} better, {' and '.join(wanted)}: {how}."]
