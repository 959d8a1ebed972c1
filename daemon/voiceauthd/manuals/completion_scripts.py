"""The scripts for shells. They know no commands: they ask `voiceauth completion words`."""

from __future__ import annotations

from pathlib import Path

SHELLS = ("bash", "zsh", "fish")


def completion_script(shell: str) -> str:
    """Return the script for one of `SHELLS`."""
    return Path(__file__).with_name(f"completion.{shell}").read_text(encoding="utf-8")
