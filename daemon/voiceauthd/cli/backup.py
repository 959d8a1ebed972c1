"""`voiceauth profiles export` and `import`: a voice in a file, under a passphrase."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from voiceauthd.cli.arguments import Parser
from voiceauthd.cli.secretfile import MAX_DOCUMENT, read_text, write_secret
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, StorageError, UsageError
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.owner_proof import with_proof
from voiceauthd.terminal.passphrase import passphrase_of

EXPORT_EXAMPLES = """
voiceauth profiles export alice
voiceauth profiles export alice --passphrase-file secret.txt --force
voiceauth profiles export alice - --plain | ssh other voiceauth profiles import -
"""

IMPORT_EXAMPLES = """
voiceauth profiles import alice.backup
voiceauth profiles import a.backup --name bob --replace
"""

SEALED_MARK = "-----BEGIN VOICEAUTHD BACKUP-----"
"""What `profiles.backup.is_backup` looks for. Here too, as what reads it is loaded only when it is needed."""


def configure_export(parser: Parser) -> None:
    """Adds the arguments of `export`."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("file", metavar="FILE", nargs="?", help="default: NAME.backup; - is standard output")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--passphrase-file", metavar="F", help="the passphrase is the first line of F; else it is asked for"
    )
    how.add_argument("--plain", action="store_true", help="no passphrase: whoever gets FILE has the voice's data")


def configure_import(parser: Parser) -> None:
    """Adds the arguments of `import`."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--name", metavar="N", help="enrol it under this name")
    parser.add_argument("--replace", action="store_true", help="replace the profile of that name")
    parser.add_argument(
        "--passphrase-file", metavar="F", help="the passphrase is the first line of F; else it is asked for"
    )


def export(arguments: argparse.Namespace, output: Output) -> int:
    """Writes what the daemon gives, under a passphrase unless told otherwise."""
    target = arguments.file or f"{arguments.name}{'.profile.json' if arguments.plain else '.backup'}"
    if arguments.file is None and Path(target).name != target:
        raise UsageError(f"{plain(arguments.name)!r} does not make a file name: give FILE")
    passphrase = None if arguments.plain else _new_passphrase(arguments)
    document = _ask_for(arguments, output)
    if passphrase is not None:
        from voiceauthd.profiles.backup import seal_backup

        document = seal_backup(document, passphrase)
    if target == "-":
        output.object({"name": arguments.name, "document": document})
        if not output.as_json:
            output.raw(document if document.endswith("\n") else document + "\n")
        return ExitCode.OK
    write_secret(Path(target), document, replace=arguments.force)
    output.object({"name": arguments.name, "file": target, "sealed": not arguments.plain})
    note = "biometric data in clear: keep it safe" if arguments.plain else "without the passphrase it is lost"
    output.line(f"wrote {plain(target)} ({note})")
    return ExitCode.OK


def load(arguments: argparse.Namespace, output: Output) -> int:
    """Hands a document to the daemon, opened with its passphrase if it has one."""
    parameters: dict[str, Any] = {"document": _document(arguments)}
    if arguments.name is not None:
        parameters["name"] = arguments.name
    if arguments.replace:
        parameters["replace"] = True
    with Client(arguments.socket) as client:
        profile = client.call("ImportProfile", **parameters)["profile"]
    output.object(profile)
    output.line(f"enrolled {plain(profile['name'])}: {profile['exemplars']} exemplars")
    return ExitCode.OK


def _ask_for(arguments: argparse.Namespace, output: Output) -> str:
    """The document of the profile."""
    with Client(arguments.socket) as client:

        def ask(**proof: str) -> str:
            return str(client.call("ExportProfile", name=arguments.name, **proof)["document"])

        return with_proof(ask, arguments.socket, output, ("profiles", "export", arguments.name))


def _new_passphrase(arguments: argparse.Namespace) -> str:
    passphrase = passphrase_of(arguments.passphrase_file, f"for {plain(arguments.name)}", twice=True)
    from voiceauthd.profiles.backup import check_passphrase

    check_passphrase(passphrase)
    return passphrase


def _document(arguments: argparse.Namespace) -> str:
    text = read_text(arguments.file)
    if SEALED_MARK in text:
        from voiceauthd.profiles.backup import check_backup, open_backup

        check_backup(text)
        text = open_backup(text, passphrase_of(arguments.passphrase_file, f"of {plain(arguments.file)}", twice=False))
    if len(text.encode("utf-8", "replace")) > MAX_DOCUMENT:
        raise StorageError(f"{arguments.file} is no exported profile: over {MAX_DOCUMENT // 1024} KiB")
    return text
