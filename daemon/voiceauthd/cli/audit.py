"""Show who did what to whose voice, and the outcome; or check that nothing was
changed or removed (--verify). For root, and for the user that the daemon runs
as. Needs no daemon: if one runs, it says where its log is. Times are UTC.

examples:
  voiceauth audit
  voiceauth audit --since 1h --outcome denied
  voiceauth audit --event Verify --name alice --json | jq -r .outcome
  voiceauth audit --verify && echo "nothing was changed"
  voiceauth audit --verify --anchor 1234:9f2c…
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.argument_types import count
from voiceauthd.terminal.audit_lines import audit_line, verdict_lines, verdict_object
from voiceauthd.terminal.audit_query import DEFAULT_LAST, AuditQuery, anchor, moment, select
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.offers import offer_profiles
from voiceauthd.terminal.output import Output, plain


def configure(parser: Parser) -> None:
    parser.explain_command(
        __doc__,
        (ExitCode.STORAGE, ExitCode.DENIED, ExitCode.CONFIG),
        json="print JSON objects, one a line; with --verify one",
    )
    add = parser.add_argument
    add("--verify", action="store_true", help="check the whole log, and report what is wrong with it")
    still = "with --verify: line SEQ must still have this hash, which an earlier --verify printed"
    add("--anchor", metavar="SEQ:HASH", type=anchor, help=still)
    add("--since", metavar="WHEN", type=moment, help="a date, a time, or how long ago: 90s, 30m, 1h, 7d")
    add("--until", metavar="WHEN", type=moment, help="the same, for the end")
    add("--event", metavar="E", help="Verify, Enroll, ExportProfile, start…; in any case")
    offer_profiles(add("--name", metavar="NAME", help="about this voice"))
    add("--user", metavar="USER", help="done by this user: a name or a uid")
    add("--outcome", metavar="O", help="accept, reject, inconclusive, done, denied, refused…")
    add("--last", metavar="N", type=count, help=f"only the last N (default: {DEFAULT_LAST}, or all with a WHEN)")
    add("--follow", action="store_true", help="continue with lines as they are written")
    add("--folder", metavar="FOLDER", help="the log (default: the running daemon's, else this user's)")
    add("--socket", metavar="PATH", help="the daemon that is asked where its log is")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Show or verify the log."""
    if arguments.anchor is not None and not arguments.verify:
        raise UsageError("--anchor needs --verify (see `voiceauth audit --help`)")
    folder = Path(arguments.folder) if arguments.folder is not None else _folder_in_use(arguments.socket, output)
    if arguments.verify:
        return _verify(folder, arguments, output)
    query = AuditQuery(**{name: getattr(arguments, name) for name in AuditQuery._fields})
    for line in select(folder, query):
        if output.as_json:  # in ASCII: some texts come from callers and may not be valid Unicode
            output.raw(json.dumps(line.object()) + "\n")
        output.record(audit_line(line, output), indent=21)
        if output.closed:
            break
    return ExitCode.OK


def _verify(folder: Path, arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.audit.verify import verify

    verdict = verify(folder, arguments.anchor)
    output.object(verdict_object(folder, verdict))
    for line in verdict_lines(folder, verdict, output):
        output.line(line)
    return ExitCode.OK if verdict.whole else ExitCode.STORAGE


def _folder_in_use(socket: str | None, output: Output) -> Path:
    """The log of the running daemon; without one, that of this user, which is then said."""
    from voiceauthd.config.resolve import state_folder
    from voiceauthd.terminal.daemon_config import config_in_use

    found = config_in_use(socket)
    folder = state_folder(found.config) / "audit"
    if not found.running:
        output.note(f"the log {plain(folder)} {plain(found.whose)}")
    return folder
