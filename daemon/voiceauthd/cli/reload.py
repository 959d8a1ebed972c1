"""Make the daemon read its configuration again. All of it is checked before any of
it is used: if anything is wrong, the daemon keeps its old configuration, and
this command says why.

examples:
  voiceauth config check && voiceauth reload
"""

from __future__ import annotations

import argparse

from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output, plain


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, (ExitCode.CONFIG,), client=True)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Reload, and print the keys that changed."""
    with Client(arguments.socket) as client:
        reply = client.call("Reload")
    changed = [plain(key) for key in reply["changed"]]
    output.line(f"changed: {', '.join(changed)}" if changed else "read again; nothing changed")
    output.object(reply)
    return ExitCode.OK
