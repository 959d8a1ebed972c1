"""The command line of one command: a parser whose complaints are `UsageError`s, and the arguments commands share."""

from __future__ import annotations

import argparse
from typing import NoReturn

from voiceauthd.cli.manual import exit_codes
from voiceauthd.errors import ExitCode, UsageError

_EVERYWHERE = (ExitCode.USAGE, ExitCode.INTERNAL)
_CLIENT = (ExitCode.NOT_RUNNING, ExitCode.DENIED)


class Parser(argparse.ArgumentParser):
    """An `argparse` parser for one command or sub-command, which raises instead of ending the process."""

    def __init__(self, prog: str, **rest: object) -> None:
        super().__init__(prog=prog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.description = str(rest.get("description", "")) or None

    def error(self, message: str) -> NoReturn:
        """Raises `UsageError`."""
        raise UsageError(f"{message} (`{self.prog} --help` explains)")

    def explain(self, description: str, examples: str, codes: tuple[ExitCode, ...], *, client: bool = False) -> None:
        """Says what the command is for, shows examples of it, and lists how it may end.

        client: the command speaks to the daemon, so it may also find none, or be denied.
        """
        found = {ExitCode.OK, *codes, *_EVERYWHERE, *(_CLIENT if client else ())}
        self.description = description
        indented = "\n".join(f"  {line}" for line in examples.strip().splitlines())
        self.epilog = f"examples:\n{indented}\n\nexit codes:\n{exit_codes(tuple(sorted(found)))}"


def seconds(text: str) -> float:
    """A positive, finite number of seconds. Raises `argparse.ArgumentTypeError`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 86_400.0:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0 and under a day: {text!r}")
    return value


def count(text: str) -> int:
    """A whole number above 0. Raises `argparse.ArgumentTypeError`."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0 on. Raises `argparse.ArgumentTypeError`."""
    if not (text.isascii() and text.isdigit() and int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"not a whole number from 0 to 999999: {text!r}")
    return int(text)


def add_socket(parser: argparse.ArgumentParser) -> None:
    """`--socket`, for every command that speaks to the daemon."""
    parser.add_argument(
        "--socket", metavar="PATH", help="the daemon's socket (default: $VOICEAUTHD_SOCKET, else found)"
    )


def add_json(parser: argparse.ArgumentParser, what: str = "print one JSON object, and nothing else") -> None:
    """`--json`, for every command whose answer a program may read."""
    parser.add_argument("--json", action="store_true", help=what)


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`, for every command that loads a model itself."""
    parser.add_argument("--model", metavar="NAME", help="a cached model or a folder (default: the configuration's)")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """`--seed`, for every command that draws."""
    parser.add_argument("--seed", metavar="S", type=whole, default=0, help="of all that is drawn (default: 0)")


def add_no_cache(parser: argparse.ArgumentParser) -> None:
    """`--no-cache`, for every command that hears recordings."""
    parser.add_argument("--no-cache", action="store_true", help="hear everything anew, and keep nothing")
