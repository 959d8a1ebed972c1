"""What a shell offers for an argument when the user presses Tab: a mark on the argument of a parser.

An argument with choices offers these; one whose placeholder is FILE, FILES or PATH, or whose name is like
--passphrase-file, files; FOLDER or DIR, folders. Any other must be marked: NAME may be a voice, a model or a policy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Kind(StrEnum):
    """Where the offered words come from."""

    NOTHING = "nothing"
    WORDS = "words"
    FILES = "files"
    FOLDERS = "folders"
    PROFILES = "profiles"


class Offer(NamedTuple):
    """What is offered. `words` are the choices of `Kind.WORDS`."""

    kind: Kind
    words: tuple[str, ...] = ()


_MARK = "voiceauthd_offer"
_FILES = frozenset({"FILE", "FILES", "PATH"})
_FOLDERS = frozenset({"FOLDER", "DIR"})


def offer_profiles(argument: argparse.Action) -> None:
    """Mark an argument that is the name of an enrolled voice."""
    setattr(argument, _MARK, Offer(Kind.PROFILES))


def offer_files(argument: argparse.Action) -> None:
    """Mark an argument that is a file, whatever its placeholder."""
    setattr(argument, _MARK, Offer(Kind.FILES))


def offer_words(argument: argparse.Action, words: Sequence[str]) -> None:
    """Mark an argument for which some words are likely, and others possible."""
    setattr(argument, _MARK, Offer(Kind.WORDS, tuple(words)))


def offer_of(argument: argparse.Action) -> Offer:
    """Return what is offered for an argument."""
    marked = getattr(argument, _MARK, None)
    if isinstance(marked, Offer):
        return marked
    if argument.choices:
        return Offer(Kind.WORDS, tuple(str(choice) for choice in argument.choices))
    if argument.metavar in _FOLDERS:
        return Offer(Kind.FOLDERS)
    named = any(name.endswith("-file") for name in argument.option_strings)
    if named or argument.metavar in _FILES or argument.type is Path:
        return Offer(Kind.FILES)
    return Offer(Kind.NOTHING)
