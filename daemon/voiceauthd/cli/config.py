"""`voiceauth config …`: the configuration, without a daemon."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from voiceauthd.cli.arguments import Parser, add_json
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.output import Output, plain

_EXAMPLES = """
voiceauth config check && voiceauth reload
voiceauth config check new.yaml
voiceauth config default > config.yaml
voiceauth config show --set model.name=campplus
"""

_CODES = (ExitCode.CONFIG,)

_BUILT_IN = "no configuration file: the built-in defaults"


def configure(parser: Parser) -> None:
    """Adds the sub-commands of `voiceauth config`."""
    parser.explain("Check, show and locate the configuration. Needs no daemon.", _EXAMPLES, _CODES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str, example: str) -> Parser:
        made: Parser = actions.add_parser(name, help=summary[0].lower() + summary[1:])
        made.explain(f"{summary}.", example, _CODES)
        add_json(made)
        return made

    check = action(
        "check", "Check the file, the environment and --set; tell all that is wrong", "voiceauth config check"
    )
    show = action("show", "Print every key with its value, and where that was set", "voiceauth config show --json")
    for made in (check, show):
        made.add_argument("file", metavar="FILE", nargs="?", help="instead of the one that would be used")
        made.add_argument(
            "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="as for `voiceauth run`"
        )
    action("default", "Print the commented default configuration", "voiceauth config default > config.yaml")
    action("path", "Print which file would be used", "voiceauth config path")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what `arguments.action` says."""
    actions = {"check": _check, "show": _show, "default": _default, "path": _path}
    return actions[arguments.action](arguments, output)


def _check(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.load import find_config, load_config

    file = find_config(_given(arguments), os.environ)
    load_config(file, arguments.settings)
    output.object({"file": str(file) if file else None, "valid": True})
    output.line(f"{plain(file)}: right" if file else f"{_BUILT_IN}: right")
    return ExitCode.OK


def _show(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.document import describe, effective
    from voiceauthd.config.keys import value_of
    from voiceauthd.config.load import find_config, load_config

    config = load_config(find_config(_given(arguments), os.environ), arguments.settings)
    values = {}
    for key, _, origin in effective(config):
        value = value_of(config, key)
        values[key.path] = {"value": str(value) if isinstance(value, Path) else value, "origin": origin}
    output.object({"file": str(config.file) if config.file else None, "values": values})
    for line in describe(config).splitlines():
        output.line(plain(line))
    return ExitCode.OK


def _default(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.document import render

    text = render()
    output.object({"document": text})
    for line in text.splitlines():
        output.line(line)
    return ExitCode.OK


def _path(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.config.load import find_config

    file = find_config(None, os.environ)
    output.object({"file": str(file) if file else None})
    output.line(plain(file) if file else _BUILT_IN)
    return ExitCode.OK


def _given(arguments: argparse.Namespace) -> Path | None:
    return Path(arguments.file) if arguments.file is not None else None
