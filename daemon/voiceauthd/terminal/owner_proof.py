"""The owner's password, where the daemon wants proof that the owner of a voice is present."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

from voiceauthd.client import Client
from voiceauthd.errors import DeniedError, NotRunningError
from voiceauthd.protocol.paths import find_socket, proof_socket
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.typed_secret import typed_secret
from voiceauthd.users import user_name

TRIES = 3
"""Passwords that are asked for, as many as `sudo` asks for."""

Result = TypeVar("Result")


def with_proof(call: Callable[..., Result], socket: str | None, output: Output, command: tuple[str, ...]) -> Result:
    """Return the result of `call()`, or, if the daemon wants a proof, of `call(proof=…)` once the password is typed.

    socket   the daemon's, as given by `--socket`
    command  of `voiceauth`, which an administrator may run instead

    Raises what `call` raises; `DeniedError`, reason `proof_needed`, where no password can be asked for, and
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


def call_with_proof(
    socket: str | None, output: Output, command: tuple[str, ...], method: str, **parameters: object
) -> dict[str, Any]:
    """Call a method of the daemon through `with_proof`, and return its reply."""
    with Client(socket) as client:

        def call(**proof: str) -> dict[str, Any]:
            return client.call(method, **parameters, **proof)

        return with_proof(call, socket, output, command)


def begun(replies: Iterable[Result]) -> Iterator[Result]:
    """Return the same replies once the first has arrived, so that a refused call raises here."""
    rest = iter(replies)
    return chain(list(islice(rest, 1)), rest)


def _proof(path: str, output: Output, instead: str) -> str:
    from voiceauthd.client.owner_proof import prove

    if not os.path.exists(path):
        raise DeniedError(
            f"changing a voice takes its owner's password, and the service that checks it does not run: an "
            f"administrator must do this, `{instead}` (`systemctl start voiceauthd-proof.socket` lets owners do it)",
            "proof_needed",
        )
    nobody = DeniedError(
        f"changing a voice takes its owner's password, and nobody can be asked here: run this in a terminal, or "
        f"`{instead}`",
        "proof_needed",
    )
    for left in reversed(range(TRIES)):
        password = typed_secret(f"Password of {plain(user_name(os.geteuid()))}: ", nobody)
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
