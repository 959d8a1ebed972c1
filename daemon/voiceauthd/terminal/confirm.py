"""A question that must be answered with yes before something is done."""

from __future__ import annotations

import sys

from voiceauthd.errors import UsageError


def confirm(question: str, option: str, otherwise: str) -> None:
    """Ask on the terminal. Raises `UsageError` without a terminal, and for any answer but yes.

    option     what to pass instead: "--yes to delete"
    otherwise  what did not happen, if the answer is not yes
    """
    if not sys.stdin.isatty():
        raise UsageError(f"cannot ask for confirmation without a terminal: pass {option} without asking")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError(otherwise, "not_confirmed")
