"""Policies: decision rules by target false-accept rate, and whether trials demonstrate that rate."""

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
"""From lax to strict; `config.yaml` has a rate for each."""

REJECT_MARGIN = 0.2
"""How far below the threshold an uncalibrated cosine is rejected without waiting for more speech, which would raise the
score of the right person by less than this."""

WINDOW_AGREEMENT_MARGIN = 0.3
"""How far below the model's threshold the cosine of two windows of one voice may be: the threshold is for all speech of
a request, not for single windows."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A decision rule, and the evidence for its error rate.

    false_accepts  target false-accept rate
    trials         independent non-target trials of the calibration; 0 without one
    supported      false-accept rate that these demonstrate at this bound; None without a calibration
    """

    name: str
    rule: Rule
    false_accepts: float
    trials: int
    supported: float | None

    @property
    def demonstrated(self) -> bool:
        """Whether the trials support the target rate. Never without a calibration."""
        return self.supported is not None and self.supported <= self.false_accepts


def make_policies(config: Config, threshold: float, backend: Backend) -> Mapping[str, Policy]:
    """Return the policies of a configuration, by name.

    threshold: the model's cosine threshold. `decision.threshold`, if set, replaces it and also the calibration:
    decisions are then by cosine.
    """
    return {name: _policy(name, config, threshold, backend) for name in NAMES}


def require_usable(policy: Policy) -> None:
    """Raises `UsageError` for `auth` if its target rate is not demonstrated."""
    if policy.name == AUTH and not policy.demonstrated:
        if policy.supported is None:
            why = (
                "decisions are by cosine, which corresponds to no error rate: calibrate the model "
                "(`voiceauth calibrate`) and leave decision.threshold at null"
            )
        else:
            why = (
                f"{policy.trials} independent trials support a false-accept rate of {policy.supported:.1e}, not of "
                f"{policy.false_accepts:g}: calibrate with more speakers, or use the policy {UNLOCK}"
            )
        raise UsageError(f"the policy {AUTH} is not demonstrated: {why}", "not_demonstrated")


def bounds(false_accepts: float, false_rejects: float) -> tuple[float, float]:
    """Return the LLRs to accept at and to reject below, for these target rates.

    The bounds of the sequential probability ratio test (Wald 1945, "Sequential tests of statistical hypotheses").
    """
    return math.log((1.0 - false_rejects) / false_accepts), math.log(false_rejects / (1.0 - false_accepts))


def _policy(name: str, config: Config, threshold: float, backend: Backend) -> Policy:
    policies: PoliciesConfig = config.policies
    false_accepts = {MONITOR: policies.monitor, UNLOCK: policies.unlock, AUTH: policies.auth}[name]
    configured, calibration = config.decision.threshold, backend.calibration
    cosine = threshold if configured is None else configured
    calibrated = calibration is not None and configured is None
    if calibrated:
        accept, reject = bounds(false_accepts, policies.false_rejects)
    else:
        accept, reject = cosine, cosine - REJECT_MARGIN
    rule = Rule(
        policy=name,
        calibrated=calibrated,
        accept=accept,
        reject=reject,
        margin=config.decision.margin,
        min_speech=config.decision.min_speech,
        agreement=threshold - WINDOW_AGREEMENT_MARGIN,
    )
    if calibration is None or not calibrated:
        return Policy(name, rule, false_accepts, 0, None)
    return Policy(name, rule, false_accepts, calibration.pairs, calibration.supported_rate(accept))
