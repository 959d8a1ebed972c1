"""Let a PAM service accept a voice: install puts a few lines into its file in
/etc/pam.d, right above the line that asks for the password. The voice is asked
for first; if it is not accepted, for whatever reason, the password is asked for
as before. remove takes the lines out again, and restores the file exactly.
docs/login.md is the guide.

examples:
  voiceauth pam install swaylock --dry-run
  sudo voiceauth pam install sudo --with pam_u2f.so
  sudo voiceauth pam remove sudo
  voiceauth pam status
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.client.pam_arguments import POLICIES
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.offers import offer_words
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.login.services import Change

_INSTALL_EXAMPLES = """
voiceauth pam install swaylock --dry-run
voiceauth pam install sudo --with 'pam_u2f.so cue'
voiceauth pam install hyprlock --timeout 4
"""

_CODES = (ExitCode.STORAGE, ExitCode.DENIED, ExitCode.BUSY)

_INSTALL = """

A service that gives root (sudo, su, polkit-1, …) does not accept a voice alone,
unless you say so. A file that is not understood is refused, and nothing is
changed. Installing twice is the same as once; other options replace the lines."""


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, _CODES)
    summary = "Have a service ask for the voice before the password"
    install = parser.action(_install, "install", summary, _INSTALL_EXAMPLES, more=_INSTALL)
    example = "voiceauth pam remove sudo"
    remove = parser.action(_remove, "remove", "Take the voice out of a service again", example)
    for made in (install, remove):
        made.add_argument("service", metavar="SERVICE", help="the name of a file in /etc/pam.d")
        made.add_argument("--dry-run", action="store_true", help="show the change, and change nothing")
        where = "where the previous file is kept (default: /var/backups/voiceauthd/pam.d)"
        made.add_argument("--backups", metavar="FOLDER", type=Path, help=where)
    add = install.add_argument
    add("--with", dest="module", metavar="MODULE", default="", help="accept the voice only together with this module")
    add("--allow-root", action="store_true", help="accept the voice alone, even for root")
    add("--timeout", metavar="S", default="", help="seconds until the password is asked for")
    offer_words(add("--policy", metavar="NAME", default="", help="unlock or auth: how strict to be"), POLICIES)
    may_skip = "an accepted voice may skip this check; can be repeated"
    add("--may-skip", metavar="MODULE", action="append", default=[], help=may_skip)
    add("--helper", metavar="PATH", help="the command that PAM runs (default: the installed one)")
    example = "voiceauth pam status --json"
    status = parser.action(_status, "status", "List the services that ask for a voice", example)
    for made in (install, remove, status):
        folder = "another folder of services (default: /etc/pam.d)"
        made.add_argument("--pam-folder", metavar="FOLDER", type=Path, help=folder)


def _install(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.login.block import Block
    from voiceauthd.login.report import install_lines
    from voiceauthd.login.voice_services import install_voice

    change = install_voice(
        arguments.service,
        Block("/", arguments.module, arguments.allow_root, arguments.timeout, arguments.policy),
        helper=arguments.helper,
        may_skip=arguments.may_skip,
        folder=arguments.pam_folder,
        backups=arguments.backups,
        dry_run=arguments.dry_run,
    )
    _print(arguments, change, output)
    for line in install_lines(arguments.service, change) if not arguments.dry_run else ():
        output.line(line)
    return ExitCode.OK


def _remove(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.login.voice_services import remove_voice

    change = remove_voice(
        arguments.service, folder=arguments.pam_folder, backups=arguments.backups, dry_run=arguments.dry_run
    )
    _print(arguments, change, output)
    if change.changed and not arguments.dry_run:
        output.line(f"{arguments.service} no longer asks for a voice")
    return ExitCode.OK


def _status(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.login.report import service_object
    from voiceauthd.login.voice_services import voice_services

    services = voice_services(arguments.pam_folder)
    for service in services:
        output.line(f"{plain(service.service)}: {plain(service.block.summary() if service.block else 'not known')}")
        if service.problem:
            output.line(f"  {output.style('problem:', 'red')} {plain(service.problem)}")
    output.object({"services": [service_object(service) for service in services]})
    if not services:
        output.line("no service asks for a voice; `voiceauth pam install SERVICE` makes one do so")
    return ExitCode.STORAGE if any(service.problem for service in services) else ExitCode.OK


def _print(arguments: argparse.Namespace, change: Change, output: Output) -> None:
    from voiceauthd.login.report import change_line, change_object

    output.object(change_object(arguments.service, change, dry_run=arguments.dry_run))
    shows_diff = arguments.dry_run and change.changed
    output.line(change.diff().rstrip("\n") if shows_diff else plain(change_line(change)))
