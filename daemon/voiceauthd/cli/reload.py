"""`voiceauth reload`: the daemon reads its configuration again."""

from __future__ import annotations

import argparse

from voiceauthd.cli.arguments import Parser, add_json, add_socket
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.output import Output, plain

_EXAMPLES = """
voiceauth config check && voiceauth reload
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth reload`."""
    parser.explain(
        "Make the daemon read its configuration again. All of it is checked before any of it is used: if anything is\n"
        "wrong, the daemon keeps what it has, and this command says why.",
        _EXAMPLES,
        (ExitCode.CONFIG,),
        client=True,
    )
    add_json(parser)
    add_socket(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Reloads, and prints the keys that changed."""
    with Client(arguments.socket) as client:
        reply = client.call("Reload")
    changed = [plain(key) for key in reply["changed"]]
    output.line(f"changed: {', '.join(changed)}" if changed else "read again; nothing changed")
    output.object(reply)
    return ExitCode.OK
