"""Passphrases: from a file, or asked for on the terminal. Never an argument, which every user of the machine sees."""

from __future__ import annotations

import getpass
import sys
import warnings

from voiceauthd.errors import StorageError, UsageError

MAX_BYTES = 4096
"""Of the file, of which the first line counts. A file that is longer was meant for something else."""


def passphrase_of(file: str | None, what: str, *, twice: bool) -> str:
    """The first line of `file`, or what somebody types.

    what   what it is for, in the question
    twice  ask a second time, for one that is new

    Raises `StorageError` if the file cannot be read; `UsageError` if it is empty, if nobody can be asked, or if what
    was typed differs.
    """
    if file is not None:
        return _first_line(file)
    first = _asked(f"Passphrase {what}: ")
    if twice and _asked("The same again: ") != first:
        raise UsageError("the two passphrases differ: nothing was written", "not_confirmed")
    if not first:
        raise UsageError("no passphrase was given", "not_confirmed")
    return first


def _first_line(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise StorageError(f"cannot read {file}: {problem.strerror or problem}") from problem
    try:
        line = data.split(b"\n")[0].removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        line = ""
    if not line or len(data) > MAX_BYTES:
        raise UsageError(f"{file} holds no passphrase: one line of text is one")
    return line


def _asked(question: str) -> str:
    """The terminal is asked even where standard input is a pipe; that it shows what is typed is no way to go on."""
    if not (sys.stdin.isatty() or sys.stderr.isatty()):
        raise UsageError("nobody is there to be asked for a passphrase: --passphrase-file FILE names one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(question, sys.stderr)
    except (getpass.GetPassWarning, EOFError, OSError):
        raise UsageError("nobody could be asked for a passphrase: --passphrase-file FILE names one") from None
