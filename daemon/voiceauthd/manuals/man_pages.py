"""The man pages: one for `voiceauth`, one for each of its commands, one for the daemon."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from voiceauthd.errors import ExitCode
from voiceauthd.manuals import roff
from voiceauthd.manuals.arguments import Argument, options_of, positionals_of
from voiceauthd.manuals.candidates import ParserOf
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.exit_meanings import EXIT_MEANINGS, INTERRUPTED
from voiceauthd.terminal.manual_text import CLOSING, EXAMPLES, OPENING, Command

_HEADING = re.compile(r"^([A-Z]\w+):\n", re.MULTILINE)
_ROW = re.compile(r"((?:  ){1,2}\S+)  +(\S.*)")
_USAGE_WIDTH = 10_000
"""So that argparse does not break the line."""


class Edition(NamedTuple):
    """What every page says at its edge: the date, such as "2026-01-31", and the version."""

    date: str
    version: str


def overview_page(commands: Sequence[Command], edition: Edition) -> str:
    """Return the page voiceauth(1)."""
    opening = dict(_headed(OPENING))
    usage, _, description = opening.pop("Usage").partition("\n\n")
    summary = opening[""].strip().partition(": ")[2]
    lines = [roff.title("voiceauth", 1, *edition), *_name("voiceauth", summary), roff.section("SYNOPSIS"), ".nf"]
    lines += [roff.synopsis("voiceauth", line.split("  ")[0].strip().partition(" ")[2]) for line in _dedented(usage)]
    lines += [".fi", roff.section("DESCRIPTION"), *roff.paragraphs(description), roff.section("COMMANDS")]
    for group in dict.fromkeys(command.group for command in commands):
        members = [command for command in commands if command.group == group]
        lines += [roff.subsection(group)]
        lines += roff.entries([(_reference(f"voiceauth-{each.name}", 1), each.summary) for each in members])
    for heading, text in _headed(CLOSING):
        if heading:
            lines += [roff.section(heading.upper()), *_table(text)]
    lines += [*_exit_status(EXIT_MEANINGS), roff.section("EXAMPLES")]
    lines += roff.literal("\n".join(_dedented(dict(_headed(EXAMPLES))["Examples"])))
    others = [("voiceauth-setup", 1), ("voiceauth-doctor", 1), ("voiceauthd", 8)]
    return _page([*lines, *_see_also(others)])


def command_page(command: Command, parser: Parser, edition: Edition) -> str:
    """Return the page of one command, with its sub-commands."""
    name = f"voiceauth-{command.name}"
    lines = [roff.title(name, 1, *edition), *_name(name, command.summary), roff.section("SYNOPSIS")]
    lines += "\n.br\n".join(_synopsis(each) for each in (parser.actions.values() or [parser])).splitlines()
    lines += [roff.section("DESCRIPTION"), *roff.paragraphs(parser.description or "")]
    if parser.actions:
        lines += [roff.section("COMMANDS")]
        for action in parser.actions.values():
            lines += [roff.subsection(action.prog), *roff.paragraphs(action.description or ""), *_arguments(action)]
            lines += roff.literal(action.examples)
        lines += [roff.section("OPTIONS"), *roff.entries([_entry(option) for option in options_of(parser)])]
    else:
        lines += [roff.section("OPTIONS"), *_arguments(parser)]
    lines += [roff.section("EXAMPLES"), *roff.literal(parser.examples)]
    every = {code for each in (parser, *parser.actions.values()) for code in each.endings}
    lines += _exit_status({code: EXIT_MEANINGS[code] for code in sorted(every)})
    return _page([*lines, *_see_also([("voiceauth", 1), ("voiceauthd", 8)])])


def daemon_page(
    parser: argparse.ArgumentParser, notes: str, endings: Mapping[ExitCode, str], summary: str, edition: Edition
) -> str:
    """Return the page voiceauthd(8). notes: what its `--help` says after the options. summary: one line."""
    lines = [roff.title("voiceauthd", 8, *edition), *_name("voiceauthd", summary)]
    lines += [roff.section("SYNOPSIS"), _synopsis(parser)]
    lines += [roff.section("DESCRIPTION"), *roff.paragraphs(f"{parser.description}\n\n{notes}")]
    lines += [roff.section("OPTIONS"), *_arguments(parser)]
    for heading, text in _headed(CLOSING):
        if heading:
            lines += [roff.section(heading.upper()), *_table(text)]
    lines += [roff.section("EXIT STATUS")]
    lines += roff.entries([(roff.bold(str(code.value)), meaning) for code, meaning in endings.items()])
    return _page([*lines, *_see_also([("voiceauth", 1), ("voiceauth-service", 1), ("voiceauth-config", 1)])])


def all_command_pages(commands: Sequence[Command], parser_of: ParserOf, edition: Edition) -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of each page in section 1."""
    yield "voiceauth.1", overview_page(commands, edition)
    for command in commands:
        yield f"voiceauth-{command.name}.1", command_page(command, parser_of(command), edition)


def _name(name: str, summary: str) -> list[str]:
    return [roff.section("NAME"), rf"{roff.escape(name)} \- {roff.escape(summary.replace('`', ''))}"]


def _synopsis(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=_USAGE_WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, "")
    usage = " ".join(formatter.format_help().split())
    return roff.synopsis(parser.prog, usage.removeprefix(parser.prog).strip())


def _arguments(parser: argparse.ArgumentParser) -> list[str]:
    return roff.entries([_entry(argument) for argument in (*positionals_of(parser), *options_of(parser))])


def _entry(argument: Argument) -> tuple[str, str]:
    value = roff.italic(argument.placeholder)
    if not argument.names:
        return value, argument.help
    names = ", ".join(roff.bold(name) for name in argument.names)
    return (f"{names} {value}" if argument.placeholder else names), argument.help


def _exit_status(meanings: Mapping[ExitCode, str]) -> list[str]:
    pairs = [(roff.bold(str(code.value)), meaning) for code, meaning in meanings.items()]
    return [
        roff.section("EXIT STATUS"),
        *roff.entries([*pairs, (roff.bold(str(INTERRUPTED)), "interrupted by Ctrl-C")]),
    ]


def _reference(name: str, number: int) -> str:
    return f"{roff.bold(name)}({number})"


def _see_also(pages: Sequence[tuple[str, int]]) -> list[str]:
    return [roff.section("SEE ALSO"), ",\n".join(_reference(*page) for page in pages)]


def _headed(text: str) -> list[tuple[str, str]]:
    """Return the headings of the manual, each with the text below it; the first is "" for what is above them."""
    parts = ["", *_HEADING.split(text)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _table(text: str) -> list[str]:
    """Return the lines "  term   explanation" as a list; other lines explain the last term, or are a paragraph."""
    lines: list[str] = []
    in_paragraph = False
    for line in text.strip("\n").splitlines():
        row = _ROW.fullmatch(line)
        if row is not None:
            lines += roff.entries([(roff.bold(row[1].removeprefix("  ")), row[2])])
        elif line.startswith(" " * 8):
            lines += [roff.prose(line.strip())]
        else:
            lines += [roff.prose(line.strip())] if in_paragraph else [".PP", roff.prose(line.strip())]
            in_paragraph = True
    return lines


def _dedented(text: str) -> list[str]:
    return [line[2:] if line.startswith("  ") else line for line in text.strip("\n").splitlines()]


def _page(lines: Sequence[str]) -> str:
    """Return the page, without the paragraphs that begin right below a heading: a heading begins one."""
    kept = [line for above, line in pairwise(["", *lines]) if line != ".PP" or not above.startswith((".SH", ".SS"))]
    return "\n".join(kept) + "\n"
