"""Write the profiles, their keys, cohorts and calibrations, and the configuration
into FILE (mode 0600), sealed with a passphrase: everything that `voiceauth
restore` needs to continue on another machine. The audit log, lockouts and
models are not in it. Run it as root, or as the daemon's user; the daemon may
run.

examples:
  sudo voiceauth backup voices.vab
  voiceauth backup voices.vab --passphrase-file secret.txt --force
  voiceauth backup - --passphrase-file secret.txt | ssh nas 'cat > voices.vab'
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from voiceauthd.errors import ExitCode, StorageError, UsageError
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.passphrase import passphrase_of
from voiceauthd.terminal.secret_file import require_absent, write_secret


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, (ExitCode.CONFIG, ExitCode.STORAGE))
    add = parser.add_argument
    add("file", metavar="FILE", help="- is standard output")
    add("--config", metavar="C", type=Path, help="the daemon's configuration (default: `voiceauth config path`)")
    add("--passphrase-file", metavar="F", help="its first line is the passphrase; else it is asked for, twice")
    add("--force", action="store_true", help="replace FILE if it exists")
    add("--skip-unreadable", action="store_true", help="leave out profiles that cannot be read, and name them")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write a backup."""
    to_stdout = arguments.file == "-"
    if to_stdout and arguments.json:
        raise UsageError("--json and the backup cannot both be written to standard output: name a FILE")
    if to_stdout and sys.stdout.isatty():
        raise UsageError("a backup is not text for a terminal: name a FILE, or redirect standard output")
    file = Path(arguments.file)
    if not (to_stdout or arguments.force):
        require_absent(file)
    from voiceauthd.backup.collect import collect
    from voiceauthd.backup.places import find_places, places_in_use
    from voiceauthd.backup.report import backup_lines, backup_object
    from voiceauthd.backup.sealed_file import seal_contents
    from voiceauthd.profiles.passphrase_envelope import check_passphrase

    collected = collect(places_in_use() if arguments.config is None else find_places(arguments.config))
    for name, problem in collected.unreadable.items():
        if not arguments.skip_unreadable:
            raise StorageError(
                f"{problem}. Nothing was written: --skip-unreadable leaves {name!r} out of the backup", problem.reason
            )
    passphrase = passphrase_of(arguments.passphrase_file, "for the backup", twice=True)
    check_passphrase(passphrase)
    data = seal_contents(collected.contents, passphrase)
    if to_stdout:
        _write(data)
        return ExitCode.OK
    write_secret(file, data, replace=arguments.force)
    output.object(backup_object(arguments.file, collected))
    output.line(f"wrote {plain(arguments.file)} (it cannot be read without the passphrase)")
    for line in backup_lines(collected):
        output.line(line)
    return ExitCode.OK


def _write(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as problem:
        raise StorageError(f"cannot write the backup to standard output: {problem.strerror or problem}") from problem
