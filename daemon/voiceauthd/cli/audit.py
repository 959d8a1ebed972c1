"""`voiceauth audit`: who did what, and whether the log of it is whole."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.cli.arguments import Parser, add_json, count
from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.audit.line import Line
    from voiceauthd.audit.verify import Anchor

_DESCRIPTION = """\
Show who did what, to whose voice, and what came of it; or check that nothing was changed or removed (--verify).
For root, and for the user whom the daemon runs as. Needs no daemon. Times are UTC."""

_EXAMPLES = """
voiceauth audit
voiceauth audit --since 1h --outcome denied
voiceauth audit --event Verify --name alice --json | jq -r .outcome
voiceauth audit --verify && echo "nothing was changed"
voiceauth audit --verify --anchor 1234:9f2c…
"""

_CODES = (ExitCode.STORAGE, ExitCode.DENIED, ExitCode.CONFIG)

LAST = 20
"""Lines that are shown unless --last, --since or --until says otherwise."""

POLL = 0.5
"""Seconds between two looks with --follow."""

_AGO = re.compile(r"\A([0-9]{1,9})([smhdw])\Z")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_COLOURS = {
    "accept": "green",
    "known": "green",
    "reject": "yellow",
    "denied": "red",
    "failed": "red",
    "refused": "yellow",
}


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth audit`."""
    parser.explain(_DESCRIPTION, _EXAMPLES, _CODES)
    parser.add_argument("--verify", action="store_true", help="check the whole log, and tell what is wrong with it")
    parser.add_argument(
        "--anchor",
        metavar="SEQ:HASH",
        type=_anchor,
        help="with --verify: the line SEQ must still have this hash, which --verify has told before",
    )
    parser.add_argument("--since", metavar="WHEN", type=_when, help="a date, a time, or how long ago: 90s, 30m, 1h, 7d")
    parser.add_argument("--until", metavar="WHEN", type=_when, help="the same, for the end")
    parser.add_argument("--event", metavar="E", help="Verify, Enroll, ExportProfile, start…; in any case")
    parser.add_argument("--name", metavar="NAME", help="about this voice")
    parser.add_argument("--user", metavar="USER", help="done by this user: a name or a uid")
    parser.add_argument("--outcome", metavar="O", help="accept, reject, inconclusive, done, denied, refused…")
    parser.add_argument("--last", metavar="N", type=count, help=f"the last N of them (default: {LAST} without a WHEN)")
    parser.add_argument("--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--folder", metavar="FOLDER", help="the log (default: that of the configuration)")
    add_json(parser, "print JSON objects, one a line; with --verify one")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Shows or verifies, as `arguments` say."""
    if arguments.anchor is not None and not arguments.verify:
        raise UsageError("--anchor goes with --verify (`voiceauth audit --help` explains)")
    folder = Path(arguments.folder) if arguments.folder is not None else _folder()
    if arguments.verify:
        return _verify(folder, arguments.anchor, output)
    for line in _chosen(folder, arguments):
        if output.as_json:  # in ASCII: some texts are a caller's, and may be no valid Unicode
            output.raw(json.dumps(line.object()) + "\n")
        output.line(_shown(line, output))
        if output.closed:
            break
    return ExitCode.OK


def _folder() -> Path:
    from voiceauthd.config.load import find_config, load_config
    from voiceauthd.config.resolve import state_folder

    return state_folder(load_config(find_config(None, os.environ))) / "audit"


# Showing


def _chosen(folder: Path, arguments: argparse.Namespace) -> Iterator[Line]:
    from voiceauthd.audit.reading import read

    wanted = _filter(arguments)
    limit = arguments.last
    if limit is None and arguments.since is None and arguments.until is None:
        limit = LAST
    seen = 0

    def matching() -> Iterator[Line]:
        nonlocal seen
        for line in read(folder, seen + 1):
            seen = max(seen, line.seq)
            if wanted(line):
                yield line

    yield from matching() if limit is None else deque(matching(), limit)
    for _ in numbers() if arguments.follow else ():
        time.sleep(POLL)
        yield from matching()


def _filter(arguments: argparse.Namespace) -> Callable[[Line], bool]:
    """Whether a line is one of those that were asked for."""

    def same(wanted: str | None, *found: object) -> bool:
        return wanted is None or wanted.casefold() in {str(text).casefold() for text in found if text is not None}

    def chosen(line: Line) -> bool:
        entry = line.entry
        at = datetime.fromisoformat(line.time)
        return (
            (arguments.since is None or at >= arguments.since)
            and (arguments.until is None or at <= arguments.until)
            and same(arguments.event, entry.event)
            and same(arguments.outcome, entry.outcome)
            and same(arguments.name, entry.name)
            and same(arguments.user, entry.user, entry.uid)
        )

    return chosen


def _shown(line: Line, output: Output) -> str:
    """Time, who, what, about whom, outcome and reason."""
    entry = line.entry
    who = "the daemon" if entry.uid is None else f"{entry.user or '?'} ({entry.uid})"
    outcome = plain(f"{entry.outcome:<12}")
    parts = [
        line.time[:19].replace("T", " "),
        plain(f"{who:<18}"),
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


# Verifying


def _verify(folder: Path, anchor: Anchor | None, output: Output) -> int:
    from voiceauthd.audit.verify import verify

    verdict = verify(folder, anchor)
    output.object(
        {
            "whole": verdict.whole,
            "folder": str(folder),
            "lines": verdict.lines,
            "first": verdict.first,
            "last": verdict.last,
            "hash": verdict.hash,
            "files": verdict.files,
            "damage": [
                {"kind": one.kind, "file": one.file, "line": one.line, "text": one.text} for one in verdict.damage
            ],
            "more": verdict.more,
            "torn": list(verdict.torn),
        }
    )
    for place in verdict.torn:
        output.line(f"{plain(folder / place)}: torn by a crash or a full disk; no damage")
    for one in verdict.damage:
        place = f"{one.file}:{one.line}" if one.line else one.file
        output.line(f"{plain(folder / place)}: {output.style(plain(one.kind), 'red')}: {plain(one.text)}")
    if verdict.more:
        output.line(f"and {verdict.more} more")
    if not verdict.whole:
        output.line(f"the audit log is {output.style('damaged', 'red')}; docs/audit.md tells what that means")
        return ExitCode.STORAGE
    if verdict.last is None:
        output.line("nothing is recorded yet")
        return ExitCode.OK
    kept = f"kept from line {verdict.first} on, in {verdict.files} file{'s' if verdict.files != 1 else ''}"
    output.line(f"{output.style('whole', 'green')}: {verdict.lines} line{'s' if verdict.lines != 1 else ''}, {kept}")
    output.line(f"the last: {verdict.last}:{verdict.hash}")
    return ExitCode.OK


# Arguments


def _when(text: str) -> datetime:
    """A moment. A date or a time without a zone is local. Raises `argparse.ArgumentTypeError`."""
    ago = _AGO.match(text)
    try:
        if ago is not None:
            return datetime.fromtimestamp(time.time() - int(ago.group(1)) * _SECONDS[ago.group(2)], UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"neither a time like 2026-01-31T12:00 nor like 1h: {text!r}") from None


def _anchor(text: str) -> Anchor:
    """Raises `argparse.ArgumentTypeError`."""
    from voiceauthd.audit.verify import Anchor

    found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"not SEQ:HASH, as --verify tells it: {text!r}")
    return Anchor(int(found.group(1)), found.group(2))
