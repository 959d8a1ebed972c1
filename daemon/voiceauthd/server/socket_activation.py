"""The listening socket passed by the service manager: sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket

from voiceauthd.errors import ConfigError

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first passed socket follows standard input, output and error."""

VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""Removed after reading, so that no child process takes them for its own."""


def inherited_socket() -> socket.socket | None:
    """Return the listening AF_UNIX stream socket that was passed to this process; None if none was.

    Call it once, before anything else opens descriptors. The socket is closed on exec; its path belongs to the manager,
    so the daemon must not remove it. Raises `ConfigError` if what was passed cannot be used: a daemon that continued
    without it would listen where no client looks.
    """
    try:
        meant_for_us = int(os.environ.get("LISTEN_PID", "0")) == os.getpid()
        count = int(os.environ.get("LISTEN_FDS", "0"))
    except ValueError:
        meant_for_us, count = False, 0
    names = os.environ.get("LISTEN_FDNAMES", "")
    for variable in VARIABLES:
        os.environ.pop(variable, None)
    if not meant_for_us or count <= 0:
        return None
    if count > 1:
        raise ConfigError(
            f"the service manager passed {count} sockets ({names}), but the daemon takes one: "
            "keep a single ListenStream= in voiceauthd.socket"
        )
    return _checked(FIRST_DESCRIPTOR)


def _checked(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"descriptor {descriptor}, passed by the service manager, is not a socket: {error}") from None
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
        listener.close()
        raise ConfigError(
            "the service manager passed a socket that is not an AF_UNIX stream socket: "
            "set ListenStream= in voiceauthd.socket to a path"
        )
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise ConfigError(
            "the service manager passed a socket that does not listen: set Accept=no in voiceauthd.socket"
        )
    return listener
