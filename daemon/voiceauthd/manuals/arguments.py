"""The options and other arguments of a parser, as a man page and a completion need them."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from voiceauthd.terminal.offers import Offer, offer_of


class Argument(NamedTuple):
    """An option, or an argument without a name.

    names        of an option, such as "-h" and "--help"; none for another argument
    placeholder  of its value, such as "FILE"; "" for a switch
    help         what `--help` says about it
    most         how many values may follow; None: any number
    offer        what a shell offers for its value
    excludes     options that may not follow it, mostly itself
    """

    names: tuple[str, ...]
    placeholder: str
    help: str
    most: int | None
    offer: Offer
    excludes: frozenset[str]


def arguments_of(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """Return the arguments in the order of `--help`, without the sub-commands."""
    formatter = parser._get_formatter()
    return tuple(
        Argument(
            tuple(action.option_strings),
            "" if action.nargs == 0 else formatter._metavar_formatter(action, _default_placeholder(action))(1)[0],
            "" if not action.help else formatter._expand_help(action),
            _most(action.nargs),
            offer_of(action),
            _excludes(parser, action),
        )
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction)
    )


def options_of(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """Return the arguments that have names."""
    return tuple(argument for argument in arguments_of(parser) if argument.names)


def positionals_of(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """Return the arguments that have none."""
    return tuple(argument for argument in arguments_of(parser) if not argument.names)


def _default_placeholder(action: argparse.Action) -> str:
    return action.dest.upper() if action.option_strings else action.dest


def _most(nargs: int | str | None) -> int | None:
    if isinstance(nargs, int):
        return nargs
    return None if nargs in {"*", "+"} else 1


def _excludes(parser: argparse.ArgumentParser, action: argparse.Action) -> frozenset[str]:
    if not action.option_strings:
        return frozenset()
    groups = [group._group_actions for group in parser._mutually_exclusive_groups if action in group._group_actions]
    others = {name for group in groups for other in group if other is not action for name in other.option_strings}
    own = set() if isinstance(action, argparse._AppendAction) else set(action.option_strings)
    return frozenset(others | own)
