"""List, show, rename, delete, export, import and unlock the enrolled voices, drop
a bad exemplar of one, and encrypt them with a new key.

examples:
  voiceauth profiles list
  voiceauth profiles rename alcie alice
  voiceauth profiles export alice
"""

from __future__ import annotations

import argparse
from typing import Any

from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, StorageError, UsageError
from voiceauthd.terminal.argument_types import count
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.confirm import confirm
from voiceauthd.terminal.event_lines import number
from voiceauthd.terminal.offers import offer_profiles
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.owner_proof import call_with_proof
from voiceauthd.terminal.profile_lines import LABEL_WIDTH, exemplar_table, profile_lines, profile_table
from voiceauthd.terminal.rating_text import advice

_EXPORT_EXAMPLES = """
voiceauth profiles export alice
voiceauth profiles export alice --passphrase-file secret.txt --force
voiceauth profiles export alice - --plain | ssh b voiceauth profiles import -
"""

_CODES = (ExitCode.NOT_ENROLLED, ExitCode.STORAGE, ExitCode.BUSY)


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, _CODES, client=True)
    action = parser.action
    action(_list, "list", "List who is enrolled, and why refused profiles are refused", "voiceauth profiles list")
    show = action(
        _show, "show", "Show one profile, how good it is, and how to improve it", "voiceauth profiles show alice"
    )
    offer_profiles(show.add_argument("name", metavar="NAME"))
    rename = action(_rename, "rename", "Give a profile another name", "voiceauth profiles rename alcie alice")
    offer_profiles(rename.add_argument("name", metavar="OLD"))
    rename.add_argument("new_name", metavar="NEW")
    delete = action(_delete, "delete", "Delete a profile for good", "voiceauth profiles delete alice --yes")
    offer_profiles(delete.add_argument("name", metavar="NAME"))
    delete.add_argument("--yes", action="store_true", help="do not ask")
    more = "\nThe others are then numbered anew. The last exemplar cannot be dropped."
    example = "voiceauth profiles drop alice 3"
    drop = action(_drop, "drop", "Remove one exemplar of a profile, as `show` numbers them", example, more=more)
    offer_profiles(drop.add_argument("name", metavar="NAME"))
    drop.add_argument("number", metavar="NUMBER", type=count)
    drop.add_argument("--yes", action="store_true", help="do not ask")
    more = " It is biometric data."
    export = action(
        _export, "export", "Write a profile to FILE (mode 0600), under a passphrase", _EXPORT_EXAMPLES, more=more
    )
    offer_profiles(export.add_argument("name", metavar="NAME"))
    export.add_argument("file", metavar="FILE", nargs="?", help="default: NAME.backup; - is standard output")
    export.add_argument("--force", action="store_true", help="replace FILE if it exists")
    how = export.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="no passphrase: whoever gets FILE has the voice's data")
    more = "\nThe daemon must use the same model."
    example = "voiceauth profiles import alice.backup --replace"
    load = action(_import, "import", "Read a profile from FILE (- is standard input)", example, more=more)
    load.add_argument("file", metavar="FILE")
    load.add_argument("--name", metavar="N", help="enrol it under this name")
    load.add_argument("--replace", action="store_true", help="replace the profile of that name")
    for made in (how, load):
        made.add_argument(
            "--passphrase-file", metavar="F", help="its first line is the passphrase; else it is asked for"
        )
    example = "voiceauth profiles unlock alice"
    unlock = action(_unlock, "unlock", "Let a voice that is locked after too many failures be tried again", example)
    offer_profiles(unlock.add_argument("name", metavar="NAME"))
    more = "\nThe key is a new one, or the first in the systemd credential."
    action(_rekey, "rekey", "Encrypt all profiles again, with another key", "voiceauth profiles rekey", more=more)


def _call(arguments: argparse.Namespace, method: str, **parameters: object) -> dict[str, Any]:
    with Client(arguments.socket) as client:
        return client.call(method, **parameters)


def _list(arguments: argparse.Namespace, output: Output) -> int:
    reply = _call(arguments, "ListProfiles")
    output.object(reply)
    for line in profile_table(reply["profiles"], output):
        output.line(line)
    return ExitCode.OK


def _show(arguments: argparse.Namespace, output: Output) -> int:
    profile = _call(arguments, "ShowProfile", name=arguments.name)["profile"]
    output.object(profile)
    for line in profile_lines(profile, output):
        output.wrapped(line, indent=LABEL_WIDTH)
    return ExitCode.OK


def _rename(arguments: argparse.Namespace, output: Output) -> int:
    profile = _call(arguments, "RenameProfile", name=arguments.name, new_name=arguments.new_name)["profile"]
    output.object(profile)
    output.line(f"{plain(arguments.name)} is now {plain(profile['name'])}")
    return ExitCode.OK


def _delete(arguments: argparse.Namespace, output: Output) -> int:
    name = plain(arguments.name)
    if not arguments.yes:
        confirm(f"Delete the voice of {name} for good?", "--yes to delete", f"{name} was not deleted")
    command = ("profiles", "delete", arguments.name)
    call_with_proof(arguments.socket, output, command, "DeleteProfile", name=arguments.name)
    output.object({"deleted": arguments.name})
    output.line(f"deleted {name}")
    return ExitCode.OK


def _drop(arguments: argparse.Namespace, output: Output) -> int:
    name = plain(arguments.name)
    profile = _call(arguments, "ShowProfile", name=arguments.name)["profile"]
    if not profile["usable"]:
        raise StorageError(plain(profile.get("problem")), "profile_unusable")
    exemplars, position = profile.get("exemplar_list") or (), arguments.number
    if position > len(exemplars):
        raise UsageError(f"{name} has no exemplar {position}: they are numbered from 1 to {len(exemplars)}")
    if not arguments.yes:
        for line in exemplar_table(profile):
            output.line(line)
        confirm(f"Drop exemplar {position} of {name} for good?", "--yes to drop it", f"{name} has lost nothing")
    # The generation says which profile was shown: in another one the number may mean another exemplar.
    left = call_with_proof(
        arguments.socket,
        output,
        ("profiles", "drop", arguments.name, str(position)),
        "DropExemplar",
        name=arguments.name,
        exemplar=position,
        generation=profile.get("generation"),
    )["profile"]
    output.object(left)
    more = "exemplar" if left["exemplars"] == 1 else "exemplars"
    speech = number(left.get("net_speech"), ".1f")
    output.line(f"dropped exemplar {position} of {name}: {left['exemplars']} {more} left, {speech} s of speech")
    for sentence in advice(left):
        output.wrapped(f"  {sentence}", indent=2)
    return ExitCode.OK


def _export(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.terminal.profile_backup import export_profile

    export_profile(
        arguments.socket,
        arguments.name,
        arguments.file,
        output,
        passphrase_file=arguments.passphrase_file,
        in_clear=arguments.plain,
        replace=arguments.force,
    )
    return ExitCode.OK


def _import(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.terminal.profile_backup import read_document

    optional = {"name": arguments.name, "replace": arguments.replace or None}
    parameters = {key: value for key, value in optional.items() if value is not None}
    document = read_document(arguments.file, arguments.passphrase_file)
    profile = _call(arguments, "ImportProfile", document=document, **parameters)["profile"]
    output.object(profile)
    output.line(f"enrolled {plain(profile['name'])}: {profile['exemplars']} exemplars")
    return ExitCode.OK


def _unlock(arguments: argparse.Namespace, output: Output) -> int:
    unlocked = _call(arguments, "Unlock", name=arguments.name).get("unlocked") is True
    output.object({"name": arguments.name, "unlocked": unlocked})
    name = plain(arguments.name)
    output.line(f"the voice of {name} is unlocked" if unlocked else f"the voice of {name} was not locked")
    return ExitCode.OK


def _rekey(arguments: argparse.Namespace, output: Output) -> int:
    reply = _call(arguments, "Rekey")
    output.object(reply)
    output.line(f"encrypted {number(reply.get('profiles'), 'd')} profiles with the key {plain(reply.get('key'))}")
    output.line("keep a copy of the key file: profiles cannot be read without it, nor by an older copy")
    return ExitCode.OK
