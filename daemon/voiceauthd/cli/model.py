"""`voiceauth model …`: the model cache, without a daemon. `fetch` is the only command that uses a network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.cli.arguments import Parser, add_json
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.embed.cache import CachedModel

_EXAMPLES = """
voiceauth model fetch campplus
voiceauth model fetch microsoft/wavlm-base-sv --cache /media/stick/models
voiceauth model list --json
"""

_CODES = (ExitCode.MODEL, ExitCode.CONFIG)


def configure(parser: Parser) -> None:
    """Adds the sub-commands of `voiceauth model`."""
    parser.explain(
        "Fetch, list and remove speaker models. A folder of the cache may be copied to a machine without a network.",
        _EXAMPLES,
        _CODES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str, example: str) -> Parser:
        made: Parser = actions.add_parser(name, help=summary[0].lower() + summary[1:])
        made.explain(f"{summary}.", example, _CODES)
        made.add_argument("--cache", metavar="DIR", type=Path, help="the model cache (default: the configuration's)")
        add_json(made)
        return made

    fetch = action("fetch", "Download a model into the cache, and check it", "voiceauth model fetch campplus")
    fetch.add_argument("name", metavar="NAME", help="campplus, or the hub id of a WavLM x-vector checkpoint")
    fetch.add_argument("--revision", metavar="R", help="the hub's branch, tag or commit (default: its main branch)")
    action("list", "List the models in the cache, with size and hash; each is verified", "voiceauth model list")
    remove = action("remove", "Delete a model from the cache", "voiceauth model remove campplus")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--revision", metavar="R", help="only this revision (default: all of them)")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what `arguments.action` says."""
    actions = {"fetch": _fetch, "list": _list, "remove": _remove}
    return actions[arguments.action](arguments, output)


def cache_folder(arguments: argparse.Namespace) -> Path:
    """The model cache: the option's, else the configuration's, else the usual place. Raises `ConfigError`."""
    from voiceauthd.config.load import find_config, load_config
    from voiceauthd.embed.cache import default_folder

    if arguments.cache is not None:
        return Path(arguments.cache)
    configured = load_config(find_config(None, os.environ)).model.cache
    return configured if configured is not None else default_folder()


def model_object(model: CachedModel) -> Mapping[str, object]:
    """A cached model for a program."""
    return {
        "name": model.name,
        "revision": model.revision,
        "size": model.size,
        "digest": model.digest,
        "path": str(model.path),
        "verified": model.problem is None,
        "problem": model.problem,
        "source": model.source,
        "licence": model.licence,
        "fetched": model.fetched,
    }


def _fetch(arguments: argparse.Namespace, output: Output) -> int:
    folder = cache_folder(arguments)
    from voiceauthd.embed.cache import fetch

    model = fetch(arguments.name, folder, lambda line: output.progress(plain(line)), arguments.revision)
    output.object(model_object(model))
    _print(model, output)
    return ExitCode.OK


def _list(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.embed.cache import list_models

    folder = cache_folder(arguments)
    models = list_models(folder)
    output.object({"folder": str(folder), "models": [model_object(model) for model in models]})
    if not models:
        output.line(f"no model in {plain(folder)}; `voiceauth model fetch campplus` gets one")
    for model in models:
        _print(model, output)
    return ExitCode.OK


def _remove(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.embed.cache import remove

    removed = remove(arguments.name, cache_folder(arguments), arguments.revision)
    output.object({"removed": [str(path) for path in removed]})
    for path in removed:
        output.line(f"removed {plain(path)}")
    return ExitCode.OK


def _print(model: CachedModel, output: Output) -> None:
    state = output.style("verified", "green") if model.problem is None else output.style(plain(model.problem), "red")
    output.line(
        f"{output.style(plain(model.name), 'bold')} {plain(model.revision)[:12]}  {model.size / 1e6:.1f} MB  {state}"
    )
    output.line(f"  sha256 {plain(model.digest) or 'unknown'}")
    output.line(f"  {plain(model.path)}")
