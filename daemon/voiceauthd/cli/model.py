"""Fetch, list and remove speaker models. A folder of the cache may be copied to a
machine without a network.

examples:
  voiceauth model fetch campplus
  voiceauth model fetch microsoft/wavlm-base-sv --cache /media/stick/models
  voiceauth model list --json
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output, plain

_CODES = (ExitCode.MODEL, ExitCode.CONFIG)


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, _CODES)
    example = "voiceauth model fetch campplus"
    fetch = parser.action(_fetch, "fetch", "Download a model into the cache, and check it", example)
    fetch.add_argument("name", metavar="NAME", help="campplus, or the hub id of a WavLM x-vector checkpoint")
    fetch.add_argument("--revision", metavar="R", help="the hub's branch, tag or commit (default: its main branch)")
    summary = "Verify and list the models in the cache, with size and hash"
    list_models = parser.action(_list, "list", summary, "voiceauth model list")
    remove = parser.action(_remove, "remove", "Delete a model from the cache", "voiceauth model remove campplus")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--revision", metavar="R", help="only this revision (default: all of them)")
    for made in (fetch, list_models, remove):
        made.add_argument("--cache", metavar="DIR", type=Path, help="the model cache (default: the configured one)")


def _fetch(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.embed.cache import fetch
    from voiceauthd.terminal.model_lines import model_lines, model_object

    folder = _cache_folder(arguments)
    model = fetch(arguments.name, folder, lambda line: output.progress(plain(line)), arguments.revision)
    output.object(model_object(model))
    for line in model_lines(model, output):
        output.line(line)
    return ExitCode.OK


def _list(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.embed.cache import list_models
    from voiceauthd.terminal.model_lines import model_lines, model_object

    folder = _cache_folder(arguments)
    models = list_models(folder)
    output.object({"folder": str(folder), "models": [model_object(model) for model in models]})
    if not models:
        output.line(f"no model in {plain(folder)}; `voiceauth model fetch campplus` gets one")
    for line in [line for model in models for line in model_lines(model, output)]:
        output.line(line)
    return ExitCode.OK


def _remove(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.embed.cache import remove

    removed = remove(arguments.name, _cache_folder(arguments), arguments.revision)
    output.object({"removed": [str(path) for path in removed]})
    for path in removed:
        output.line(f"removed {plain(path)}")
    return ExitCode.OK


def _cache_folder(arguments: argparse.Namespace) -> Path:
    """Return the model cache: the option's, else the configured one, else the default. Raises `ConfigError`."""
    from voiceauthd.config.load import find_config, load_config
    from voiceauthd.embed.cache import default_folder

    return arguments.cache or load_config(find_config(None, os.environ)).model.cache or default_folder()
