"""`voiceauth profiles …`: the enrolled voices."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voiceauthd.cli.arguments import Parser, add_json, add_socket
from voiceauthd.cli.events import number
from voiceauthd.cli.output import Output, plain
from voiceauthd.cli.rating import advice, grade
from voiceauthd.cli.secretfile import read_text, write_secret
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, UsageError

_EXAMPLES = """
voiceauth profiles list
voiceauth profiles rename alcie alice
voiceauth profiles export alice - | ssh other voiceauth profiles import -
"""

_CODES = (ExitCode.NOT_ENROLLED, ExitCode.STORAGE, ExitCode.BUSY)


def configure(parser: Parser) -> None:
    """Adds the sub-commands of `voiceauth profiles`."""
    parser.explain("List, show, rename, delete, export and import the enrolled voices.", _EXAMPLES, _CODES, client=True)
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
    export = action(
        "export",
        "Write a profile to FILE (0600; default NAME.profile.json; - is standard output). It is biometric data",
        "voiceauth profiles export alice alice.profile.json\nvoiceauth profiles export alice --force",
    )
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", metavar="FILE", nargs="?")
    export.add_argument("--force", action="store_true", help="replace FILE if it is there")
    load = action(
        "import",
        "Read a profile from FILE (- is standard input); the daemon must use the same model",
        "voiceauth profiles import alice.profile.json\nvoiceauth profiles import a.json --name bob --replace",
    )
    load.add_argument("file", metavar="FILE")
    load.add_argument("--name", metavar="N", help="enrol it under this name")
    load.add_argument("--replace", action="store_true", help="replace the profile of that name")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what `arguments.action` says."""
    actions = {
        "list": _list,
        "show": _show,
        "rename": _rename,
        "delete": _delete,
        "export": _export,
        "import": _import,
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
    with Client(arguments.socket) as client:
        client.call("DeleteProfile", name=arguments.name)
    output.object({"deleted": arguments.name})
    output.line(f"deleted {name}")
    return ExitCode.OK


def _export(arguments: argparse.Namespace, output: Output) -> int:
    target = arguments.file or f"{arguments.name}.profile.json"
    if arguments.file is None and Path(target).name != target:
        raise UsageError(f"{plain(arguments.name)!r} does not make a file name: give FILE")
    with Client(arguments.socket) as client:
        document = str(client.call("ExportProfile", name=arguments.name)["document"])
    if target == "-":
        output.object({"name": arguments.name, "document": document})
        if not output.as_json:
            output.raw(document if document.endswith("\n") else document + "\n")
        return ExitCode.OK
    write_secret(Path(target), document, replace=arguments.force)
    output.object({"name": arguments.name, "file": target})
    output.line(f"wrote {plain(target)} (biometric data: keep it safe)")
    return ExitCode.OK


def _import(arguments: argparse.Namespace, output: Output) -> int:
    parameters: dict[str, Any] = {"document": read_text(arguments.file)}
    if arguments.name is not None:
        parameters["name"] = arguments.name
    if arguments.replace:
        parameters["replace"] = True
    with Client(arguments.socket) as client:
        profile = client.call("ImportProfile", **parameters)["profile"]
    output.object(profile)
    output.line(f"enrolled {plain(profile['name'])}: {profile['exemplars']} exemplars")
    return ExitCode.OK
