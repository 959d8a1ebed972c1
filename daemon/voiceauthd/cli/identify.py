"""Listen, and name the enrolled person who is speaking, or say that no enrolled
voice matches. This is no proof of identity: to let somebody in, use `voiceauth
verify NAME`.

With FILES, decide on each of these recordings instead: through the running
daemon, for root and its own user, else in this process, with your own profiles.

examples:
  voiceauth identify
  voiceauth identify answering-machine.wav
  voiceauth identify --timeout 5 --json | jq -r .identity
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from voiceauthd.cli.arguments import LISTENING_CODES, add_timeout
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.decision_lines import (
    IDENTIFY_CODES,
    identification_lines,
    listening_line,
    require_identification,
)
from voiceauthd.terminal.output import Output


def configure(parser: Parser) -> None:
    json = "print the daemon's decision as one JSON object"
    codes = (ExitCode.REJECT, *LISTENING_CODES, ExitCode.AUDIO, ExitCode.STORAGE)
    parser.explain_command(__doc__, codes, client=True, json=json)
    parser.add_argument("files", metavar="FILE", nargs="*", help="a recording, instead of the microphone")
    add_timeout(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Identify. Returns OK only for somebody enrolled."""
    if arguments.files:
        return _identify_recordings(arguments, output)
    parameters = {} if arguments.timeout is None else {"timeout": arguments.timeout}
    answer: Mapping[str, Any] = {}
    with Client(arguments.socket) as client:
        for answer in client.stream("Identify", **parameters):
            if answer.get("state") != "decided":
                output.progress(listening_line(answer))
    output.clear()
    decision = require_identification(answer)
    output.object(answer)
    for line in identification_lines(answer, output):
        output.line(line)
    return IDENTIFY_CODES[decision]


def _identify_recordings(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.terminal.recorded_decisions import Decide, show_recorded_decisions

    def load() -> Decide:
        from voiceauthd.config.load import find_config, load_config
        from voiceauthd.service.local_recordings import LocalRecordings

        return LocalRecordings(load_config(find_config(None, os.environ))).identify

    return show_recorded_decisions(arguments.socket, "IdentifyRecording", {}, arguments.files, load, output)
