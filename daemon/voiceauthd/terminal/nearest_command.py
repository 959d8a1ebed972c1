"""The nearest right command line for one that is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from voiceauthd.errors import UsageError

_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")
REQUIRED = "the following arguments are required: "
"""How argparse begins to say what is missing."""

_UNKNOWN = "unrecognized arguments: "


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that resembles `word` most, if any does."""
    return next(iter(get_close_matches(word, list(known), 1)), None)


def unknown_action(prog: str, words: Sequence[str], actions: Sequence[str]) -> UsageError:
    """Return the error for a command without a known sub-command. `prog`: such as "voiceauth profiles"."""
    if not words:
        return UsageError(f"`{prog}` needs an action: {', '.join(actions)} (see `{prog} --help`)")
    near = nearest(words[0], actions)
    hint = f"; did you mean `{shlex.join([*prog.split(), near, *words[1:]])}`?" if near else ""
    return UsageError(f"{prog}: there is no action {words[0]!r}{hint} (it has {', '.join(actions)})")


def unknown_command(words: Sequence[str], commands: Sequence[str], actions: Iterable[tuple[str, str]]) -> UsageError:
    """Return the error for words that do not begin with a command.

    actions  each command that has sub-commands, with each of these: ("profiles", "list")
    """
    first, rest = words[0], list(words[1:])
    if first.startswith("-"):
        moved = [word for word in rest if word in commands][:1]
        others = [word for word in rest if word not in moved]
        hint = f"; did you mean `{shlex.join(['voiceauth', *moved, *others, first])}`?" if moved else ""
        return UsageError(f"unknown option {first!r} before a command{hint} (`voiceauth --help` lists the commands)")
    pairs = {action: command for command, action in reversed(list(actions))}
    near: list[str] | None = None
    if first in pairs:
        near = [pairs[first], first]
    elif (command := nearest(first, commands)) is not None:
        near = [command]
    elif (action := nearest(first, pairs)) is not None:
        near = [pairs[action], action]
    hint = f"; did you mean `{shlex.join(['voiceauth', *near, *rest])}`?" if near else ""
    return UsageError(f"unknown command {first!r}{hint} (`voiceauth --help` lists them)")


def nearest_command_line(message: str, prog: str, words: Sequence[str], options: Sequence[str]) -> str | None:
    """Return the command line that was probably meant; None if nothing resembles it.

    message  why argparse refused it
    prog     the command, such as "voiceauth profiles delete"
    words    what followed it
    options  the options that it has
    """
    line = prog.split()
    if message.startswith(REQUIRED):
        # Placeholders such as NAME stay unquoted: they are for the reader to fill in.
        return " ".join([shlex.join([*line, *words]), *message.removeprefix(REQUIRED).split(", ")])
    if (choice := _CHOICE.search(message)) is not None:
        wrong, near = choice.group(1), nearest(choice.group(1), re.findall(r"[\w.-]+", choice.group(2)))
        return None if near is None else shlex.join([*line, *(_replaced(word, wrong, near) for word in words)])
    if message.startswith(_UNKNOWN):
        unknown = message.removeprefix(_UNKNOWN).split(" ")
        return _without(line, words, unknown, options)
    return None


def _replaced(word: str, wrong: str, right: str) -> str:
    option, equals, value = word.partition("=")
    if word == wrong:
        return right
    return f"{option}={right}" if equals and value == wrong else word


def _without(line: list[str], words: Sequence[str], unknown: Sequence[str], options: Sequence[str]) -> str | None:
    """Replace unknown options by the nearest ones; if there are none, leave out the words that are too many."""
    misspelt = [word for word in unknown if word.startswith("-")]
    kept = []
    for word in words:
        name, equals, value = word.partition("=")
        if word in misspelt:
            near = nearest(name, options)
            if near is None:
                return None
            kept.append(f"{near}{equals}{value}")
        elif misspelt or word not in unknown:
            kept.append(word)
    return shlex.join([*line, *kept])
