"""`voiceauthd-prove`: asks PAM for the password of whoever connects, and has the daemon make a proof of it.

systemd starts one, as root, for each connection to /run/voiceauthd/proof, which is its standard input. It reads one
message, asks about the very account that the kernel says is at the other end, answers, and ends. Whatever goes wrong is
answered with an error, or with silence; a proof is only ever what the daemon gave after PAM has said yes.
"""

from __future__ import annotations

import argparse
import os
import pwd
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from voiceauthd.client.client import Client
from voiceauthd.client.socket_owner import peer_uid, user_ids
from voiceauthd.errors import DeniedError, NotRunningError, UsageError, VoiceauthError
from voiceauthd.login.password import Answer, ask_pam
from voiceauthd.protocol import errors
from voiceauthd.protocol.interface import PROOF, MismatchError, load
from voiceauthd.protocol.paths import SYSTEM_SOCKET
from voiceauthd.protocol.wire import EITHER, Decoder, Reply, Request, WireError, encode_reply, parse_request

MAX_MESSAGE = 4096
"""Bytes of the one message: a password, and what is around it."""

READ_SECONDS = 10.0
VOUCH_SECONDS = 15.0
LIFE_SECONDS = 30
"""After which the kernel ends this process, whatever it does: PAM may wait for anything."""

SERVICE = "voiceauthd"
"""Of PAM: /etc/pam.d/voiceauthd. And the user of the daemon, who may listen on its socket beside root."""

OVERFLOW_UID = 65_534
"""What the kernel shows for a user of another user namespace: nobody's identity."""

OK, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers the connection on standard input. Returns 0 if it was answered, be it with an error."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIFE_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the password
    parser = argparse.ArgumentParser(prog="voiceauthd-prove", description="Started by systemd; see docs/protocol.md.")
    parser.add_argument("--socket", metavar="PATH", default=SYSTEM_SOCKET, help="the daemon's")
    daemon_socket = parser.parse_args(arguments).socket
    try:
        with _connection() as connection:
            return _serve(connection, daemon_socket)
    except OSError as problem:
        _log(f"not answered: {problem.strerror or type(problem).__name__}")
        return FAILED


def _connection() -> socket.socket:
    """Standard input, which nobody who is started from here inherits."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def _serve(connection: socket.socket, daemon_socket: str) -> int:
    decoder = Decoder(MAX_MESSAGE)
    try:
        reply = answer(connection, decoder, daemon_socket)
    except OSError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is: no proof
        # Its text may hold what it failed on.
        _log(f"failed: {type(problem).__name__}")
        reply = Reply({"detail": "a defect of voiceauthd-prove"}, error=errors.PROOF_UNAVAILABLE)
    connection.settimeout(READ_SECONDS)
    connection.sendall(encode_reply(reply, decoder.delimiter or EITHER))
    return OK


def answer(connection: socket.socket, decoder: Decoder, daemon_socket: str) -> Reply:
    """The answer to the one call on this connection. Raises `OSError` if there is nobody to answer to."""
    uid = peer_uid(connection)
    try:
        password = _password(_read(connection, decoder))
        name = _account(uid)
        _require_right(name, password, uid)
        proof = _proof(uid, daemon_socket)
    except WireError as problem:
        return Reply({"detail": str(problem)}, error=errors.MALFORMED_MESSAGE)
    except MismatchError as problem:
        return Reply({"parameter": problem.parameter}, error=errors.INVALID_PARAMETER)
    except _UnknownMethodError as problem:
        return Reply({"method": str(problem)}, error=errors.METHOD_NOT_FOUND)
    except VoiceauthError as problem:
        _log(f"no proof for uid {uid}: {problem.reason}: {problem}")
        return _refusal(problem)
    _log(f"gave a proof to {name} (uid {uid})")
    return Reply(proof)


class _UnknownMethodError(Exception):
    """A method that is not here."""


def _read(connection: socket.socket, decoder: Decoder) -> Request:
    deadline = time.monotonic() + READ_SECONDS
    while True:
        left = deadline - time.monotonic()
        if not left > 0:
            raise TimeoutError("nothing came in time")
        connection.settimeout(left)
        data = connection.recv(MAX_MESSAGE)
        messages = decoder.feed(data) if data else decoder.finish()
        if messages:
            return parse_request(messages[0])
        if decoder.overflowed:
            raise WireError(f"a message of more than {MAX_MESSAGE} bytes")
        if not data:
            raise ConnectionError("the caller went away")


def _password(request: Request) -> str:
    interface, _, name = request.method.rpartition(".")
    if interface != PROOF or name not in load(PROOF).methods:
        raise _UnknownMethodError(request.method)
    if request.oneway or request.upgrade:
        raise MismatchError("oneway" if request.oneway else "upgrade", "a proof is asked for to be had")
    password: str = load(PROOF).check_call(name, request.parameters)["password"]
    return password


def _account(uid: int) -> str:
    """The name of the account of `uid`. Raises `DeniedError` for who has none, and for root."""
    if uid == 0:
        raise DeniedError("root needs no proof", "proof_refused")
    try:
        name = pwd.getpwuid(uid).pw_name
        known = uid != OVERFLOW_UID and pwd.getpwnam(name).pw_uid == uid  # PAM is asked by the name
    except KeyError:
        known = False
    if not known:
        raise DeniedError(f"uid {uid} has no account of its own here", "proof_refused")
    return name


def _require_right(name: str, password: str, uid: int) -> None:
    """Raises `DeniedError` and `NotRunningError` unless PAM says that this is the password of the account."""
    said = ask_pam(SERVICE, name, password)
    if said.answer is Answer.WRONG:
        raise DeniedError(f"wrong password for {name}", "wrong_password")
    if said.answer is Answer.REFUSED:
        raise DeniedError(f"PAM refuses the account {name}: {said.text}", "proof_refused")
    if said.answer is not Answer.RIGHT:
        raise NotRunningError(f"PAM could not be asked: {said.text}", "proof_unavailable")
    if pwd.getpwnam(name).pw_uid != uid:
        raise DeniedError(f"{name} is another user now", "proof_refused")


def _proof(uid: int, daemon_socket: str) -> dict[str, Any]:
    """What the daemon makes of root's word that `uid` has given the password. Raises `VoiceauthError`."""
    try:
        with Client(daemon_socket, VOUCH_SECONDS, owners=_daemon_uids()) as client:
            return load(PROOF).check_reply("Prove", client.call("Vouch", uid=uid))
    except (WireError, MismatchError) as problem:
        raise NotRunningError(f"the daemon's answer makes no sense: {problem}", "proof_unavailable") from None


def _daemon_uids() -> frozenset[int]:
    """Who may listen on the daemon's socket, beside root."""
    try:
        return user_ids([SERVICE])
    except UsageError:
        return frozenset()


def _refusal(problem: VoiceauthError) -> Reply:
    row = errors.row_for_exception(problem)
    if row is not None and row.error == errors.PROOF_WRONG:
        return Reply({}, error=row.error)
    if row is not None and row.error == errors.PROOF_REFUSED:
        return Reply({"detail": str(problem)}, error=row.error)
    return Reply({"detail": f"no proof can be had just now: {problem}"}, error=errors.PROOF_UNAVAILABLE)


def _log(text: str) -> None:
    """One line to the journal. Never the password, nor the proof."""
    sys.stderr.write(f"voiceauthd-prove: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
