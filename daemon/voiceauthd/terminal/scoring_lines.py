"""A model's cohort, calibration and policies as lines for a person.

The descriptions come from `evaluation.describe_scoring`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceauthd.config.schema import Config
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.status_rows import rate

Description = Mapping[str, Any]


def show_scoring(model: object, scoring: Description, config: Config, output: Output, origin: str = "") -> None:
    """Print the model, where its cohort and calibration come from, what they are, and which policies they support."""
    cohort = scoring["cohort"]
    output.line(f"model        {plain(model)}")
    if origin:
        output.line(f"origin       {origin}")
    output.wrapped(f"cohort       {_cohort(cohort)}", indent=13)
    for line in _calibration(scoring["calibration"], cohort):
        output.wrapped(line, indent=13)
    for policy in scoring["policies"]:
        output.line(f"policy       {_policy(policy, output)}")
    if config.decision.threshold is not None:
        warn(["decision.threshold is set, so decisions are by cosine: set it to null"], output)


def origin_text(origin: str, folder: object) -> str:
    """Say where the cohort comes from (own, shipped or none). folder: of files made on this machine."""
    own = plain(folder)
    texts = {"own": f"made on this machine: {own}", "shipped": "came with voiceauthd"}
    return texts.get(origin, f"nothing in {own}, and nothing came with voiceauthd")


def show_cohort(cohort: Description, files: Sequence[Path], output: Output, *, in_use: bool) -> None:
    """Print a new cohort and its files. in_use: they are where the daemon looks."""
    output.wrapped(f"cohort       {_cohort(cohort)}", indent=13)
    show_files(files, output, in_use=in_use)
    if in_use:
        output.line(f"Uncalibrated until `voiceauth calibrate FOLDER --cohort {plain(files[0])}`.")


def show_files(files: Iterable[Path], output: Output, *, in_use: bool) -> None:
    """Print where the files are, and how the daemon starts to use them if they are where it looks."""
    for path in files:
        output.wrapped(f"wrote        {plain(path)}", indent=13)
    if in_use:
        whose = "the daemon" if os.geteuid() == 0 else "a daemon of this user"
        output.line(f"`voiceauth reload` makes {whose} use it.")


def warn(warnings: Iterable[str], output: Output) -> None:
    """Print one line per warning on standard error, whatever the mode."""
    for warning in warnings:
        output.note(f"voiceauth: warning: {plain(warning)}")


def _cohort(cohort: Description | None) -> str:
    if cohort is None:
        return "none: scores are not normalised"
    return f"{cohort['speakers']} speakers{_from(cohort['sources'])}"


def _calibration(calibration: Description | None, cohort: Description | None) -> list[str]:
    if calibration is None:
        return ["calibration  none: uncalibrated; scores stand for no error rate"]
    trials = calibration["trials"]
    same = cohort is not None and cohort["sources"] == calibration["sources"]
    return [
        f"calibration  {calibration['speakers']} speakers, {trials['target']:,} target and "
        f"{trials['nontarget']:,} non-target trials" + ("" if same else _from(calibration["sources"])),
        f"             {trials['pairs']:,} pairs of people: the independent trials",
        f"             Cllr {calibration['cllr']:.3f}, minCllr {calibration['mincllr']:.3f} bits, measured on people "
        "left out of the fit",
    ]


def _policy(policy: Description, output: Output) -> str:
    aim = f"{plain(policy['name']):<8} aims at {rate(policy['false_accepts'])} false accepts"
    if policy["supported"] is None:
        return f"{aim}; {output.style('uncalibrated', 'yellow')}"
    word, colour = ("demonstrated", "green") if policy["demonstrated"] else ("not demonstrated", "yellow")
    return f"{aim}; {output.style(word, colour)}: {rate(policy['supported'])}"


def _from(sources: Iterable[str]) -> str:
    text = "; ".join(plain(source) for source in sources)
    return f": {text}" if text else ""
