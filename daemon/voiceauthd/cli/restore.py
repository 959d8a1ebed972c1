"""Put the profiles, keys, cohorts, calibrations and configuration of a backup into
place, on the machine that it was made on or on another one. Stop the daemon
first. Profiles belong to the users of the same names as before. Run it as root
for the system's daemon, or as the user whose own daemon it is.

Without --replace it refuses to touch profiles, cohorts and calibrations that
are there, and leaves a configuration that is there as it is. Interrupted at any
moment, it leaves the old profiles or the new ones, never some of both.

examples:
  sudo voiceauth restore voices.vab
  sudo voiceauth restore voices.vab --replace --keep-config
  ssh nas cat voices.vab | voiceauth restore - --passphrase-file secret.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.passphrase import passphrase_of


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, (ExitCode.CONFIG, ExitCode.STORAGE, ExitCode.ALREADY_RUNNING))
    add = parser.add_argument
    add("file", metavar="FILE", help="what `voiceauth backup` has written; - is standard input")
    add("--config", metavar="C", type=Path, help="the daemon's configuration (default: `voiceauth config path`)")
    add("--passphrase-file", metavar="F", help="its first line is the passphrase; else it is asked for")
    add("--replace", action="store_true", help="remove the profiles, cohorts and settings that are there")
    add("--keep-config", action="store_true", help="do not write the configuration")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Restore a backup."""
    from voiceauthd.backup.report import restored_lines, restored_object
    from voiceauthd.backup.restore import plan, restore
    from voiceauthd.backup.sealed_file import open_file, parse_file, read_bytes

    sealed = parse_file(read_bytes(arguments.file))
    contents = open_file(sealed, passphrase_of(arguments.passphrase_file, "of the backup", twice=False))
    replace = arguments.replace
    places, config = plan(contents, arguments.config, replace=replace, keep_config=arguments.keep_config)
    done = restore(contents, places, replace=replace, config=config)
    output.object(restored_object(done))
    output.line(f"restored the backup of {plain(contents.host)}, made {plain(contents.made)}")
    for line in restored_lines(done):
        output.line(line)
    output.line("start the daemon: voiceauth service start")
    return ExitCode.OK
