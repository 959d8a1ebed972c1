"""The effective settings as an object for a program."""

from __future__ import annotations

from pathlib import Path

from voiceauthd.config.document import effective
from voiceauthd.config.keys import value_of
from voiceauthd.config.schema import Config


def settings_object(config: Config) -> dict[str, object]:
    """Return the value of each key, and where it was set."""
    values: dict[str, object] = {}
    for key, _, origin in effective(config):
        value = value_of(config, key)
        values[key.path] = {"value": str(value) if isinstance(value, Path) else value, "origin": origin}
    return values
