"""The messages of `voiceauth-pam` to the person who logs in: one line each, never a score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from voiceauthd.client.errors import CallFailedError
from voiceauthd.errors import BusyError, LockedError, SourceError, StorageError, TooOftenError, VoiceauthError

SPEAK = "Speak now…"
HEARD = "Heard you"
RECOGNISED = "Recognised"

_NOT_RECOGNISED = "Not recognised"

_WHY: Mapping[str, str] = MappingProxyType(
    {
        "no_match": "the voice does not match",
        "ambiguous": "too close to another voice",
        "unsure": "not sure enough",
        "not_one_voice": "more than one voice",
        "no_speech": "nobody spoke",
        "too_little_speech": "too little speech",
        "too_quiet": "too quiet",
        "clipped": "the microphone is overloaded",
        "noisy": "too noisy",
        "narrow_band": "the microphone sounds like a telephone",
        "source_lost": "the microphone was lost",
        "not_audited": "it could not be recorded",
        "no_answer": "no answer in time",
        "timeout": "no answer in time",
    }
)


def not_recognised(reason: str) -> str:
    """Return the last line after the person was asked to speak. `reason`: the code of a decision or an error."""
    why = _WHY.get(reason)
    return f"{_NOT_RECOGNISED}: {why}" if why else _NOT_RECOGNISED


def unavailable(problem: VoiceauthError) -> str | None:
    """Return the line if the person was not asked to speak; None if they never enrolled or no daemon runs."""
    if isinstance(problem, LockedError):
        return f"Voice locked{_for_a_while(problem)}; use your password"
    if isinstance(problem, TooOftenError):
        return "Voice tried too often; use your password"
    if isinstance(problem, BusyError):
        return "The microphone is in use; use your password"
    if isinstance(problem, SourceError):
        return "No microphone; use your password"
    if isinstance(problem, StorageError):
        return "Your voice's profile cannot be used; use your password"
    if problem.reason == "not_demonstrated":
        return "Voice not measured well enough for this; use your password"
    return None


def _for_a_while(problem: LockedError) -> str:
    """Return " for 4 min", rounded up; "" if the daemon did not say for how long."""
    cause = problem.__cause__
    seconds = cause.parameters.get("seconds") if isinstance(cause, CallFailedError) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        return ""
    return f" for {math.ceil(seconds)} s" if seconds < 60 else f" for {math.ceil(seconds / 60)} min"
