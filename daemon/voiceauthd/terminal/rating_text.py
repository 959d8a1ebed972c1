"""A profile's quality in words: the `rating` of type Profile."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from voiceauthd.terminal.event_lines import number
from voiceauthd.terminal.output import Output, plain

_COLOURS = {"good": "green", "fair": "yellow", "poor": "red"}


def grade(profile: Mapping[str, Any], output: Output) -> str:
    """Return the grade and its grounds on one line; a hyphen if the daemon does not rate."""
    rating = profile.get("rating") or {}
    word = plain(rating.get("grade") or "-")
    grounds = []
    if rating.get("agreement") is not None:
        grounds.append(f"exemplars agree by {number(rating['agreement'], '.2f')}")
    if rating.get("snr_db") is not None:
        grounds.append(f"SNR {number(rating['snr_db'], '.0f')} dB")
    styled = output.style(word, "bold", _COLOURS.get(word, "dim"))
    return f"{styled} ({', '.join(grounds)})" if grounds else styled


def advice(profile: Mapping[str, Any]) -> list[str]:
    """Return how to improve the profile, most important first; the commands can be run as they are."""
    name = shlex.quote(plain(profile.get("name")))
    rating = profile.get("rating") or {}
    return [plain(each).replace("enroll NAME", f"enroll {name}") for each in rating.get("advice") or ()]
