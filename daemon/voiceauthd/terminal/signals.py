"""Signals that must end a command in an orderly way."""

from __future__ import annotations

import signal
from typing import NoReturn


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that the command can stop its child processes first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)


def _exit(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
