"""From a normalised score to a log-likelihood ratio (LLR): target speaker against stranger.

    llr = offset + weights · (normalised, level, log net speech, normalised × log net speech, log exemplars, SNR)

A logistic regression, fitted on other people than those it is used for (Brümmer & du Preez 2006,
"Application-independent evaluation of speaker detection"; side information as in Mandasari et al. 2013, "Quality
measure functions for calibration of speaker recognition systems in various duration conditions"). Net speech, exemplars
and SNR are clamped to the range of the fitting data, because nothing was measured outside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.scoring.confidence_limits import clopper_pearson

INPUTS = ("normalised", "level", "log_net_speech", "normalised_log_net_speech", "log_exemplars", "snr_db")
"""The inputs, in the order of `Calibration.weights`."""

FORMAT = "voiceauthd-calibration 1"

REFIT = "fit it again with `voiceauth calibrate`"

MAX_MAGNITUDE = 1e4
"""Maximum magnitude of an offset, weight or LLR: a cosine changes by at most 2, and an LLR of 100 is certainty."""

CONFIDENCE = 0.95
"""Confidence level of the bound on the false-accept rate that a number of trials supports."""


class Range(msgspec.Struct, frozen=True):
    """The range of an input in the fitting data."""

    low: float
    high: float

    def clamp(self, value: float) -> float:
        """Return the value clamped to the range. NaN and infinity are returned unchanged."""
        return value if not math.isfinite(value) else min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The inputs of the LLR.

    normalised  see `Score`
    level       mean of both sides' cohort levels, see `Cohort.level`
    net_speech  seconds, of the test
    exemplars   number of exemplars of the enrolment
    snr_db      of the test; None if no noise was measured
    """

    normalised: float
    level: float
    net_speech: float
    exemplars: float
    snr_db: float | None


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fitted weights and the data behind them: the content of a calibration file, as JSON.

    cohort      digest of the cohort that the scores were normalised with
    weights     one per input
    net_speech, exemplars, snr_db  ranges in the fitting data; `snr_unknown` replaces an unknown SNR
    target, nontarget  number of trials it was fitted on
    speakers    their names in the source
    pairs       pairs of different people among the non-target trials, each counted once: the independent trials
    alarms      for each of these pairs whose highest cross-validated LLR is above 0, that LLR; descending
    cllr, mincllr  in bits, cross-validated by speaker
    sources     where the speech came from, with its licence, as text
    """

    format: str
    model: dict[str, str | int]
    cohort: str
    offset: float
    weights: tuple[float, ...]
    net_speech: Range
    exemplars: Range
    snr_db: Range
    snr_unknown: float
    target: int
    nontarget: int
    speakers: tuple[str, ...]
    pairs: int
    alarms: tuple[float, ...]
    cllr: float
    mincllr: float
    sources: tuple[str, ...]
    created: str

    def llr(self, evidence: Evidence) -> float:
        """Return the LLR, natural logarithm. Not finite if the evidence is not."""
        return float(np.dot(self.weights, self.inputs(evidence))) + self.offset

    def inputs(self, evidence: Evidence) -> NDArray[np.float64]:
        """Return the inputs, clamped to the ranges of the fitting data. Shape (len(INPUTS),)."""
        clamped = Evidence(
            evidence.normalised,
            evidence.level,
            self.net_speech.clamp(evidence.net_speech),
            self.exemplars.clamp(evidence.exemplars),
            None,
        )
        return inputs_of(clamped, self.snr_db.clamp(self.snr_unknown if evidence.snr_db is None else evidence.snr_db))

    def slope(self, net_speech: float) -> float:
        """Return the derivative of the LLR by the normalised score. `net_speech`: seconds, within its range."""
        return self.weights[0] + self.weights[3] * math.log(net_speech)

    def supported_rate(self, bound: float) -> float:
        """Return the false-accept rate at a bound (LLR) that the fitting trials demonstrate, at `CONFIDENCE`.

        The upper limit of Clopper and Pearson (1934) for the pairs at or above the bound; for none of N it is 3/N.
        1 if nothing is demonstrated, as for a bound below 0, where `alarms` has no values.
        """
        errors = sum(alarm >= bound for alarm in self.alarms)
        if not (0.0 <= bound < math.inf and errors < self.pairs):
            return 1.0
        return clopper_pearson(errors, self.pairs, 1.0 - CONFIDENCE)[1]


def inputs_of(evidence: Evidence, snr_db: float) -> NDArray[np.float64]:
    """Return the vector that the weights apply to. snr_db: the evidence's, or the replacement for an unknown one."""
    log_net_speech = math.log(evidence.net_speech) if evidence.net_speech > 0.0 else math.nan
    return np.array(
        (
            evidence.normalised,
            evidence.level,
            log_net_speech,
            evidence.normalised * log_net_speech,
            math.log(evidence.exemplars) if evidence.exemplars > 0 else math.nan,
            snr_db,
        )
    )


def encode_calibration(calibration: Calibration) -> bytes:
    """Return the content of a calibration file. Raises `StorageError` if `decode_calibration` would refuse it."""
    data = msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n"
    _check(msgspec.json.decode(data, type=Calibration), "the fitted calibration")
    return data


def decode_calibration(data: bytes, model: ModelId, cohort: str, place: str) -> Calibration:
    """Return the calibration in the content of a file.

    model, cohort  the model, and the digest of the cohort, that it must be for
    place          the file, for messages

    Raises `StorageError`: `bad_calibration` if it is damaged or has implausible values, `wrong_model`, `wrong_cohort`.
    """
    try:
        found = msgspec.json.decode(data, type=Calibration)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{place} is not a valid calibration ({error}): {REFIT}", "bad_calibration") from error
    _check(found, place)
    if found.model != model_record(model):
        made_for = f"{found.model.get('name')} ({str(found.model.get('digest'))[:12]})"
        raise StorageError(
            f"{place} is the calibration of {made_for}, but the model is {model}: {REFIT}", "wrong_model"
        )
    if found.cohort != cohort:
        raise StorageError(f"{place} was fitted with another cohort than the one in use: {REFIT}", "wrong_cohort")
    return found


def read_calibration(path: Path, model: ModelId, cohort: str) -> Calibration:
    """Read a calibration file. Raises `StorageError` as `decode_calibration` does, and if the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_calibration(data, model, cohort, str(path))


def model_record(model: ModelId) -> dict[str, str | int]:
    """Return the model as recorded in a calibration."""
    return {
        "name": model.name,
        "revision": model.revision,
        "digest": model.digest,
        "preprocessing": model.preprocessing,
        "dimension": model.dimension,
    }


def _check(found: Calibration, place: str) -> None:
    """Raises `StorageError`, reason `bad_calibration`, for implausible values."""
    numbers = (found.offset, *found.weights, found.snr_unknown, *found.alarms)
    ranges = (found.net_speech, found.exemplars, found.snr_db)
    plausible = (
        found.format == FORMAT
        and len(found.weights) == len(INPUTS)
        and all(abs(number) <= MAX_MAGNITUDE for number in numbers)  # false for NaN
        and all(math.isfinite(each.low) and each.low <= each.high < math.inf for each in ranges)
        and found.net_speech.low > 0.0
        and found.exemplars.low >= 1.0
        and all(found.slope(end) > 0.0 for end in (found.net_speech.low, found.net_speech.high))
        and len(found.alarms) <= found.pairs
    )
    if not plausible:
        raise StorageError(f"{place} is not a valid calibration (implausible values): {REFIT}", "bad_calibration")
