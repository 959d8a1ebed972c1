"""Print a script that makes a shell complete the commands, options, files and
enrolled names of voiceauth when Tab is pressed. `make install` and the Debian
package install it; elsewhere add a line to the shell's start-up file.

The script calls `voiceauth completion words`, which reads the words of a
command line, each with a NUL after it, and prints what the last may be. It asks
the daemon for names, for a second at most; a user who may not list the profiles
is offered none.

examples:
  source <(voiceauth completion bash)     in ~/.bashrc
  source <(voiceauth completion zsh)      in ~/.zshrc, after compinit
  voiceauth completion fish | source      in ~/.config/fish/config.fish
  printf '%s\\0' voiceauth profiles '' | voiceauth completion words
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import PurePath

from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, UsageError, VoiceauthError
from voiceauthd.manuals.candidates import NOTHING, Candidates, argument_candidates, command_candidates
from voiceauthd.manuals.completion_scripts import SHELLS, completion_script
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.offers import Kind
from voiceauthd.terminal.output import Output, plain

WORDS = "words"

MAX_LINE = 1 << 20
"""Bytes of a command line."""

TIMEOUT = 1.0
"""Seconds to wait for the daemon: somebody has pressed Tab."""


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, ())
    parser.add_argument("what", metavar="WHAT", choices=(*SHELLS, WORDS), help="bash, zsh or fish; or words")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print a script, or the candidates."""
    if arguments.what == WORDS:
        *line, rest = os.fsdecode(sys.stdin.buffer.read(MAX_LINE)).split("\0")
        if len(line) < 2 or rest:
            raise UsageError("standard input must be the command and the words after it, each with a NUL after it")
        return _print_candidates(line, output)
    script = completion_script(arguments.what)
    output.object({"shell": arguments.what, "script": script})
    if not output.as_json:
        output.raw(script)
    return ExitCode.OK


def _print_candidates(line: list[str], output: Output) -> int:
    found = _candidates(line)
    if found.kind is Kind.PROFILES:
        found = Candidates(Kind.WORDS, tuple((name, "") for name in _names()), found.prefix)
    words = [(found.prefix + word, plain(" ".join(meaning.split()))) for word, meaning in found.words]
    output.object({"kind": found.kind.value, "words": [word for word, _ in words]})
    for text in (found.kind.value, *(f"{word}\t{meaning}" for word, meaning in words)):
        output.line(text)
    return ExitCode.OK


def _candidates(line: list[str]) -> Candidates:
    program = PurePath(line[0]).name
    if program == "voiceauthd":
        from voiceauthd.service.command_line import daemon_parser

        return argument_candidates(line[1:], daemon_parser())
    from voiceauthd.cli.main import parser_of
    from voiceauthd.cli.manual import COMMANDS

    return command_candidates(line[1:], COMMANDS, parser_of) if program == "voiceauth" else NOTHING


def _names() -> list[str]:
    """Return the names of the enrolled voices; none if the daemon does not say them well."""
    try:
        with Client(timeout=TIMEOUT) as client:
            return [plain(profile["name"]) for profile in client.call("ListProfiles")["profiles"]]
    except (VoiceauthError, LookupError, TypeError):
        return []
