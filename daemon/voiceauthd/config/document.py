"""Printing the configuration: the commented file, the effective values, and the table of the manual."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from voiceauthd.config.keys import Key, allowed, keys, sections, value_of, written
from voiceauthd.config.schema import Config

WIDTH = 100
"""Columns of a comment, so that it fits a terminal of the usual width."""

HEADER = """\
# The configuration of voiceauthd. Every key is listed with its default; keys may be left out.
#
# Settings also come from the environment (VOICEAUTHD_AUDIO__DEVICE=…) and from the command line
# (--set audio.device=…). The command line overrides the environment, which overrides this file.
# Relative paths start from the folder of this file; ~ is the home folder.
# Check it with `voiceauth config check`, then make the daemon read it again with `voiceauth reload`.
"""


def render(config: Config | None = None) -> str:
    """Return the commented `config.yaml` with the values of `config`, by default the built-in ones.

    Reading it back gives `config`, except for relative paths.
    """
    effective = config or Config()
    parts = [HEADER]
    parts.extend(_commented(key, effective, "") for key in keys().values() if not key.section)
    for name, description in sections().items():
        inside = [_commented(key, effective, "  ") for key in keys().values() if key.section == name]
        parts.append(f"# {description}\n{name}:\n" + "\n".join(inside))
    return "\n".join(parts)


def describe(config: Config) -> str:
    """Return the effective values of `config` as YAML, each with the place where it was set."""
    lines = [f"# {config.file}" if config.file else "# no configuration file: the built-in defaults"]
    section = ""
    for key, text, origin in effective(config):
        if key.section != section:
            lines.append(f"{key.section}:")
            section = key.section
        indent = "  " if key.section else ""
        lines.append(f"{f'{indent}{key.name}: {text}':<44}  # {origin}")
    return "\n".join(lines) + "\n"


def effective(config: Config) -> Iterator[tuple[Key, str, str]]:
    """Yield each key with its value as written in the file, and the place where it was set."""
    origins = dict(config.origins)
    for path, key in keys().items():
        yield key, written(value_of(config, key), key), origins.get(path, "default")


def table() -> str:
    """Return the reference of all keys in Markdown, for `docs/configuration.md`."""
    parts = []
    for name in ("", *sections()):
        inside = [key for key in keys().values() if key.section == name]
        title = f"### `{name}`\n\n{sections()[name]}" if name else "### At the top level"
        rows = "\n".join(_row(key) for key in inside)
        parts.append(f"{title}\n\n| key | default | allowed | what it does |\n| --- | --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _row(key: Key) -> str:
    cells = (f"`{key.name}`", f"`{written(key.default, key)}`", allowed(key), key.setting.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _commented(key: Key, config: Config, indent: str) -> str:
    facts = f"Allowed: {allowed(key)}. Default: {written(key.default, key)}."
    lines = [*wrap(key.setting.help, WIDTH), *wrap(facts, WIDTH)]
    comment = "".join(f"{indent}# {line}\n" for line in lines)
    return f"{comment}{indent}{key.name}: {written(value_of(config, key), key)}\n"
