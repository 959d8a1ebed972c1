"""All commands with their parsers, and a folder that has `voiceauth` in it for a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from voiceauthd.cli.main import parser_of
from voiceauthd.cli.manual import COMMANDS
from voiceauthd.service.command_line import daemon_parser


def all_parsers() -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield each command line up to its arguments, such as ("voiceauth", "profiles", "list"), with its parser."""
    for command in COMMANDS:
        parser = parser_of(command)
        if not parser.actions:
            yield ("voiceauth", command.name), parser
        for name, action in parser.actions.items():
            yield ("voiceauth", command.name, name), action
    yield ("voiceauthd",), daemon_parser()


def long_options(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options that start with two hyphens, as `--help` lists them."""
    return [name for name in parser._option_string_actions if name.startswith("--")]


def folder_with_command(folder: Path) -> Path:
    """Make a folder for $PATH in which `voiceauth` is this checkout's."""
    command = folder / "voiceauth"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m voiceauthd.cli.main "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return folder
