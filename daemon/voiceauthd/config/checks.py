"""Checks between settings: values that are each allowed, but contradict each other."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from voiceauthd.config.keys import keys, value_of, written
from voiceauthd.config.schema import Config

MAX_SOCKET_PATH = 107
"""Bytes of a socket's path: `sun_path` of Linux has 108, including the terminating zero."""


@dataclass(frozen=True, slots=True)
class _AtMost:
    """`small` must not exceed `large`. `otherwise`: what would happen if it did."""

    small: str
    large: str
    otherwise: str


_ORDER = (
    _AtMost("speech.first", "speech.window", "the first window must not be longer than the others"),
    _AtMost("speech.hop", "speech.window", "speech between two windows would be lost"),
    _AtMost("speech.min_speech", "speech.first", "the first window could never hold enough speech"),
    _AtMost("audio.backoff", "audio.backoff_limit", "the first delay must not exceed the longest"),
    _AtMost("verify.speech", "verify.max_speech", "it would end before the first decision"),
    _AtMost("verify.speech", "verify.timeout", "it would always time out first"),
    _AtMost("decision.min_speech", "verify.speech", "the first decision would always be that there is too little"),
    _AtMost("policies.unlock", "policies.monitor", "the stricter policy would accept more strangers"),
    _AtMost("policies.auth", "policies.unlock", "the stricter policy would accept more strangers"),
    _AtMost("enroll.speech", "enroll.timeout", "it would always time out first"),
    _AtMost("socket.connections_per_user", "socket.connections", "one user cannot have more than all together"),
)


def contradictions(config: Config, wrong: Collection[str]) -> list[str]:
    """Return the contradictions in `config`, one line each, without those about the refused keys in `wrong`."""
    origins = dict(config.origins)
    found = [_violation(config, rule, origins) for rule in _ORDER if not {rule.small, rule.large} & set(wrong)]
    return [problem for problem in (*found, *_others(config, wrong, origins)) if problem]


def _violation(config: Config, rule: _AtMost, origins: dict[str, str]) -> str:
    small, large = keys()[rule.small], keys()[rule.large]
    low, high = value_of(config, small), value_of(config, large)
    if isinstance(low, int | float) and isinstance(high, int | float) and low <= high:
        return ""
    # Blame a key that was set, not one at its default.
    blamed = small if small.path in origins else large
    other = large if blamed is small else small
    relation = "at most" if blamed is small else "at least"
    mine, limit = written(value_of(config, blamed), blamed), written(value_of(config, other), other)
    place = origins.get(other.path, "the default")
    return (
        f"{origins.get(blamed.path, 'default')}: {blamed.path}: found {mine}; "
        f"allowed: {relation} {other.path}, which is {limit} ({place}); {rule.otherwise}"
    )


def _others(config: Config, wrong: Collection[str], origins: dict[str, str]) -> list[str]:
    found = []
    if not {"speech.onset", "speech.frame_ms"} & set(wrong) and config.speech.onset < config.speech.frame_ms / 1000:
        path = "speech.onset" if "speech.onset" in origins else "speech.frame_ms"
        found.append(
            f"{origins.get(path, 'default')}: {path}: speech.onset ({config.speech.onset:g} s) is shorter than one "
            f"frame ({config.speech.frame_ms} ms); allowed: at least as long"
        )
    enroll, shortest = config.enroll, config.speech.min_speech
    takes = enroll.exemplars * shortest
    involved = ("enroll.timeout", "enroll.exemplars", "speech.min_speech")
    if not set(involved) & set(wrong) and takes > enroll.timeout:
        path = next((path for path in involved if path in origins), "enroll.timeout")
        found.append(
            f"{origins.get(path, 'default')}: {path}: {enroll.exemplars} takes of {shortest:g} s do not fit into "
            f"enroll.timeout ({enroll.timeout:g} s); allowed: at least {takes:g} s"
        )
    size = len(os.fsencode(config.socket.path or ""))
    if size > MAX_SOCKET_PATH:
        found.append(
            f"{origins.get('socket.path', 'default')}: socket.path: found a path of {size} bytes; "
            f"allowed: at most {MAX_SOCKET_PATH}, a limit of the system"
        )
    return found
