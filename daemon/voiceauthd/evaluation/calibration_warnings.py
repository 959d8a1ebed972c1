"""What a person should know before relying on a new calibration."""

from __future__ import annotations

from voiceauthd.evaluation.trials import TrialList
from voiceauthd.scoring.calibration import Calibration

POOR_CLLR = 0.5
"""Bits from which a calibration gets a warning: 1 carries no information, and a usable model stays below 0.1."""


def calibration_warnings(listed: TrialList, calibration: Calibration) -> list[str]:
    """Return what a person should know before relying on the calibration."""
    found = []
    silent = len(listed.trials) - calibration.target - calibration.nontarget
    if silent:
        found.append(
            f"{silent} of {len(listed.trials)} trials have no window of speech on one side and are not counted"
        )
    if not calibration.cllr < POOR_CLLR:
        found.append(
            f"Cllr is {calibration.cllr:.2f}, where 1 carries no information: this model hardly tells these speakers "
            "apart, or the sub-folders are not speakers"
        )
    return found
