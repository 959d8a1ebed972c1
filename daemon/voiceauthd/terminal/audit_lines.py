"""The audit log, and the verdict on it, as lines for a person and as objects for a program."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from voiceauthd.audit.line import Line
from voiceauthd.audit.verify import Verdict
from voiceauthd.terminal.event_lines import counted
from voiceauthd.terminal.output import Output, plain

_COLOURS = {
    "accept": "green",
    "known": "green",
    "reject": "yellow",
    "denied": "red",
    "failed": "red",
    "refused": "yellow",
}


def audit_line(line: Line, output: Output) -> str:
    """Return time, user, event, voice, outcome and reason."""
    entry = line.entry
    user = "the daemon" if entry.uid is None else f"{entry.user or '?'} ({entry.uid})"
    outcome = plain(f"{entry.outcome:<12}")
    parts = [
        line.time[:19].replace("T", " "),
        plain(f"{user:<18}"),
        plain(f"{entry.event:<13}"),
        plain(f"{entry.name or '-':<12}"),
        output.style(outcome, *([_COLOURS[entry.outcome]] if entry.outcome in _COLOURS else [])),
        plain(entry.reason),
    ]
    if entry.detail is not None:
        parts.append(f"[{plain(entry.detail)}]")
    if entry.count != 1:
        parts.append(f"{entry.count} times")
    return "  ".join(part for part in parts if part)


def verdict_object(folder: Path, verdict: Verdict) -> dict[str, object]:
    """Return what verifying the log in `folder` found, for a program."""
    return {
        "whole": verdict.whole,
        "folder": str(folder),
        "lines": verdict.lines,
        "first": verdict.first,
        "last": verdict.last,
        "hash": verdict.hash,
        "files": verdict.files,
        "damage": [asdict(damage) for damage in verdict.damage],
        "more": verdict.more,
        "torn": list(verdict.torn),
    }


def verdict_lines(folder: Path, verdict: Verdict, output: Output) -> list[str]:
    """Return what verifying the log in `folder` found, for a person."""
    lines = [f"{plain(folder / place)}: torn by a crash or a full disk; no damage" for place in verdict.torn]
    for damage in verdict.damage:
        place = f"{damage.file}:{damage.line}" if damage.line else damage.file
        lines.append(f"{plain(folder / place)}: {output.style(plain(damage.kind), 'red')}: {plain(damage.text)}")
    if verdict.more:
        lines.append(f"and {verdict.more} more")
    if not verdict.whole:
        return [*lines, f"the audit log is {output.style('damaged', 'red')}; docs/audit.md explains what that means"]
    if verdict.last is None:
        return [*lines, "nothing is recorded yet"]
    kept = f"kept from line {verdict.first} on, in {counted(verdict.files, 'file')}"
    lines.append(f"{output.style('whole', 'green')}: {counted(verdict.lines, 'line')}, {kept}")
    return [*lines, f"the last: {verdict.last}:{verdict.hash}"]
