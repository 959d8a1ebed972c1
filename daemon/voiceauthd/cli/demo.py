"""`voiceauth demo`: two people, a stranger and the real daemon, in real time."""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path
from typing import NoReturn

from voiceauthd.cli.arguments import Parser, add_json
from voiceauthd.errors import ExitCode, StorageError, UsageError
from voiceauthd.terminal.output import Output

_EXAMPLES = """
voiceauth demo
voiceauth demo --keep /tmp/demo      keep the socket's folder: configuration, profiles, log
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth demo`."""
    parser.explain(
        "Start the real daemon on a private socket, enrol two people from recordings, play a conversation of these\n"
        "two and a stranger into it in real time, and print every event as it comes from the socket: who speaks, how\n"
        "sure, how late. Then one verification that must accept, and one that must reject. The voices are synthetic.\n"
        "Takes about a minute; needs the model `campplus` (`voiceauth model fetch campplus`), no microphone.\n"
        "Ends with 0 only if every decision was right.",
        _EXAMPLES,
        (ExitCode.REJECT, ExitCode.MODEL, ExitCode.STORAGE, ExitCode.NOT_RUNNING),
    )
    parser.add_argument("--keep", metavar="DIR", help="work in this new folder, and leave it there")
    add_json(parser, "print events, verdicts and the summary as objects, one a line")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Runs the demo in a temporary folder, or in the one to keep."""
    from voiceauthd.demo.play import perform

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # what ends the demo must end its daemon first
    if arguments.keep is None:
        with tempfile.TemporaryDirectory(prefix="voiceauth-demo-") as temporary:
            return perform(Path(temporary), output)
    folder = Path(arguments.keep).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as problem:
        raise StorageError(f"cannot use {folder}: {problem.strerror or problem}") from problem
    if occupied:
        raise UsageError(f"{folder} is not empty: --keep wants a new folder")
    return perform(folder, output)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
