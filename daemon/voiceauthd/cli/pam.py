"""`voiceauth pam …`: services of PAM that take a voice for the password."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceauthd.cli.arguments import Parser, add_json
from voiceauthd.errors import ExitCode, StorageError, UsageError
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.login.block import Block
    from voiceauthd.login.services import Change

_EXAMPLES = """
voiceauth pam install swaylock --dry-run
sudo voiceauth pam install sudo --with pam_u2f.so
sudo voiceauth pam remove sudo
voiceauth pam status
"""

_CODES = (ExitCode.STORAGE, ExitCode.DENIED, ExitCode.BUSY)

_ABOUT = """\
A voice for a service of PAM's: install puts a few lines into its file in /etc/pam.d, right above the line that asks
for the password. The voice is asked for first; if it is not accepted, for whatever reason, the password is asked for
as ever. remove takes the lines out again, and leaves the bytes of before. docs/login.md is the guide."""

_MODULE = re.compile(r"[A-Za-z0-9_-]+\Z")


def configure(parser: Parser) -> None:
    """Adds the sub-commands of `voiceauth pam`."""
    parser.explain(_ABOUT, _EXAMPLES, _CODES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str, example: str, more: str = "") -> Parser:
        made: Parser = actions.add_parser(name, help=summary[0].lower() + summary[1:])
        made.explain(f"{summary}.{more}", example, _CODES)
        add_json(made)
        made.add_argument(
            "--pam-folder", metavar="FOLDER", type=Path, help="another folder of services (default: /etc/pam.d)"
        )
        return made

    def changing(made: Parser) -> None:
        made.add_argument("service", metavar="SERVICE", help="the name of a file in /etc/pam.d")
        made.add_argument("--dry-run", action="store_true", help="show the change, and change nothing")
        made.add_argument(
            "--backups",
            metavar="FOLDER",
            type=Path,
            help="where the file of before is kept (default: /var/backups/voiceauthd/pam.d)",
        )

    install = action(
        "install",
        "Have a service ask for the voice before the password",
        "voiceauth pam install swaylock --dry-run\nvoiceauth pam install sudo --with 'pam_u2f.so cue'\n"
        "voiceauth pam install hyprlock --timeout 4",
        "\n\nA service that gives root (sudo, su, polkit-1, …) takes no voice alone, unless you say so. What is not\n"
        "understood is refused, and nothing is changed. Twice is the same as once; other options replace the lines.",
    )
    changing(install)
    install.add_argument(
        "--with", dest="module", metavar="MODULE", default="", help="take the voice only together with this module"
    )
    install.add_argument("--allow-root", action="store_true", help="take the voice alone, for root, too")
    install.add_argument("--timeout", metavar="S", default="", help="seconds until the password is asked for")
    install.add_argument("--policy", metavar="NAME", default="", help="unlock or auth: how strict to be")
    install.add_argument(
        "--may-skip",
        metavar="MODULE",
        action="append",
        default=[],
        help="an accepted voice may skip this check; can be repeated",
    )
    install.add_argument("--helper", metavar="PATH", help="the command that PAM runs (default: the installed one)")
    changing(action("remove", "Take the voice out of a service again", "voiceauth pam remove sudo"))
    action("status", "List the services that ask for a voice", "voiceauth pam status --json")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what `arguments.action` says."""
    return {"install": _install, "remove": _remove, "status": _status}[arguments.action](arguments, output)


def _install(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.login.block import Block
    from voiceauthd.login.files import BACKUPS, PAM_FOLDER, PamFolder
    from voiceauthd.login.services import install, make_block

    module = " ".join(arguments.module.split())
    block = Block("/", module, arguments.allow_root, arguments.timeout, arguments.policy)
    make_block(arguments.service, block)  # a service that is refused is refused first
    may_skip = frozenset(_bare(word) for word in arguments.may_skip)
    block = block._replace(helper=_helper(arguments.helper))
    backups = arguments.backups or BACKUPS
    with PamFolder(arguments.pam_folder or PAM_FOLDER) as folder:
        change = install(folder, arguments.service, block, may_skip, backups, dry_run=arguments.dry_run)
    _tell(arguments, change, output)
    if change.block is None or arguments.dry_run:
        return ExitCode.OK
    if change.changed:
        output.line("".join(f"  {line}\n" for line in change.block.text(arguments.service).splitlines()).rstrip("\n"))
    output.line(f"{arguments.service}: {change.block.how()}; else the password")
    for note in _notes(arguments.service, change):
        output.line(note)
    if change.changed:
        output.line("try it in another terminal before you close this one")
    return ExitCode.OK


def _remove(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.login.files import BACKUPS, PAM_FOLDER, PamFolder
    from voiceauthd.login.services import remove

    with PamFolder(arguments.pam_folder or PAM_FOLDER) as folder:
        change = remove(folder, arguments.service, arguments.backups or BACKUPS, dry_run=arguments.dry_run)
    _tell(arguments, change, output)
    if change.changed and not arguments.dry_run:
        output.line(f"{arguments.service} asks for no voice any more")
    return ExitCode.OK


def _status(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.login.files import PAM_FOLDER, PamFolder
    from voiceauthd.login.services import status

    with PamFolder(arguments.pam_folder or PAM_FOLDER) as folder:
        asked = status(folder)
    services = []
    for service in asked:
        block = service.block
        entry: dict[str, Any] = {"service": service.service, "problem": service.problem or None}
        if block is not None:
            entry |= _told(block)
        services.append(entry)
        output.line(f"{plain(service.service)}: {plain(block.how() if block else 'not known')}")
        if service.problem:
            output.line(f"  {output.style('problem:', 'red')} {plain(service.problem)}")
    output.object({"services": services})
    if not asked:
        output.line("no service asks for a voice; `voiceauth pam install SERVICE` makes one do so")
    return ExitCode.STORAGE if any(service.problem for service in asked) else ExitCode.OK


def _tell(arguments: argparse.Namespace, change: Change, output: Output) -> None:
    """What was changed, or with --dry-run the difference."""
    output.object(
        {
            "service": arguments.service,
            "file": str(change.path),
            "changed": change.changed and not arguments.dry_run,
            "diff": change.diff(),
            "backup": str(change.backup) if change.backup else None,
            "block": _told(change.block) if change.block else None,
            "skipped": list(change.skipped),
            "also": list(change.also),
        }
    )
    if not change.changed:
        output.line(f"{plain(change.path)} is so already: nothing to change")
    elif arguments.dry_run:
        output.line(change.diff().rstrip("\n"))
    else:
        output.line(f"changed {plain(change.path)}; as it was before: {plain(change.backup)}")


def _told(block: Block) -> dict[str, Any]:
    return {
        "how": block.how(),
        "helper": block.helper,
        "with": block.module or None,
        "allow_root": block.allow_root,
        "timeout": float(block.timeout) if block.timeout else None,
        "policy": block.policy or None,
    }


def _notes(service: str, change: Change) -> list[str]:
    """What somebody should know about this very file."""
    from voiceauthd.login.trust import has_module

    notes = []
    if change.also:
        notes.append(f"so does {', '.join(change.also)}, which includes {service}")
    keyrings = [name for name in change.skipped if name.startswith(("pam_gnome_keyring", "pam_kwallet", "pam_mount"))]
    if keyrings:
        notes.append(f"{', '.join(keyrings)} will get no password after an accepted voice, and so stays locked")
    if change.block is not None and change.block.module:
        module = change.block.module.split(" ", maxsplit=1)[0]
        if not has_module(module):
            notes.append(f"{module} was not found on this machine: without it the password is always asked for")
    return notes


def _helper(path: str | None) -> str:
    """The command for PAM's line. Raises `StorageError` if others than root could change what it does."""
    from voiceauthd.login.block import HELPER
    from voiceauthd.login.trust import why_not, why_not_package

    helper = path or str(Path(sys.executable).parent / HELPER)
    if not helper.startswith("/"):
        raise UsageError("--helper needs an absolute path")
    reason = why_not(helper) or ("" if path else why_not_package())
    if reason:
        raise StorageError(f"PAM must not run {helper} as root: {reason}; install voiceauthd as root", "unsafe_helper")
    return helper


def _bare(word: str) -> str:
    name = word.removesuffix(".so")
    if not _MODULE.match(name):
        raise UsageError(f"{word!r} is no module of PAM's")
    return name
