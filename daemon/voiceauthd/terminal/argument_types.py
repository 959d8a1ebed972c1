"""Numbers on a command line, as `type` of an `argparse` argument."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    """Return a positive, finite number of seconds. Raises `argparse.ArgumentTypeError`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 86_400.0:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0 and under a day: {text!r}")
    return value


def count(text: str) -> int:
    """Return a whole number above 0. Raises `argparse.ArgumentTypeError`."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def whole(text: str) -> int:
    """Return a whole number, 0 or more. Raises `argparse.ArgumentTypeError`."""
    if not (text.isascii() and text.isdigit() and int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"not a whole number from 0 to 999999: {text!r}")
    return int(text)
