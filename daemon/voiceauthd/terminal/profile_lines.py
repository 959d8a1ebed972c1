"""Enrolled profiles (type Profile of the interface) as lines for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from voiceauthd.terminal.event_lines import number
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.rating_text import advice, grade

Profile = Mapping[str, Any]

LABEL_WIDTH = 11
"""Columns of a label in `profile_lines`, with the space after it."""


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
    return [f"{label:<{LABEL_WIDTH - 1}} {text}" for label, text in rows] + exemplar_table(profile)


def exemplar_table(profile: Profile) -> list[str]:
    """Return a heading and one line per exemplar; nothing if the daemon does not list them.

    The column of agreement is left out for callers who may not see it.
    """
    exemplars = profile.get("exemplar_list") or ()
    if not exemplars:
        return []
    agree = any(exemplar.get("agreement") is not None for exemplar in exemplars)
    heading = f"{'exemplar':>8}  speech    SNR  {'agrees  ' if agree else ''}recorded              condition"
    return [heading, *(_exemplar(index, exemplar, agree) for index, exemplar in enumerate(exemplars, 1))]


def _exemplar(position: int, exemplar: Mapping[str, Any], agree: bool) -> str:
    speech, snr = number(exemplar.get("net_speech"), "4.1f"), number(exemplar.get("snr_db"), "2.0f", " -")
    agreement = f"{number(exemplar.get('agreement'), '6.2f', '     -')}  " if agree else ""
    recorded = f"{plain(exemplar.get('recorded') or '-')[:20]:<20}"
    return f"{position:>8}  {speech} s  {snr} dB  {agreement}{recorded}  {plain(exemplar.get('condition') or '-')}"


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
    return f"for {seconds} s after failures; as root: `voiceauth profiles unlock {name}`"
