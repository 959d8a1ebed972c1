"""The arguments and exit codes that commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.argument_types import seconds, whole
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import plain

if TYPE_CHECKING:
    from voiceauthd.evaluation.scoring_options import ScoringOptions


LISTENING_CODES = (ExitCode.INCONCLUSIVE, ExitCode.BUSY, ExitCode.NO_MICROPHONE, ExitCode.MODEL)
"""How a command that waits for speech may end, among others."""

RECORDING_CODES = (ExitCode.CONFIG, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE)
"""How a command that processes recordings itself may end, among others."""


def add_timeout(parser: Parser) -> None:
    """Add `--timeout`, for commands that wait for speech."""
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up after S seconds (default: the daemon's)")


def add_settings(parser: Parser, help: str) -> None:
    """Add `--set`, for commands that read the configuration."""
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help=help)


def add_model(parser: Parser) -> None:
    """Add `--model`, for every command that loads a model itself."""
    parser.add_argument("--model", metavar="NAME", help="a cached model or a folder (default: the configured one)")


def add_recordings(parser: Parser, folder: str) -> None:
    """Add the arguments of every command that processes a folder of recordings itself. folder: what it is."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help=folder)
    add_model(parser)
    parser.add_argument("--no-cache", action="store_true", help="process every recording again, and keep nothing")


def add_seed(parser: Parser) -> None:
    """Add `--seed`, for every command that draws at random."""
    parser.add_argument("--seed", metavar="S", type=whole, default=0, help="of everything random (default: 0)")


def add_scoring_output(parser: Parser, output: str, force: str) -> None:
    """Add the arguments of the commands that make a cohort. output: the kind of path. force: what is replaced."""
    parser.add_argument("--output", metavar=output, type=Path, help="write here, instead of where the daemon looks")
    parser.add_argument("--source", metavar="TEXT", help="origin and licence of the speech (default: FOLDER's name)")
    parser.add_argument("--force", action="store_true", help=force)


def scoring_options(arguments: argparse.Namespace) -> ScoringOptions:
    """Return the values of `add_recordings` and `add_scoring_output`."""
    from voiceauthd.evaluation.scoring_options import ScoringOptions

    source = plain(arguments.source if arguments.source is not None else arguments.folder.resolve().name)
    return ScoringOptions(source, arguments.output, arguments.force, not arguments.no_cache)
