"""Run the daemon as the service that suits this machine. PipeWire and PulseAudio
belong to one user: a desktop needs that user's own service. With plain ALSA, or
a sound server for the whole system, it is the system service, which can also
serve logins. Without systemd the daemon runs in the background until the
machine stops.

examples:
  voiceauth service status
  voiceauth service start
  voiceauth service stop
"""

from __future__ import annotations

import argparse

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output


def configure(parser: Parser) -> None:
    codes = (ExitCode.NOT_RUNNING, ExitCode.DENIED, ExitCode.CONFIG, ExitCode.STORAGE)
    parser.explain_group(__doc__, codes)
    example = "voiceauth service status"
    parser.action(_status, "status", "Say which service suits this machine and why, and which daemon runs", example)
    example = "voiceauth service start\nsudo voiceauth service start --system"
    start = parser.action(_start, "start", "Start the daemon; with systemd also at each boot or login", example)
    kinds = start.add_mutually_exclusive_group()
    for how, text in (("user", "this user's own"), ("system", "the system's"), ("background", "without systemd")):
        kinds.add_argument(f"--{how}", dest="how", action="store_const", const=how, help=text)
    parser.action(_stop, "stop", "Stop the daemon, and do not start it again", "voiceauth service stop")


def _status(_arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.setup.report import show_service

    show_service(output)
    return ExitCode.OK


def _start(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.setup.report import start_and_show

    start_and_show(arguments.how, output)
    return ExitCode.OK


def _stop(_arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.setup.service import stop

    stopped = stop()
    output.object({"stopped": stopped})
    output.line(f"stopped {stopped}")
    return ExitCode.OK
