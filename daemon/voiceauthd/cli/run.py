"""`voiceauth run`: the daemon in the foreground, printing what it hears."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from voiceauthd.cli.arguments import Parser, add_json
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.event_lines import event_line
from voiceauthd.terminal.output import Output

_EXAMPLES = """
voiceauth run                                            the default microphone, until Ctrl-C
voiceauth run --set model.name=campplus --source talk.flac --pace fast --json
arecord -q -f S16_LE -r 16000 -c 1 -t raw | voiceauth run --source -
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth run`."""
    parser.explain(
        "Run the daemon in the foreground and print what it hears, as `voiceauth monitor` would. With a file, or -\n"
        "for raw PCM (signed 16-bit little-endian, 16 kHz, mono) on standard input, it ends when the sound ends;\n"
        "with a microphone, on Ctrl-C or SIGTERM, within two seconds. SIGHUP makes it read its configuration again.",
        _EXAMPLES,
        (
            ExitCode.NO_MICROPHONE,
            ExitCode.CONFIG,
            ExitCode.MODEL,
            ExitCode.AUDIO,
            ExitCode.STORAGE,
            ExitCode.ALREADY_RUNNING,
        ),
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the configuration (default: found; see `config path`)"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, such as audio.device=2; goes before the file; may be given again",
    )
    parser.add_argument("--source", metavar="S", help="microphone, - or a sound file; short for --set audio.source=S")
    parser.add_argument("--pace", choices=("realtime", "fast"), help="of a file; short for --set audio.pace=…")
    parser.add_argument("--socket", metavar="PATH", help="where to listen; short for --set socket.path=PATH")
    parser.add_argument("--quiet", action="store_true", help="print no events")
    add_json(parser, "print the event objects of the interface, one a line")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Runs the daemon until its source ends or it is told to stop. Returns its exit code."""
    from voiceauthd.config.load import find_config, load_config
    from voiceauthd.service.daemon import run as run_daemon

    settings = overrides(arguments)
    config = load_config(find_config(arguments.config, os.environ), settings)
    on_event = None if arguments.quiet else lambda event: show(event, output)
    if arguments.quiet and config.audio.source != "microphone":
        on_event = _ignore  # somebody must hear, or the sound would not be played, and never end
    code = run_daemon(config, on_event, settings)
    if code != ExitCode.OK:
        reason = ExitCode(code).name.lower()
        output.object({"error": {"reason": reason, "message": "the log on standard error tells why"}})
    _leave(code)


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The settings of the command line, the short forms last, because they are the plainest thing to say."""
    short = {
        "audio.source": arguments.source,
        "audio.pace": arguments.pace,
        "socket.path": arguments.socket,
    }
    return [*arguments.settings, *(f"{key}={_scalar(value)}" for key, value in short.items() if value is not None)]


def show(event: Mapping[str, Any], output: Output) -> None:
    """Prints one event. When nobody reads any more (`| head`), tells this process to stop in order."""
    if output.closed:
        return
    output.line(event_line(event, output))
    output.object(event)
    if output.closed:
        os.kill(os.getpid(), signal.SIGTERM)


def _leave(code: int) -> NoReturn:
    """Ends the process at once: a model that still loads in its thread must not hold the exit up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _ignore(_event: Mapping[str, Any]) -> None:
    """Takes an event, and does nothing with it."""


def _scalar(text: str) -> str:
    """`text` as a quoted YAML scalar, so that no file name means anything else."""
    return "'" + text.replace("'", "''") + "'"
