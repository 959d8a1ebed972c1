"""Enrolled profiles (type Profile of the interface) as lines for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from voiceauthd.terminal.event_lines import number
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.rating_text import advice, grade

Profile = Mapping[str, Any]


def profile_table(profiles: Sequence[Profile], output: Output) -> list[str]:
    """Return a heading and one line per profile; for none, a hint."""
    if not profiles:
        return ["nobody is enrolled; start with `voiceauth enroll NAME`"]
    width = max(4, *(len(plain(profile["name"])) for profile in profiles))
    heading = output.style(f"{'name':<{width}}  exemplars  speech  updated               conditions", "bold")
    return [heading, *(_row(profile, width, output) for profile in profiles)]


def profile_lines(profile: Profile, output: Output) -> list[str]:
    """Return everything about one profile, a line each, and the advice on how to improve it."""
    owner = profile.get("owner_uid")
    rows = [
        ("name", output.style(plain(profile["name"]), "bold")),
        ("usable", "yes" if profile["usable"] else f"no: {plain(profile.get('problem'))}"),
        *([("locked", _locked(profile))] if profile.get("locked_for") is not None else []),
        ("quality", grade(profile, output) if profile["usable"] else "-"),
        ("exemplars", f"{profile['exemplars']}, {number(profile['net_speech'], '.1f')} s of speech"),
        ("conditions", _conditions(profile) or "-"),
        ("model", plain(profile.get("model") or "-")),
        ("owner", "no user of this machine" if owner is None else f"uid {owner}"),
        ("created", plain(profile.get("created") or "-")),
        ("updated", plain(profile.get("updated") or "-")),
        *(("" if index else "better", sentence) for index, sentence in enumerate(advice(profile))),
    ]
    return [f"{label:<10} {text}" for label, text in rows]


def _row(profile: Profile, width: int, output: Output) -> str:
    name = f"{plain(profile['name']):<{width}}"
    if not profile["usable"]:
        return f"{name}  {output.style('refused', 'red')}: {plain(profile.get('problem'))}"
    updated = plain(profile.get("updated") or "-")[:20]
    return f"{name}  {profile['exemplars']:>9}  {profile['net_speech']:>4.0f} s  {updated:<20}  {_conditions(profile)}"


def _conditions(profile: Profile) -> str:
    return ", ".join(plain(condition) for condition in profile["conditions"])


def _locked(profile: Profile) -> str:
    name = shlex.quote(plain(profile["name"]))
    seconds = number(profile["locked_for"], ".0f")
    return f"for {seconds} s, after too many failures (as root: `voiceauth profiles unlock {name}`)"
