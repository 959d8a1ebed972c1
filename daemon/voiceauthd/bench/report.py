"""Measurements with their number of runs, compared with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voiceauthd.errors import ExitCode, VoiceauthError

Number = int | float


class NotMeasuredError(VoiceauthError):
    """This machine lacks something that a measurement needs. Not a failure: the report says so."""

    reason = "not_measured"
    exit_code = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the report.

    value   None: it could not be measured, and `note` says why
    runs    number of values behind it
    target  the largest good value; None if there is no target
    """

    name: str
    value: Number | None
    unit: str
    runs: int
    target: Number | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """ "met" or "missed"; empty without a target. NaN misses."""
        if self.target is None or self.value is None:
            return ""
        return "met" if self.value <= self.target else "missed"

    def to_object(self) -> dict[str, Any]:
        """For `--json`."""
        value = round(self.value, 5) if isinstance(self.value, float) else self.value
        return asdict(self) | {"value": value, "verdict": self.verdict or None}


def median(name: str, values: Sequence[float], unit: str, target: Number | None = None, note: str = "") -> Measurement:
    """The median of `values`; not measured if there are none."""
    value = float(np.median(values)) if len(values) else None
    return Measurement(name, value, unit, len(values), target, note)


def percentile(
    name: str, values: Sequence[float], percent: float, unit: str, target: Number | None = None, note: str = ""
) -> Measurement:
    """The value that `percent` of `values` lie below, with linear interpolation."""
    value = float(np.percentile(values, percent)) if len(values) else None
    return Measurement(name, value, unit, len(values), target, note)


def table(measurements: Sequence[Measurement]) -> list[str]:
    """The measurements as aligned lines."""
    rows = [
        (
            each.name,
            f"{amount(each.value)} {each.unit}" if each.value is not None else "not measured",
            f"n {each.runs}" if each.value is not None else "",
            f"at most {amount(each.target)} {each.unit}: {each.verdict}" if each.verdict else "",
            each.note,
        )
        for each in measurements
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {runs:>{widths[2]}}  {target:<{widths[3]}}  {note}".rstrip()
        for name, value, runs, target, note in rows
    ]


def amount(value: Number | None) -> str:
    """A number with about three digits, never with an exponent."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
