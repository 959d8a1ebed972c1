"""From a normalised score to a log-likelihood ratio: how much more likely is this, if it is the claimed person?

    llr = offset + weights · (normalised, level, log net speech, normalised × log net speech, log exemplars, SNR)

A logistic regression whose weights were fitted on people other than those it is used for (Brümmer & du Preez 2006,
"Application-independent evaluation of speaker detection"; side information as in Mandasari et al. 2013, "Quality
measure functions for calibration of speaker recognition systems in various duration conditions"). Beyond the range of
net speech, exemplars and SNR that it was fitted on, the end of the range counts: nothing was measured there.
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
"""What is weighed, in the order of `Calibration.weights`."""

FORMAT = "voiceauthd-calibration 1"

AGAIN = "fit it again with `voiceauth calibrate`"

LARGEST = 1e4
"""No offset, weight or ratio is beyond this: a cosine changes by 2 at most, and a ratio of a hundred is certainty."""

CONFIDENCE = 0.95
"""Of the bound on the false-accept rate that a number of trials supports."""


class Range(msgspec.Struct, frozen=True):
    """What was seen in fitting."""

    low: float
    high: float

    def hold(self, value: float) -> float:
        """The value, or the nearer end. What is not finite stays as it is."""
        return value if not math.isfinite(value) else min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ratio is computed from.

    normalised  see `Score`
    level       mean of what both sides reach against the cohort
    net_speech  seconds, of the test
    exemplars   behind the enrolment
    snr_db      of the test; None if no noise was heard
    """

    normalised: float
    level: float
    net_speech: float
    exemplars: float
    snr_db: float | None


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fitted weights, and what they rest on. The content of a calibration's file, as JSON.

    cohort      digest of the cohort that the scores were normalised with
    weights     one an input
    net_speech, exemplars, snr_db  what was seen in fitting; the SNR of a test without one is `snr_unknown`
    target, nontarget  trials it was fitted on
    speakers    people in them, as their source calls them
    pairs       pairs of different people among the non-target trials, each pair counted once: the independent trials
    alarms      of those pairs, the highest cross-validated ratio of each that came out above 0; falling
    cllr, mincllr  in bits, cross-validated by speaker
    sources     where the speech came from, with its licence: for people
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
        """Natural logarithm. Not finite for evidence that is not."""
        return float(np.dot(self.weights, self.inputs(evidence))) + self.offset

    def inputs(self, evidence: Evidence) -> NDArray[np.float64]:
        """What the weights are for, no farther out than what was seen in fitting. Shape (len(INPUTS),)."""
        held = Evidence(
            evidence.normalised,
            evidence.level,
            self.net_speech.hold(evidence.net_speech),
            self.exemplars.hold(evidence.exemplars),
            None,
        )
        return inputs_of(held, self.snr_db.hold(self.snr_unknown if evidence.snr_db is None else evidence.snr_db))

    def slope(self, net_speech: float) -> float:
        """By how much the ratio rises with the normalised score. `net_speech`: seconds, within its range."""
        return self.weights[0] + self.weights[3] * math.log(net_speech)

    def supported(self, bound: float) -> float:
        """The false-accept rate at a bound (LLR) that the fitted trials demonstrate, at `CONFIDENCE`.

        The upper limit of Clopper and Pearson (1934) for the pairs that came out above; with none of N, 3/N. 1 where
        nothing is demonstrated, as for a bound below 0: `alarms` does not go down there.
        """
        errors = sum(alarm >= bound for alarm in self.alarms)
        if not (0.0 <= bound < math.inf and errors < self.pairs):
            return 1.0
        return clopper_pearson(errors, self.pairs, 1.0 - CONFIDENCE)[1]


def inputs_of(evidence: Evidence, snr_db: float) -> NDArray[np.float64]:
    """The row that the weights are for. snr_db: the evidence's, or what stands for one that is not known."""
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
    """The content of a calibration's file. Raises `StorageError` for what `decode_calibration` would refuse."""
    data = msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n"
    _check(msgspec.json.decode(data, type=Calibration), "what was fitted")
    return data


def decode_calibration(data: bytes, model: ModelId, cohort: str, place: str) -> Calibration:
    """The calibration in the content of a file, if it is for this model and the cohort with this digest.

    Raises `StorageError`: reason `bad_calibration` if it is torn or makes no sense, `wrong_model`, `wrong_cohort`.
    """
    try:
        found = msgspec.json.decode(data, type=Calibration)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{place} is no calibration ({error}): {AGAIN}", "bad_calibration") from error
    _check(found, place)
    if found.model != model_record(model):
        made_for = f"{found.model.get('name')} ({str(found.model.get('digest'))[:12]})"
        raise StorageError(
            f"{place} is the calibration of {made_for}, but the model is {model}: {AGAIN}", "wrong_model"
        )
    if found.cohort != cohort:
        raise StorageError(f"{place} was fitted with another cohort than the one in use: {AGAIN}", "wrong_cohort")
    return found


def read_calibration(path: Path, model: ModelId, cohort: str) -> Calibration:
    """Raises `StorageError` as `decode_calibration` does, and if the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_calibration(data, model, cohort, str(path))


def model_record(model: ModelId) -> dict[str, str | int]:
    """How a calibration names its model."""
    return {
        "name": model.name,
        "revision": model.revision,
        "digest": model.digest,
        "preprocessing": model.preprocessing,
        "dimension": model.dimension,
    }


def _check(found: Calibration, place: str) -> None:
    """Raises `StorageError`, reason `bad_calibration`, for numbers that make no sense."""
    numbers = (found.offset, *found.weights, found.snr_unknown, *found.alarms)
    ranges = (found.net_speech, found.exemplars, found.snr_db)
    sound = (
        found.format == FORMAT
        and len(found.weights) == len(INPUTS)
        and all(abs(number) <= LARGEST for number in numbers)  # NaN is not
        and all(math.isfinite(each.low) and each.low <= each.high < math.inf for each in ranges)
        and found.net_speech.low > 0.0
        and found.exemplars.low >= 1.0
        and all(found.slope(end) > 0.0 for end in (found.net_speech.low, found.net_speech.high))
        and len(found.alarms) <= found.pairs
    )
    if not sound:
        raise StorageError(f"{place} is no calibration (numbers that make no sense): {AGAIN}", "bad_calibration")
