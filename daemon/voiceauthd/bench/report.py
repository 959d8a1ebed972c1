"""What a measurement says: figures with the number of runs behind them, held against their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voiceauthd.errors import ExitCode, VoiceauthError

Number = int | float


class NotMeasuredError(VoiceauthError):
    """Something that a measurement needs is not on this machine. No failure: the report says so."""

    reason = "not_measured"
    exit_code = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    value   None: it could not be measured, and `note` says why
    runs    measurements behind it
    target  it should be at most this; None for a figure that nothing was promised about
    """

    name: str
    value: Number | None
    unit: str
    runs: int
    target: Number | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """ "met" or "missed"; empty without a target. What is not a number misses."""
        if self.target is None or self.value is None:
            return ""
        return "met" if self.value <= self.target else "missed"

    def to_object(self) -> dict[str, Any]:
        """For `--json`."""
        value = round(self.value, 5) if isinstance(self.value, float) else self.value
        return asdict(self) | {"value": value, "verdict": self.verdict or None}


def median(name: str, values: Sequence[float], unit: str, target: Number | None = None, note: str = "") -> Figure:
    """The median of `values`. None of them: not measured."""
    value = float(np.median(values)) if len(values) else None
    return Figure(name, value, unit, len(values), target, note)


def percentile(
    name: str, values: Sequence[float], share: float, unit: str, target: Number | None = None, note: str = ""
) -> Figure:
    """The value that `share` percent of `values` lie below, between the two nearest in proportion."""
    value = float(np.percentile(values, share)) if len(values) else None
    return Figure(name, value, unit, len(values), target, note)


def table(figures: Sequence[Figure]) -> list[str]:
    """The figures as aligned lines."""
    rows = [
        (
            figure.name,
            f"{amount(figure.value)} {figure.unit}" if figure.value is not None else "not measured",
            f"n {figure.runs}" if figure.value is not None else "",
            f"at most {amount(figure.target)} {figure.unit}: {figure.verdict}" if figure.verdict else "",
            figure.note,
        )
        for figure in figures
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {runs:>{widths[2]}}  {target:<{widths[3]}}  {note}".rstrip()
        for name, value, runs, target, note in rows
    ]


def amount(value: Number | None) -> str:
    """A number with about three digits, never in powers of ten."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
