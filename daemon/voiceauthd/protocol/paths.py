"""The paths of the sockets: where a daemon listens by default, and where clients look."""

from __future__ import annotations

import os

SYSTEM_SOCKET = "/run/voiceauthd/socket"
PROOF_SOCKET = "/run/voiceauthd/proof"
"""The socket of the service that asks for passwords, beside the system's socket (docs/protocol.md)."""

SOCKET_VARIABLE = "VOICEAUTHD_SOCKET"
"""Environment variable that gives clients the socket. A program that acts for another user (PAM) must not trust it and
passes a path instead."""


def default_socket() -> str:
    """Return where a daemon listens when nothing else is configured.

    The service manager's runtime folder comes first, then the system's socket for root; any other user's daemon listens
    in the user's own runtime folder, or below the home folder if there is none. Others can write to none of these.
    """
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if os.path.isabs(runtime):
        return os.path.join(runtime, "socket")
    if os.geteuid() == 0:
        return SYSTEM_SOCKET
    return _session_socket() or _home_socket()


def find_socket() -> str:
    """Return where a client looks: $VOICEAUTHD_SOCKET, else the user's own daemon if it exists, else the system's."""
    named = os.environ.get(SOCKET_VARIABLE)
    if named:
        return named
    for candidate in (_session_socket(), _home_socket()):
        if candidate is not None and os.path.exists(candidate):
            return candidate
    return SYSTEM_SOCKET


def proof_socket(socket: str) -> str:
    """Return the socket of the proof service that belongs to the daemon on `socket`: beside it."""
    return os.path.join(os.path.dirname(socket), os.path.basename(PROOF_SOCKET))


def _session_socket() -> str | None:
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(folder, "voiceauthd", "socket") if os.path.isabs(folder) else None


def _home_socket() -> str:
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "voiceauthd", "socket")
