"""Prove to the daemon that the owner of a voice is present: send the password to root's proof service and get a proof,
which the daemon accepts instead of the password (docs/protocol.md).
"""

from __future__ import annotations

from voiceauthd.client.client import Client
from voiceauthd.protocol.paths import PROOF_SOCKET
from voiceauthd.protocol.wire import WireError

REPLY_TIMEOUT = 40.0
"""Seconds. The service gives up after 30 s."""


def prove(password: str, path: str = PROOF_SOCKET) -> str:
    """Return a proof that `password` is that of this process's user, for one use within a minute: the `proof` of
    Enroll, DeleteProfile, DropExemplar and ExportProfile.

    The password is sent only to a service run by root.

    Raises `DeniedError` (`wrong_password`; `proof_refused`: this user has no password to ask for; `impostor`: another
    user listens there), `NotRunningError` (`not_running` without the service, `proof_unavailable` if PAM or the daemon
    cannot be reached).
    """
    with Client(path, REPLY_TIMEOUT, owners=frozenset()) as client:
        reply = client.call("org.voiceauthd.proof.Prove", password=password)
    proof = reply.get("proof")
    if not isinstance(proof, str) or not proof:
        raise WireError("the answer contains no proof")
    return proof
