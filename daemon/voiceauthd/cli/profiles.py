"""`voiceauth profiles …`: the enrolled voices."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from voiceauthd.cli.arguments import Parser, add_json, add_socket
from voiceauthd.cli.backup import EXPORT_EXAMPLES, IMPORT_EXAMPLES, configure_export, configure_import, export, load
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.event_lines import number
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.owner_proof import with_proof
from voiceauthd.terminal.rating_text import advice, grade

_EXAMPLES = """
voiceauth profiles list
voiceauth profiles rename alcie alice
voiceauth profiles export alice
"""

_CODES = (ExitCode.NOT_ENROLLED, ExitCode.STORAGE, ExitCode.BUSY)


def configure(parser: Parser) -> None:
    """Adds the sub-commands of `voiceauth profiles`."""
    parser.explain(
        "List, show, rename, delete, export, import and unlock the enrolled voices, and encrypt them with a new key.",
        _EXAMPLES,
        _CODES,
        client=True,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str, example: str) -> Parser:
        made: Parser = actions.add_parser(name, help=summary[0].lower() + summary[1:])
        made.explain(f"{summary}.", example, _CODES, client=True)
        add_json(made)
        add_socket(made)
        return made

    action(
        "list", "List who is enrolled, and the profiles that are refused, with the reason", "voiceauth profiles list"
    )
    show = action(
        "show",
        "Show one profile, how good it is, and what would make it better",
        "voiceauth profiles show alice\nvoiceauth profiles show alice --json | jq .rating",
    )
    show.add_argument("name", metavar="NAME")
    rename = action("rename", "Give a profile another name", "voiceauth profiles rename alcie alice")
    rename.add_argument("name", metavar="OLD")
    rename.add_argument("new_name", metavar="NEW")
    delete = action("delete", "Delete a profile for good", "voiceauth profiles delete alice --yes")
    delete.add_argument("name", metavar="NAME")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    configure_export(
        action(
            "export",
            "Write a profile to FILE (0600), under a passphrase. It is biometric data",
            EXPORT_EXAMPLES,
        )
    )
    configure_import(
        action(
            "import",
            "Read a profile from FILE (- is standard input); the daemon must use the same model",
            IMPORT_EXAMPLES,
        )
    )
    unlock = action(
        "unlock",
        "Let a voice be tried again that is locked after too many failures",
        "voiceauth profiles unlock alice",
    )
    unlock.add_argument("name", metavar="NAME")
    action(
        "rekey",
        "Encrypt all profiles anew: with a new key, or with the first one of the systemd credential",
        "voiceauth profiles rekey",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what `arguments.action` says."""
    actions = {
        "list": _list,
        "show": _show,
        "rename": _rename,
        "delete": _delete,
        "export": export,
        "import": load,
        "unlock": _unlock,
        "rekey": _rekey,
    }
    return actions[arguments.action](arguments, output)


def _list(arguments: argparse.Namespace, output: Output) -> int:
    with Client(arguments.socket) as client:
        reply = client.call("ListProfiles")
    output.object(reply)
    profiles = reply["profiles"]
    if not profiles:
        output.line("nobody is enrolled; `voiceauth enroll NAME` begins")
        return ExitCode.OK
    width = max(4, *(len(plain(profile["name"])) for profile in profiles))
    output.line(output.style(f"{'name':<{width}}  exemplars  speech  updated               conditions", "bold"))
    for profile in profiles:
        output.line(_row(profile, width, output))
    return ExitCode.OK


def _row(profile: Mapping[str, Any], width: int, output: Output) -> str:
    name = f"{plain(profile['name']):<{width}}"
    if not profile["usable"]:
        return f"{name}  {output.style('refused', 'red')}: {plain(profile.get('problem'))}"
    conditions = ", ".join(plain(condition) for condition in profile["conditions"])
    updated = plain(profile.get("updated") or "-")[:20]
    return f"{name}  {profile['exemplars']:>9}  {profile['net_speech']:>4.0f} s  {updated:<20}  {conditions}"


def _show(arguments: argparse.Namespace, output: Output) -> int:
    with Client(arguments.socket) as client:
        profile = client.call("ShowProfile", name=arguments.name)["profile"]
    _print(profile, output)
    return ExitCode.OK


def _print(profile: Mapping[str, Any], output: Output) -> None:
    output.object(profile)
    usable = "yes" if profile["usable"] else f"no: {plain(profile.get('problem'))}"
    owner = profile.get("owner_uid")
    rows = [
        ("name", output.style(plain(profile["name"]), "bold")),
        ("usable", usable),
        *([("locked", _locked(profile))] if profile.get("locked_for") is not None else []),
        ("quality", grade(profile, output) if profile["usable"] else "-"),
        ("exemplars", f"{profile['exemplars']}, {number(profile['net_speech'], '.1f')} s of speech"),
        ("conditions", ", ".join(plain(condition) for condition in profile["conditions"]) or "-"),
        ("model", plain(profile.get("model") or "-")),
        ("owner", "no user of this machine" if owner is None else f"uid {owner}"),
        ("created", plain(profile.get("created") or "-")),
        ("updated", plain(profile.get("updated") or "-")),
    ]
    for label, text in rows:
        output.line(f"{label:<10} {text}")
    for index, sentence in enumerate(advice(profile)):
        output.line(f"{'' if index else 'better':<10} {sentence}")


def _locked(profile: Mapping[str, Any]) -> str:
    name = shlex.quote(plain(profile["name"]))
    seconds = number(profile["locked_for"], ".0f")
    return f"for {seconds} s, after too many failures (as root: `voiceauth profiles unlock {name}`)"


def _rename(arguments: argparse.Namespace, output: Output) -> int:
    with Client(arguments.socket) as client:
        profile = client.call("RenameProfile", name=arguments.name, new_name=arguments.new_name)["profile"]
    output.object(profile)
    output.line(f"{plain(arguments.name)} is now {plain(profile['name'])}")
    return ExitCode.OK


def _delete(arguments: argparse.Namespace, output: Output) -> int:
    name = plain(arguments.name)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to be asked: --yes deletes without asking")
        sys.stderr.write(f"Delete the voice of {name} for good? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise UsageError(f"{name} was not deleted", "not_confirmed")
    _delete_for_good(arguments, output)
    output.object({"deleted": arguments.name})
    output.line(f"deleted {name}")
    return ExitCode.OK


def _delete_for_good(arguments: argparse.Namespace, output: Output) -> None:
    with Client(arguments.socket) as client:

        def delete(**proof: str) -> None:
            client.call("DeleteProfile", name=arguments.name, **proof)

        with_proof(delete, arguments.socket, output, ("profiles", "delete", arguments.name))


def _unlock(arguments: argparse.Namespace, output: Output) -> int:
    with Client(arguments.socket) as client:
        client.call("Unlock", name=arguments.name)
    output.object({"unlocked": arguments.name})
    output.line(f"the voice of {plain(arguments.name)} is not locked")
    return ExitCode.OK


def _rekey(arguments: argparse.Namespace, output: Output) -> int:
    with Client(arguments.socket) as client:
        reply = client.call("Rekey")
    output.object(reply)
    output.line(f"encrypted {number(reply.get('profiles'), 'd')} profiles with the key {plain(reply.get('key'))}")
    output.line("keep a copy of the key file: profiles cannot be read without it, nor by an older copy")
    return ExitCode.OK
