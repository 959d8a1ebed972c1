"""Detect remote sessions, in which this machine's microphone would hear somebody else.

PAM's own variables, logind's session and the parent processes are checked. One source that says "remote" is enough. One
that cannot be read says nothing: a machine without logind, or a /proc that hides others' processes, does not count as
remote. This keeps an honest remote user from being asked to speak to an empty room. It is not a security boundary:
anybody with a shell here can hide where the session came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from voiceauthd.errors import DeniedError

_COMM_LENGTH = 15
"""Characters of a process name that the kernel keeps (TASK_COMM_LEN - 1, proc(5))."""

_MAX_ANCESTORS = 64
"""More than any real process has. /proc changes while it is read, and the walk must not go in circles for ever."""

_NO_SESSION = "4294967295"
"""The session id that the kernel reports outside any audit session: -1 as unsigned."""

_LOCAL_DISPLAY_HOSTS = ("", "unix")
"""The host part of an X display on this machine: ":0", "unix:0". Not "localhost": `ssh -X` forwards
"localhost:10.0"."""

REMOTE_LOGIN_SERVERS = frozenset(
    name[:_COMM_LENGTH]
    for name in (
        "cockpit-bridge",
        "cockpit-session",
        "dropbear",
        "etserver",
        "etterminal",
        "gotty",
        "in.rexecd",
        "in.rlogind",
        "in.rshd",
        "in.telnetd",
        "mosh-server",
        "nxnode",
        "nxserver",
        "rlogind",
        "rshd",
        "shellinaboxd",
        "sshd",
        "sshd-auth",
        "sshd-session",
        "tailscaled",
        "telnetd",
        "teleport",
        "ttyd",
        "utelnetd",
        "vncserver",
        "x2goagent",
        "x2goruncommand",
        "x2gostartagent",
        "xrdp",
        "xrdp-sesexec",
        "xrdp-sesman",
    )
)
"""Programs whose children are sessions of remote users."""


def require_local(environment: Mapping[str, str], proc: str = "/proc", run: str = "/run") -> bool:
    """Return True if nothing says that the user is remote. Raises `DeniedError`, reason `remote`, otherwise.

    environment  contains PAM_RHOST and PAM_TTY, as set by pam_exec.so
    proc, run    the folders in which the kernel and logind describe processes and sessions
    """
    host, terminal = environment.get("PAM_RHOST", ""), environment.get("PAM_TTY", "")
    if host != "":
        raise _remote("PAM names a remote host")
    if _is_elsewhere(terminal) is not False:
        raise _remote("PAM names a terminal of another host")
    for session in _sessions(proc):
        if _is_remote(session, run) is not False:
            raise _remote(f"session {session} is remote")
    for name in ancestors(proc):
        if name[:_COMM_LENGTH] in REMOTE_LOGIN_SERVERS:
            raise _remote(f"run by {name}")
    return True


def _remote(what: str) -> DeniedError:
    return DeniedError(f"a remote session: {what}", "remote")


def _is_elsewhere(terminal: str) -> bool:
    """Whether PAM_TTY names a display of another host, or is "ssh", which sshd sets if there is no terminal."""
    host, colon, _ = terminal.removeprefix("/dev/").rpartition(":")
    return terminal == "ssh" or (colon != "" and host not in _LOCAL_DISPLAY_HOSTS)


def _sessions(proc: str) -> Iterator[str]:
    """Yield the session ids by which logind may know this process: from its control group and its audit session."""
    for line in _read(f"{proc}/self/cgroup").splitlines():
        for part in line.split("/"):
            session = part.removeprefix("session-").removesuffix(".scope")
            if part == f"session-{session}.scope" and _is_id(session):
                yield session
    session = _read(f"{proc}/self/sessionid").strip()
    if _is_id(session) and session != _NO_SESSION:
        yield session


def _is_id(session: str) -> bool:
    return session.isascii() and session.isalnum()


def _is_remote(session: str, run: str) -> bool:
    """Whether logind's file says that the session is remote. False without a file."""
    lines = _read(f"{run}/systemd/sessions/{session}").splitlines()
    return "REMOTE=1" in lines or any(line.startswith("REMOTE_HOST=") and line != "REMOTE_HOST=" for line in lines)


def ancestors(proc: str = "/proc") -> Iterator[str]:
    """Yield the names of this process's ancestors, its parent first, as far as they can be read."""
    process = "self"
    for _ in range(_MAX_ANCESTORS):
        # "PID (NAME) STATE PARENT ..."; NAME may contain any characters.
        before, _, after = _read(f"{proc}/{process}/stat").rpartition(")")
        fields = after.split()
        if process != "self":
            yield before.partition("(")[2]
        if len(fields) < 2 or not fields[1].isdecimal() or fields[1] == "0":
            return
        process = fields[1]


def _read(path: str) -> str:
    """Return the content of a file of the kernel or logind; "" if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 65536).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
