"""Report the daemon's state to the service manager: sd_notify(3) and sd_watchdog_enabled(3), over a plain socket.

Without a service manager (`NOTIFY_SOCKET` unset) every call does nothing. No call raises: a daemon must not fail
because its manager does not listen. Each call returns whether the message was delivered to the manager's socket.
"""

from __future__ import annotations

import os
import socket
import time

SEND_TIMEOUT = 0.5
"""Seconds. The manager's queue is normally empty; a stuck one must not block the event loop for longer."""

MICROSECONDS = 1_000_000
"""Per second; the manager's unit of time."""

PINGS_PER_WATCHDOG = 2
"""sd_watchdog_enabled(3) recommends a ping every half of the manager's timeout."""


def ready(status: str = "ready") -> bool:
    """Report that the daemon has started, or has finished a reload."""
    return _send("READY=1", _status(status))


def reloading(status: str = "reading the configuration again") -> bool:
    """Report that a reload has begun; `ready` must follow, whether the reload succeeds or not.

    `MONOTONIC_USEC` lets the manager tell this reload from an older one (Type=notify-reload, systemd 253).
    """
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return _send("RELOADING=1", f"MONOTONIC_USEC={now}", _status(status))


def status(text: str) -> bool:
    """Report the daemon's state in one line, for `systemctl status`."""
    return _send(_status(text))


def stopping(text: str = "stopping") -> bool:
    """Report that the daemon is stopping."""
    return _send("STOPPING=1", _status(text))


def watchdog() -> bool:
    """Report that the daemon is making progress. Call it every `watchdog_interval` seconds, only while that is true."""
    return _send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Return the seconds between two calls of `watchdog`: half of the manager's timeout. None without a watchdog."""
    try:
        pid = int(os.environ.get("WATCHDOG_PID", os.getpid()))
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    if pid != os.getpid() or microseconds <= 0:
        return None
    return microseconds / MICROSECONDS / PINGS_PER_WATCHDOG


def _status(text: str) -> str:
    # A line break would begin another field: a status with a file name or a profile name in it must not forge READY=1.
    return "STATUS=" + " ".join(text.split())


def _send(*fields: str) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = "\0" + address[1:]
    elif not address.startswith("/"):
        return False
    message = "\n".join(fields).encode("utf-8", "replace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(SEND_TIMEOUT)
            return manager.sendto(message, address) == len(message)
    except (OSError, ValueError):  # ValueError: an address with a NUL inside
        return False
