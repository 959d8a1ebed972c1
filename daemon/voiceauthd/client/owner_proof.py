"""Proof that the owner of a voice is there: the password goes to a service of root's, and a proof comes back, which the
daemon takes in the place of the password (docs/protocol.md).
"""

from __future__ import annotations

from voiceauthd.client.client import Client
from voiceauthd.protocol.paths import PROOF_SOCKET
from voiceauthd.protocol.wire import WireError

SECONDS = 40.0
"""The service gives up after 30 s."""


def prove(password: str, path: str = PROOF_SOCKET) -> str:
    """A proof, good once and for a minute, that `password` is that of this process's user: `proof` of Enroll,
    DeleteProfile and ExportProfile.

    The password is sent to a service of root's and to nobody else.

    Raises `DeniedError` (`wrong_password`; `proof_refused`: there is no password to be asked for; `impostor`: somebody
    else listens there), `NotRunningError` (`not_running` without the service, `proof_unavailable` if it cannot ask).
    """
    with Client(path, SECONDS, owners=frozenset()) as client:
        reply = client.call("org.voiceauthd.proof.Prove", password=password)
    proof = reply.get("proof")
    if not isinstance(proof, str) or not proof:
        raise WireError("the answer has no proof")
    return proof
