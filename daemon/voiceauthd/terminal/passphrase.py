"""Passphrases: from a file, or typed on the terminal. Never an argument, which every user of the machine can see."""

from __future__ import annotations

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.terminal.typed_secret import typed_secret

MAX_BYTES = 4096
"""Of the passphrase file. A longer file was meant for something else."""


def passphrase_of(file: str | None, what: str, *, twice: bool) -> str:
    """Return the first line of `file`, or what somebody types.

    what   what it is for, in the question
    twice  ask a second time, for a new passphrase

    Raises `StorageError` if the file cannot be read; `UsageError` if it is empty, if nobody can be asked, or if the
    two typed passphrases differ.
    """
    if file is not None:
        return _first_line(file)
    nobody = UsageError("cannot ask for a passphrase without a terminal: pass --passphrase-file FILE")
    first = typed_secret(f"Passphrase {what}: ", nobody)
    if twice and typed_secret("The same again: ", nobody) != first:
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
        raise UsageError(f"{file} holds no passphrase: its first line must be one")
    return line
