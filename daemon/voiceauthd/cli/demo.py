"""Start the real daemon on a private socket, enrol two people from recordings,
play it a conversation of these two and a stranger in real time, and print every
event as it arrives from the socket: who speaks, how sure, how late. Then one
verification that must accept, and one that must reject. The voices are
synthetic. Takes about a minute; needs the model `campplus` (`voiceauth model
fetch campplus`), no microphone. Ends with 0 only if every decision was right.

examples:
  voiceauth demo
  voiceauth demo --keep /tmp/demo      keep configuration, profiles and log
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from voiceauthd.errors import ExitCode, StorageError, UsageError
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.signals import exit_on_signals


def configure(parser: Parser) -> None:
    codes = (ExitCode.REJECT, ExitCode.MODEL, ExitCode.STORAGE, ExitCode.NOT_RUNNING)
    parser.explain_command(__doc__, codes, json="print events, verdicts and the summary as objects, one a line")
    parser.add_argument("--keep", metavar="DIR", help="work in this new folder, and keep it")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run the demo in a temporary folder, or in the one to keep."""
    from voiceauthd.demo.run import run_demo

    exit_on_signals()
    if arguments.keep is None:
        with tempfile.TemporaryDirectory(prefix="voiceauth-demo-") as temporary:
            return run_demo(Path(temporary), output)
    folder = Path(arguments.keep).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as problem:
        raise StorageError(f"cannot use {folder}: {problem.strerror or problem}") from problem
    if occupied:
        raise UsageError(f"{folder} is not empty: --keep needs a new folder")
    return run_demo(folder, output)
