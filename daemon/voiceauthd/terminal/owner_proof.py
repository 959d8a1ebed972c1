"""The password of whose voice it is, where the daemon wants to be shown that the owner is there."""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from voiceauthd.errors import DeniedError, NotRunningError
from voiceauthd.protocol.paths import find_socket, proof_socket
from voiceauthd.terminal.output import Output, plain

TRIES = 3
"""Passwords that are asked for, as `sudo` does."""

Result = TypeVar("Result")


def with_proof(call: Callable[..., Result], socket: str | None, output: Output, command: tuple[str, ...]) -> Result:
    """What `call()` gives, or, if the daemon wants a proof, `call(proof=…)` once somebody has typed the password.

    socket   the daemon's, as given by `--socket`
    command  of `voiceauth`, which an administrator may type instead

    Raises what `call` does; `DeniedError`, reason `proof_needed`, where no password can be asked for, and
    `wrong_password` after three.
    """
    try:
        return call()
    except DeniedError as denied:
        if denied.reason != "proof_needed":
            raise
    return call(
        proof=_proof(proof_socket(socket or find_socket()), output, shlex.join(("sudo", "voiceauth", *command)))
    )


def begun(replies: Iterable[Result]) -> Iterator[Result]:
    """The same replies, once the first has come: a call that is refused is refused here."""
    rest = iter(replies)
    return chain(list(islice(rest, 1)), rest)


def _proof(path: str, output: Output, instead: str) -> str:
    from voiceauthd.client.owner_proof import prove

    if not os.path.exists(path):
        raise DeniedError(
            f"a voice is changed by its owner's password, and nothing asks for it here: an administrator must do this, "
            f"`{instead}` (`systemctl start voiceauthd-proof.socket` lets owners do it)",
            "proof_needed",
        )
    for left in reversed(range(TRIES)):
        password = _asked(instead)
        try:
            return prove(password, path)
        except DeniedError as denied:
            if denied.reason != "wrong_password":
                raise
            if left:
                output.note("voiceauth: wrong password, try again")
        except NotRunningError as problem:
            raise NotRunningError(f"{problem}; an administrator can do this: `{instead}`", problem.reason) from problem
    raise DeniedError(f"wrong password, {TRIES} times", "wrong_password")


def _asked(instead: str) -> str:
    """The terminal is asked even where standard input is a pipe; that it shows what is typed is no way to go on."""
    nobody = DeniedError(
        f"a voice is changed by its owner's password, and nobody is there to be asked: run this in a terminal, or "
        f"`{instead}`",
        "proof_needed",
    )
    if not (sys.stdin.isatty() or sys.stderr.isatty()):
        raise nobody
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Password of {plain(_user())}: ", sys.stderr)
    except (getpass.GetPassWarning, EOFError, OSError):
        raise nobody from None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
