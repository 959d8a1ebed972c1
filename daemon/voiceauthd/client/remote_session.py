"""Whether somebody sits elsewhere: then this machine's microphone hears somebody else.

Four witnesses are asked: what PAM was told, logind, and the processes that led here. One that says "remote" is enough.
One that cannot be read says nothing: a machine without logind, or a /proc that hides others' processes, is not thereby
remote. So this keeps an honest remote user from being asked to speak to an empty room. It is no boundary: who has a
shell here can hide where it came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from voiceauthd.errors import DeniedError

_COMM = 15
"""Characters of a process's name that the kernel keeps (TASK_COMM_LEN - 1, proc(5))."""

_MOST_ANCESTORS = 64
"""More than any real line of descent; /proc changes while it is read, and must not lead in circles for ever."""

_NO_SESSION = "4294967295"
"""What the kernel says for a process outside any audit session: -1, unsigned."""

_LOCAL_DISPLAY_HOSTS = ("", "unix")
"""The host part of X's name for a display of this machine: ":0", "unix:0". Not "localhost": `ssh -X` forwards
"localhost:10.0"."""

SERVERS = frozenset(
    name[:_COMM]
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
"""Programs whose children are sessions of somebody elsewhere."""


def require_local(environment: Mapping[str, str], proc: str = "/proc", run: str = "/run") -> bool:
    """True if nothing says that whom PAM asks for sits elsewhere. Raises `DeniedError`, reason `remote`, otherwise.

    environment  with PAM_RHOST and PAM_TTY, as pam_exec.so gives them
    proc, run    where the kernel and logind tell of processes and sessions
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
        if name[:_COMM] in SERVERS:
            raise _remote(f"run by {name}")
    return True


def _remote(what: str) -> DeniedError:
    return DeniedError(f"a remote session: {what}", "remote")


def _is_elsewhere(terminal: str) -> bool:
    """Whether PAM_TTY names a display of another host, or is what sshd says in place of a terminal."""
    host, colon, _ = terminal.removeprefix("/dev/").rpartition(":")
    return terminal == "ssh" or (colon != "" and host not in _LOCAL_DISPLAY_HOSTS)


def _sessions(proc: str) -> Iterator[str]:
    """The ids that logind may know this process's session by: of the control group, and of the audit session."""
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
    """What logind's file about the session says. False where there is none."""
    lines = _read(f"{run}/systemd/sessions/{session}").splitlines()
    return "REMOTE=1" in lines or any(line.startswith("REMOTE_HOST=") and line != "REMOTE_HOST=" for line in lines)


def ancestors(proc: str = "/proc") -> Iterator[str]:
    """The names of the processes that led to this one, its parent first, as far as they can be read."""
    process = "self"
    for _ in range(_MOST_ANCESTORS):
        # "PID (NAME) STATE PARENT ...", and NAME may hold anything.
        before, _, after = _read(f"{proc}/{process}/stat").rpartition(")")
        fields = after.split()
        if process != "self":
            yield before.partition("(")[2]
        if len(fields) < 2 or not fields[1].isdecimal() or fields[1] == "0":
            return
        process = fields[1]


def _read(path: str) -> str:
    """What a file of the kernel's or logind's says; "" for one that cannot be read."""
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
