"""The parser of one command: raises `UsageError`, and explains the command with examples and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from textwrap import dedent
from typing import Any, NoReturn

from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.exit_meanings import exit_codes
from voiceauthd.terminal.nearest_command import REQUIRED, nearest_command_line, unknown_action
from voiceauthd.terminal.output import Output

Codes = tuple[ExitCode, ...]

Run = Callable[[argparse.Namespace, Output], int]
"""Runs a command and returns its exit code."""

JSON_HELP = "print one JSON object, and nothing else"

_EVERYWHERE = (ExitCode.USAGE, ExitCode.INTERNAL)

_CLIENT = (ExitCode.NOT_RUNNING, ExitCode.DENIED)


class Parser(argparse.ArgumentParser):
    """An `argparse` parser for one command or sub-command that raises instead of ending the process.

    examples          the command lines of `explain`
    endings           the exit codes that it may end with
    action_summaries  the sub-commands, each with what it does
    """

    def __init__(self, prog: str, **rest: object) -> None:
        super().__init__(prog=prog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.description = str(rest.get("description", "")) or None
        self._codes: Codes = ()
        self._client = False
        self.examples = ""
        self.endings: Codes = ()
        self.action_summaries: dict[str, str] = {}
        self._actions_of_group: Any = None
        self._words: list[str] = []

    @property
    def actions(self) -> Mapping[str, Parser]:
        """The sub-commands by name; none for a single command."""
        return {} if self._actions_of_group is None else self._actions_of_group.choices

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse what follows the command's name; options and other arguments may come in any order.

        Raises `UsageError` with the nearest right command line; `SystemExit` after `--help`.
        """
        if not self.actions:
            self._words = list(words)
            before, dashes, after = self._divided(self._words)
            if dashes and any(word.startswith("-") for word in after):
                return self.parse_args(self._words)  # argparse loses the meaning of -- in its other way of parsing
            return self.parse_intermixed_args([*before, *after])
        if words and (action := self.actions.get(words[0])) is not None:
            return action.read(words[1:])
        if {"-h", "--help"} & set(words):
            return self.parse_args(["--help"])
        raise unknown_action(self.prog, words, list(self.actions))

    @staticmethod
    def _divided(words: Sequence[str]) -> tuple[list[str], bool, list[str]]:
        """Return the words before --, whether there is one, and the words after it, which are no options."""
        place = words.index("--") if "--" in words else len(words)
        return list(words[:place]), place < len(words), list(words[place + 1 :])

    def error(self, message: str) -> NoReturn:
        """Raises `UsageError`."""
        if message.startswith(REQUIRED):  # argparse names those that may be missing, too
            optional = {str(each.metavar) for each in self._get_positional_actions() if each.nargs in {"*", "?"}}
            named = message.removeprefix(REQUIRED).split(", ")
            message = REQUIRED + ", ".join(name for name in named if name not in optional)
        near = nearest_command_line(message, self.prog, self._words, list(self._option_string_actions))
        hint = f"; did you mean `{near}`?" if near else ""
        raise UsageError(f"{message}{hint} (see `{self.prog} --help`)")

    def explain(self, description: str, examples: str, codes: Codes, *, client: bool = False) -> None:
        """Set what the command is for, its examples, and its exit codes.

        client: the command talks to the daemon, which may not be running, or may deny the request.
        """
        self._codes, self._client = codes, client
        found = {ExitCode.OK, *codes, *_EVERYWHERE, *(_CLIENT if client else ())}
        self.description = description
        self.examples, self.endings = examples.strip(), tuple(sorted(found))
        indented = "\n".join(f"  {line}" for line in examples.strip().splitlines())
        self.epilog = f"examples:\n{indented}\n\nexit codes:\n{exit_codes(self.endings)}"

    def explain_group(self, doc: str | None, codes: Codes, *, client: bool = False) -> None:
        """Explain a command with sub-commands by its module's docstring.

        doc: the description, then the examples under a line "examples:".
        """
        description, _, examples = (doc or "").partition("\n\nexamples:\n")
        self.explain(description, dedent(examples), codes, client=client)

    def explain_command(self, doc: str | None, codes: Codes, *, client: bool = False, json: str = JSON_HELP) -> None:
        """Explain a command by its module's docstring. Add `--json` with this help, and `--socket` for a client."""
        self.explain_group(doc, codes, client=client)
        self._add_common(json)

    def action(
        self, run: Run, name: str, summary: str, examples: str, *, more: str = "", codes: Codes | None = None
    ) -> Parser:
        """Add a sub-command, run by `run`, with `--json`, and `--socket` for a client.

        summary  one sentence without a full stop, also for the list of sub-commands
        more     what follows it in the description
        codes    how it may end; None: as the whole group
        """
        if self._actions_of_group is None:
            self._actions_of_group = self.add_subparsers(dest="action", metavar="ACTION", required=True)
        self.action_summaries[name] = summary[0].lower() + summary[1:]
        made: Parser = self._actions_of_group.add_parser(name, help=self.action_summaries[name])
        made.explain(f"{summary}.{more}", examples, self._codes if codes is None else codes, client=self._client)
        made._add_common(JSON_HELP)
        made.set_defaults(run=run)
        return made

    def _add_common(self, json: str) -> None:
        self.add_argument("--json", action="store_true", help=json)
        if self._client:
            socket = "the daemon's socket (default: $VOICEAUTHD_SOCKET, else found)"
            self.add_argument("--socket", metavar="PATH", help=socket)
