"""What may come next on a command line that a shell is completing."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from voiceauthd.manuals.arguments import Argument, options_of, positionals_of
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.manual_text import Command
from voiceauthd.terminal.offers import Kind, Offer

Pair = tuple[str, str]
"""A word, and what it means."""

ParserOf = Callable[[Command], Parser]


class Candidates(NamedTuple):
    """What the shell is to offer.

    kind    files, folders and profiles are for the caller to list
    words   for `Kind.WORDS`, each with what it means
    prefix  what the word begins with before the part that is offered: "--policy="
    """

    kind: Kind
    words: tuple[Pair, ...] = ()
    prefix: str = ""


NOTHING = Candidates(Kind.NOTHING)

_ANYWHERE = (("--help", "show the manual"), ("--version", "print the version"))


def command_candidates(words: Sequence[str], commands: Sequence[Command], parser_of: ParserOf) -> Candidates:
    """Return what may stand in the place of the last of `words`, which follow `voiceauth`.

    commands   all there are
    parser_of  gives the parser of one of them
    """
    names = tuple((command.name, command.summary) for command in commands)
    if len(words) == 1:
        return _words(_ANYWHERE if words[0].startswith("-") else (*names, ("help", "show the manual of a command")))
    if words[0] == "help":
        return _words(names if len(words) == 2 else ())
    command = next((entry for entry in commands if entry.name == words[0]), None)
    if command is None:
        return NOTHING
    parser, rest = parser_of(command), words[1:]
    if parser.actions:
        if len(rest) == 1 and not rest[0].startswith("-"):
            return _words(tuple((name, summary) for name, summary in parser.action_summaries.items()))
        if rest[0] not in parser.actions:
            return argument_candidates(rest, parser) if len(rest) == 1 else NOTHING
        parser, rest = parser.actions[rest[0]], rest[1:]
    return argument_candidates(rest, parser)


def argument_candidates(words: Sequence[str], parser: argparse.ArgumentParser) -> Candidates:
    """Return what may stand in the place of the last of `words`, which follow the command that `parser` reads."""
    options = {name: option for option in options_of(parser) for name in option.names}
    line = _Line(options)
    for word in words[:-1]:
        line.add(word)
    last = words[-1]
    if line.awaited is not None and not (line.optional and last.startswith("-")):
        return _offered(line.awaited.offer)
    name, equals, _ = last.partition("=")
    if equals and name in options and options[name].placeholder and not line.only_arguments:
        return _offered(options[name].offer, f"{name}=")
    if last.startswith("-") and not line.only_arguments:
        return _words(line.remaining_options())
    place = line.count
    for argument in positionals_of(parser):
        if argument.most is None or place < argument.most:
            return _offered(argument.offer)
        place -= argument.most
    return _words(() if line.only_arguments else line.remaining_options())


class _Line:
    """What the words before the last one mean.

    awaited         the option whose value comes next; `optional`: or anything else
    count           how many arguments without a name there were
    only_arguments  whether there was a --, after which nothing is an option
    """

    def __init__(self, options: Mapping[str, Argument]) -> None:
        self.awaited: Argument | None = None
        self.optional = False
        self.count = 0
        self.only_arguments = False
        self._options = options
        self._excluded: set[str] = set()

    def add(self, word: str) -> None:
        """Add the next word."""
        if self.awaited is not None and not (self.optional and word.startswith("-")):
            if self.awaited.most is None:
                self.optional = True
            else:
                self.awaited = None
            return
        if self.only_arguments or not word.startswith("-") or word == "-":
            self.count += 1
            return
        self.awaited = None
        if word == "--":
            self.only_arguments = True
            return
        name, equals, _ = word.partition("=")
        option = self._options.get(name)
        if option is not None:
            self._excluded |= option.excludes
            self.awaited, self.optional = (option if option.placeholder and not equals else None), False

    def remaining_options(self) -> tuple[Pair, ...]:
        """Return the options that may still be given, by their long names if they have one."""
        return tuple(
            (name, option.help)
            for name, option in self._options.items()
            if name not in self._excluded and (name.startswith("--") or len(option.names) == 1)
        )


def _offered(offer: Offer, prefix: str = "") -> Candidates:
    return Candidates(offer.kind, tuple((word, "") for word in offer.words), prefix)


def _words(words: Sequence[Pair]) -> Candidates:
    return Candidates(Kind.WORDS, tuple(words))
