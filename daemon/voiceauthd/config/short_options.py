"""Settings given as options of their own on a command line, such as `--source`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def with_short_options(settings: Sequence[str], options: Mapping[str, str | None]) -> list[str]:
    """Return `settings` ("key=value" each) with the options that are given, by key. These come last, and so win."""
    return [*settings, *(f"{key}={_scalar(value)}" for key, value in options.items() if value is not None)]


def _scalar(text: str) -> str:
    """Return `text` as a quoted YAML scalar, so that any file name is taken literally."""
    return "'" + text.replace("'", "''") + "'"
