"""Policies: decisions by the false-accept rate that they aim at, and what demonstrates that they reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from voiceauthd.config.schema import Config, PoliciesConfig
from voiceauthd.errors import UsageError
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.decide import Rule

MONITOR, UNLOCK, AUTH = "monitor", "unlock", "auth"

NAMES = (MONITOR, UNLOCK, AUTH)
"""From the laxest to the strictest; `config.yaml` has a rate for each."""

CLEARLY_ANOTHER = 0.2
"""Cosine below the threshold at which an uncalibrated voice is rejected without waiting for more speech: more speech
moves the score of the right person up by less than this."""

WITHIN_ONE_VOICE = 0.3
"""Cosine that two windows of one voice may lie below the model's threshold: each is a single window, where the
threshold is for all that was said."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule, and how far it can be trusted.

    false_accepts  the rate that it aims at
    trials         independent non-target trials behind the calibration; 0 without one
    supported      the false-accept rate that those demonstrate at this bound; None without a calibration
    """

    name: str
    rule: Rule
    false_accepts: float
    trials: int
    supported: float | None

    @property
    def demonstrated(self) -> bool:
        """Whether the trials bear out the rate. Without a calibration nothing does."""
        return self.supported is not None and self.supported <= self.false_accepts


def make_policies(config: Config, threshold: float, backend: Backend) -> Mapping[str, Policy]:
    """The policies of a configuration, by name.

    threshold: the model's own cosine. `decision.threshold` takes its place, and the calibration's: whoever sets it
    decides by cosines.
    """
    return {name: _policy(name, config, threshold, backend) for name in NAMES}


def require_usable(policy: Policy) -> None:
    """Refuses `auth` when nothing demonstrates that it keeps its promise. Raises `UsageError`."""
    if policy.name == AUTH and not policy.demonstrated:
        if policy.supported is None:
            why = (
                "decisions are by cosine, which stands for no error rate: calibrate the model (`voiceauth calibrate`), "
                "and leave decision.threshold at null"
            )
        else:
            why = (
                f"{policy.trials} independent trials support a false-accept rate of {policy.supported:.1e}, not of "
                f"{policy.false_accepts:g}: calibrate with more speakers, or use the policy {UNLOCK}"
            )
        raise UsageError(f"the policy {AUTH} is not demonstrated: {why}", "not_demonstrated")


def bounds(false_accepts: float, false_rejects: float) -> tuple[float, float]:
    """Log-likelihood ratios to accept at and to reject below, for these target rates.

    Those of the sequential probability ratio test (Wald 1945, "Sequential tests of statistical hypotheses").
    """
    return math.log((1.0 - false_rejects) / false_accepts), math.log(false_rejects / (1.0 - false_accepts))


def _policy(name: str, config: Config, threshold: float, backend: Backend) -> Policy:
    policies: PoliciesConfig = config.policies
    false_accepts = {MONITOR: policies.monitor, UNLOCK: policies.unlock, AUTH: policies.auth}[name]
    own, calibration = config.decision.threshold, backend.calibration
    cosine = threshold if own is None else own
    calibrated = calibration is not None and own is None
    if calibrated:
        accept, reject = bounds(false_accepts, policies.false_rejects)
    else:
        accept, reject = cosine, cosine - CLEARLY_ANOTHER
    rule = Rule(
        policy=name,
        calibrated=calibrated,
        accept=accept,
        reject=reject,
        margin=config.decision.margin,
        min_speech=config.decision.min_speech,
        agreement=threshold - WITHIN_ONE_VOICE,
    )
    if calibration is None or not calibrated:
        return Policy(name, rule, false_accepts, 0, None)
    return Policy(name, rule, false_accepts, calibration.pairs, calibration.supported(accept))
