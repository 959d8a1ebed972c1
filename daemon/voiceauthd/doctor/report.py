"""The results of doctor's checks, as lines for a person and as an object for a program."""

from __future__ import annotations

from collections.abc import Sequence

from voiceauthd.doctor.check import FAIL, OK, WARN, Check
from voiceauthd.terminal.output import Output, plain, wrapped_lines

INDENT = 25
"""Columns before what a check found: the state and the check's name."""


def check_lines(check: Check, output: Output) -> list[str]:
    """Return what a check found, and what to do about it, in lines that fit a terminal."""
    colour = {OK: "green", WARN: "yellow"}.get(check.state, "red")
    found = f"{output.style(f'{check.state:<4}', 'bold', colour)}  {check.id:<17}  {plain(check.found)}"
    lines = wrapped_lines(found, INDENT)
    if check.state != OK and check.fix:
        lines += wrapped_lines(f"{'':<{INDENT}}{output.style('to do:', 'bold')} {plain(check.fix)}", INDENT + 2)
    return lines


def summary_line(checks: Sequence[Check]) -> str:
    """Return how many checks failed."""
    failed, warnings = (sum(check.state == state for check in checks) for state in (FAIL, WARN))
    return f"{len(checks)} checks, {failed} failed, {warnings} with warnings"


def checks_object(checks: Sequence[Check]) -> dict[str, object]:
    """Return all results."""
    return {
        "ok": all(check.state != FAIL for check in checks),
        "checks": [
            {"id": check.id, "state": check.state, "found": check.found, "fix": check.fix or None} for check in checks
        ],
    }
