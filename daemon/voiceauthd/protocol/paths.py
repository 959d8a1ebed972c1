"""Where the socket is, for the daemon that makes it and for the clients that look for it."""

from __future__ import annotations

import os

SYSTEM_SOCKET = "/run/voiceauthd/socket"
PROOF_SOCKET = "/run/voiceauthd/proof"
"""Beside the system's socket: the service that asks for passwords (docs/protocol.md)."""

SOCKET_VARIABLE = "VOICEAUTHD_SOCKET"
"""Names the socket to clients. A program that acts for another user (PAM) must pass a path instead of trusting this."""


def default_socket() -> str:
    """Where a daemon listens when nothing else is configured.

    A service manager's runtime folder comes first, then root's place; any other user's daemon listens in the user's
    own runtime folder, or below the home folder where there is none. Never in a folder that others may write to.
    """
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if os.path.isabs(runtime):
        return os.path.join(runtime, "socket")
    if os.geteuid() == 0:
        return SYSTEM_SOCKET
    return _session_socket() or _home_socket()


def find_socket() -> str:
    """Where a client looks: $VOICEAUTHD_SOCKET, then the user's own daemon if its socket exists, then the system's."""
    named = os.environ.get(SOCKET_VARIABLE)
    if named:
        return named
    for candidate in (_session_socket(), _home_socket()):
        if candidate is not None and os.path.exists(candidate):
            return candidate
    return SYSTEM_SOCKET


def proof_socket(socket: str) -> str:
    """Where a proof for the daemon on `socket` is had: beside it."""
    return os.path.join(os.path.dirname(socket), os.path.basename(PROOF_SOCKET))


def _session_socket() -> str | None:
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(folder, "voiceauthd", "socket") if os.path.isabs(folder) else None


def _home_socket() -> str:
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "voiceauthd", "socket")
