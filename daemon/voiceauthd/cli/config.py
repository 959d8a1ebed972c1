"""Check, show, change and locate the configuration. Needs no daemon; where one
runs and shows its configuration to this user, the file is the daemon's.

examples:
  voiceauth config set audio.device "USB Audio" && voiceauth reload
  voiceauth config check && voiceauth reload
  voiceauth config check new.yaml
  voiceauth config default > config.yaml
  voiceauth config show --set model.name=campplus
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from voiceauthd.cli.arguments import add_settings
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output, plain

_BUILT_IN = "no configuration file: the built-in defaults"


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, (ExitCode.CONFIG,))
    example = "voiceauth config check"
    check = parser.action(_check, "check", "Check the file, the environment and --set; report every error", example)
    example = "voiceauth config show --json"
    show = parser.action(_show, "show", "Print every key with its value, and where that was set", example)
    for made in (check, show):
        made.add_argument("file", metavar="FILE", nargs="?", help="instead of the one that would be used")
        add_settings(made, "as for `voiceauth run`")
    example = "voiceauth config default > config.yaml"
    parser.action(_default, "default", "Print the commented default configuration", example)
    example = 'voiceauth config set audio.device "USB Audio"'
    codes = (ExitCode.CONFIG, ExitCode.STORAGE)
    change = parser.action(_set, "set", "Set one key in the file, and make it if it is missing", example, codes=codes)
    change.add_argument("key", metavar="KEY", help="such as audio.device")
    change.add_argument("value", metavar="VALUE", help="null for nothing, where the key allows it")
    change.add_argument("--file", metavar="FILE", help="instead of the one that would be used")
    parser.action(_path, "path", "Print which file the daemon uses, or would use", "voiceauth config path")


def _check(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.load import load_config

    file = _file(arguments)
    load_config(file, arguments.settings)
    output.object({"file": str(file) if file else None, "valid": True})
    output.line(f"{plain(file) if file else _BUILT_IN}: valid")
    return ExitCode.OK


def _show(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.document import describe
    from voiceauthd.config.load import load_config
    from voiceauthd.config.settings_object import settings_object
    from voiceauthd.terminal.daemon_config import environment_of, file_in_use

    if (named := _named(arguments)) is not None:
        config = load_config(named, arguments.settings)
    else:
        file, status, _ = file_in_use(None)
        of_daemon = [] if status is None else status["runs_as"]["settings"]
        config = load_config(
            file, [*of_daemon, *arguments.settings], None if status is None else environment_of(status)
        )
    output.object({"file": str(config.file) if config.file else None, "values": settings_object(config)})
    for line in describe(config).splitlines():
        output.line(plain(line))
    return ExitCode.OK


def _default(_arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.document import render

    text = render()
    output.object({"document": text})
    for line in text.splitlines():
        output.line(line)
    return ExitCode.OK


def _set(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.edit import file_to_edit, set_value

    file = _file(arguments) or file_to_edit(os.environ)
    value = set_value(file, arguments.key, arguments.value)
    output.object({"file": str(file), "key": arguments.key, "value": value})
    output.line(f"{plain(arguments.key)}: {plain(value)} in {plain(file)}; `voiceauth reload` uses it")
    return ExitCode.OK


def _path(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.terminal.daemon_config import file_in_use

    file, _, whose = file_in_use(None)
    output.object({"file": str(file) if file else None, "whose": whose})
    output.line(f"{plain(file) if file else _BUILT_IN}")
    output.note(f"the configuration {plain(whose)}")
    return ExitCode.OK


def _file(arguments: argparse.Namespace) -> Path | None:
    """Return the file that the command is about: the named one, else the daemon's, else this user's."""
    from voiceauthd.terminal.daemon_config import file_in_use

    named = _named(arguments)
    return file_in_use(None)[0] if named is None else named


def _named(arguments: argparse.Namespace) -> Path | None:
    given = arguments.file or os.environ.get("VOICEAUTHD_CONFIG")
    return Path(given) if given else None
