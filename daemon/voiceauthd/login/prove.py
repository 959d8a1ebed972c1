"""`voiceauthd-prove`: check the password of the connecting user with PAM, and get a proof of it from the daemon.

systemd starts one process, as root, for each connection to /run/voiceauthd/proof, which is its standard input. It reads
one message, checks the password of exactly the account that the kernel reports at the other end, answers, and ends. Any
failure is answered with an error, or with nothing; a proof is only ever what the daemon returned after PAM accepted the
password.
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
from voiceauthd.client.pam_arguments import DAEMON_USER
from voiceauthd.client.socket_owner import user_ids
from voiceauthd.errors import DeniedError, NotRunningError, UsageError, VoiceauthError
from voiceauthd.login.password import Answer, ask_pam
from voiceauthd.protocol import errors
from voiceauthd.protocol.credentials import OVERFLOW_UID, credentials_of
from voiceauthd.protocol.interface import PROOF, MismatchError, load
from voiceauthd.protocol.paths import SYSTEM_SOCKET
from voiceauthd.protocol.wire import BOTH_DELIMITERS, Decoder, Reply, Request, WireError, encode_reply, parse_request

MAX_MESSAGE = 4096
"""Maximum bytes of the one message: a password and the call around it."""

READ_TIMEOUT = 10.0
"""Seconds to read the message, and to send the answer."""

VOUCH_TIMEOUT = 15.0
"""Seconds to wait for the daemon's proof."""

PROCESS_LIFETIME = 30
"""Seconds after which the kernel kills this process, whatever it does: PAM may wait indefinitely."""

PAM_SERVICE = "voiceauthd"
"""The stack in /etc/pam.d/voiceauthd."""


OK, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer the connection on standard input. Returns 0 if it was answered, even with an error."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PROCESS_LIFETIME)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the password
    parser = argparse.ArgumentParser(prog="voiceauthd-prove", description="Started by systemd; see docs/protocol.md.")
    parser.add_argument("--socket", metavar="PATH", default=SYSTEM_SOCKET, help="the daemon's socket")
    daemon_socket = parser.parse_args(arguments).socket
    try:
        with _connection() as connection:
            return _serve(connection, daemon_socket)
    except OSError as problem:
        _log(f"not answered: {problem.strerror or type(problem).__name__}")
        return FAILED


def _connection() -> socket.socket:
    """Return the connection on standard input, which is replaced so that no child process inherits it."""
    connection = socket.socket(fileno=os.dup(0))
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 0)
    os.close(devnull)
    return connection


def _serve(connection: socket.socket, daemon_socket: str) -> int:
    decoder = Decoder(MAX_MESSAGE)
    try:
        reply = answer(connection, decoder, daemon_socket)
    except OSError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is: no proof
        # The type only: the text may contain the password.
        _log(f"failed: {type(problem).__name__}")
        reply = Reply({"detail": "a defect in voiceauthd-prove"}, error=errors.PROOF_UNAVAILABLE)
    connection.settimeout(READ_TIMEOUT)
    connection.sendall(encode_reply(reply, decoder.delimiter or BOTH_DELIMITERS))
    return OK


def answer(connection: socket.socket, decoder: Decoder, daemon_socket: str) -> Reply:
    """Return the answer to the one call on this connection. Raises `OSError` if nobody is there to receive it."""
    uid = credentials_of(connection).uid
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
    """A method that this service does not have."""


def _read(connection: socket.socket, decoder: Decoder) -> Request:
    deadline = time.monotonic() + READ_TIMEOUT
    while True:
        remaining = deadline - time.monotonic()
        if not remaining > 0:
            raise TimeoutError("no message arrived in time")
        connection.settimeout(remaining)
        data = connection.recv(MAX_MESSAGE)
        messages = decoder.feed(data) if data else decoder.finish()
        if messages:
            return parse_request(messages[0])
        if decoder.overflowed:
            raise WireError(f"a message of more than {MAX_MESSAGE} bytes")
        if not data:
            raise ConnectionError("the caller disconnected")


def _password(request: Request) -> str:
    interface, _, name = request.method.rpartition(".")
    if interface != PROOF or name not in load(PROOF).methods:
        raise _UnknownMethodError(request.method)
    if request.oneway or request.upgrade:
        raise MismatchError("oneway" if request.oneway else "upgrade", "a proof needs an answer")
    password: str = load(PROOF).check_call(name, request.parameters)["password"]
    return password


def _account(uid: int) -> str:
    """Return the account name of `uid`. Raises `DeniedError` for root, and for a uid without an account."""
    if uid == 0:
        raise DeniedError("root needs no proof", "proof_refused")
    try:
        name = pwd.getpwuid(uid).pw_name
        known = uid != OVERFLOW_UID and pwd.getpwnam(name).pw_uid == uid  # PAM checks by name
    except KeyError:
        known = False
    if not known:
        raise DeniedError(f"uid {uid} has no account of its own here", "proof_refused")
    return name


def _require_right(name: str, password: str, uid: int) -> None:
    """Raise `DeniedError` or `NotRunningError` unless PAM confirms that this is the password of the account."""
    checked = ask_pam(PAM_SERVICE, name, password)
    if checked.answer is Answer.WRONG:
        raise DeniedError(f"wrong password for {name}", "wrong_password")
    if checked.answer is Answer.REFUSED:
        raise DeniedError(f"PAM refuses the account {name}: {checked.text}", "proof_refused")
    if checked.answer is not Answer.RIGHT:
        raise NotRunningError(f"PAM could not check the password: {checked.text}", "proof_unavailable")
    if pwd.getpwnam(name).pw_uid != uid:
        raise DeniedError(f"{name} is another user now", "proof_refused")


def _proof(uid: int, daemon_socket: str) -> dict[str, Any]:
    """Get a proof from the daemon, telling it that `uid` has given the password. Raises `VoiceauthError`."""
    try:
        with Client(daemon_socket, VOUCH_TIMEOUT, owners=_daemon_uids()) as client:
            return load(PROOF).check_reply("Prove", client.call("Vouch", uid=uid))
    except (WireError, MismatchError) as problem:
        raise NotRunningError(f"the daemon's answer is invalid: {problem}", "proof_unavailable") from None


def _daemon_uids() -> frozenset[int]:
    """Return the uids that may listen on the daemon's socket besides root."""
    try:
        return user_ids([DAEMON_USER])
    except UsageError:
        return frozenset()


def _refusal(problem: VoiceauthError) -> Reply:
    row = errors.row_for_exception(problem)
    if row is not None and row.error == errors.PROOF_WRONG:
        return Reply({}, error=row.error)
    if row is not None and row.error == errors.PROOF_REFUSED:
        return Reply({"detail": str(problem)}, error=row.error)
    return Reply({"detail": f"no proof is available: {problem}"}, error=errors.PROOF_UNAVAILABLE)


def _log(text: str) -> None:
    """Write one line to the journal; never the password or the proof."""
    sys.stderr.write(f"voiceauthd-prove: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
