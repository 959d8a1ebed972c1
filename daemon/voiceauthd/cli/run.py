"""Run the daemon in the foreground and print its events, as `voiceauth monitor`
does. With a microphone it ends on Ctrl-C or SIGTERM, within two seconds; with -
for raw PCM (signed 16-bit little-endian, 16 kHz, mono) on standard input, when
the audio ends. SIGHUP makes it read its configuration again.

With FILE, a recording, it prints who speaks in it, and ends with it. It then
only reads: no socket, no audit log, and a running daemon is not disturbed. With
--socket, a recording is served like a microphone.

examples:
  voiceauth run                       the default microphone, until Ctrl-C
  voiceauth run talk.flac --pace fast --json
  voiceauth run --set model.name=campplus
  arecord -q -f S16_LE -r 16000 -c 1 -t raw | voiceauth run --source -
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from voiceauthd.cli.arguments import RECORDING_CODES, add_settings
from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.offers import offer_files
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.print_event import drop_event, print_or_stop

_CODES = (*RECORDING_CODES, ExitCode.NO_MICROPHONE, ExitCode.ALREADY_RUNNING)


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, _CODES, json="print the event objects of the interface, one a line")
    parser.add_argument("file", metavar="FILE", nargs="?", help="a recording; short for --set audio.source=FILE")
    config = "the configuration (default: see `voiceauth config path`)"
    parser.add_argument("--config", metavar="FILE", type=Path, help=config)
    add_settings(parser, "one setting, such as audio.device=2; overrides the file; may be repeated")
    source = "microphone, - or an audio file; short for --set audio.source=S"
    offer_files(parser.add_argument("--source", metavar="S", help=source))
    parser.add_argument("--pace", choices=("realtime", "fast"), help="of a file; short for --set audio.pace=…")
    parser.add_argument("--socket", metavar="PATH", help="where to listen; short for --set socket.path=PATH")
    parser.add_argument("--quiet", action="store_true", help="print no events")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run the daemon until its source ends or it is stopped. Ends the process with the daemon's exit code."""
    from voiceauthd.audio.sources import MICROPHONE, STANDARD_INPUT
    from voiceauthd.config.load import find_config, load_config
    from voiceauthd.config.short_options import with_short_options

    if arguments.file is not None and arguments.source is not None:
        raise UsageError("FILE and --source are the same: pass one of them")
    source = arguments.source if arguments.file is None else arguments.file
    short = {"audio.source": source, "audio.pace": arguments.pace, "socket.path": arguments.socket}
    settings = with_short_options(arguments.settings, short)
    config = load_config(find_config(arguments.config, os.environ), settings)
    on_event = None if arguments.quiet else lambda event: print_or_stop(event, output)
    if on_event is None and config.audio.source != MICROPHONE:
        on_event = drop_event  # without a listener the source would never be played to its end
    if on_event is not None and arguments.socket is None and config.audio.source not in {MICROPHONE, STANDARD_INPUT}:
        from voiceauthd.service.follow import follow_recording

        code = follow_recording(config, on_event)
    else:
        from voiceauthd.service.daemon import run as run_daemon

        code = run_daemon(config, on_event, settings)
    if code != ExitCode.OK:
        reason = ExitCode(code).name.lower()
        output.object({"error": {"reason": reason, "message": "see the log on standard error"}})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once, without waiting for a model that still loads in its thread
