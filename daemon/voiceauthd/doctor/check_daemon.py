"""Doctor's checks of the daemon: its socket, its owner, whether it is ready, and its systemd units."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voiceauthd.client import Client
from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import ExitCode, NotRunningError, VoiceauthError
from voiceauthd.protocol.credentials import credentials_of
from voiceauthd.users import user_name

ANSWER_TIMEOUT = 3.0
"""Seconds for the daemon to answer."""

START = "start it: `voiceauth service start`, or `voiceauth run`"


def ask_daemon(machine: Machine) -> Machine:
    """`machine` with the daemon's answers, if it answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(ANSWER_TIMEOUT)
            probe.connect(machine.socket)
            owner = credentials_of(probe)
        machine = machine._replace(daemon_uid=owner.uid, daemon_pid=owner.pid)
        with Client(machine.socket, ANSWER_TIMEOUT) as client:
            status = client.call("Status")
            machine = machine._replace(status=status, runs_as=_uid_of(status.get("runs_as")))
            machine = machine._replace(profiles=list(client.call("ListProfiles")["profiles"]))
    except (VoiceauthError, OSError) as problem:
        return machine._replace(problem=str(problem))
    return machine


def _uid_of(runs_as: Mapping[str, Any] | None) -> int | None:
    if not runs_as:
        return None
    try:
        return pwd.getpwnam(str(runs_as["user"])).pw_uid
    except KeyError:
        return None


def check_socket(machine: Machine) -> Check:
    """The socket exists, is a socket, and is where the configuration puts it."""
    name = "socket.path"
    configured = machine.config.socket.path
    try:
        status = os.stat(machine.socket)
    except OSError as problem:
        return failed(name, f"{machine.socket}: {problem.strerror}", START, ExitCode.NOT_RUNNING)
    if not stat.S_ISSOCK(status.st_mode):
        fix = "remove it, or set socket.path to another file"
        return failed(name, f"{machine.socket} is not a socket", fix, ExitCode.NOT_RUNNING)
    found = f"{machine.socket}, mode {status.st_mode & 0o777:04o}, owner {user_name(status.st_uid)}"
    if configured is not None and os.path.abspath(configured) != os.path.abspath(machine.socket):
        fix = f"export VOICEAUTHD_SOCKET={configured}"
        return Check(name, WARN, f"{found}; but the configuration says {configured}", fix)
    return Check(name, OK, found)


def check_running(machine: Machine) -> Check:
    """A daemon answers."""
    name = "daemon.running"
    if machine.status is not None:
        return Check(
            name, OK, f"answers; up for {machine.status['uptime']:.0f} s, {machine.status['memory_mib']:.0f} MiB"
        )
    return failed(name, machine.problem or "no answer", START, NotRunningError.exit_code)


def check_ready(machine: Machine) -> Check:
    """Its model is loaded, and it reports no problem."""
    name = "daemon.ready"
    if machine.status is None:
        return Check(name, WARN, "unknown: no daemon answers", "see daemon.running")
    status = machine.status
    if status["ready"] and status["state"] == "ready":
        model = f"{status['model']['name']}: {status.get('model_reason')}" if status.get("model") else "ready"
        return Check(name, OK, model)
    found = f"{status['state']}: {status.get('problem') or 'no details'}"
    if status["state"] in {"starting", "stopping"}:
        return Check(name, WARN, found, "wait a few seconds")
    if status["ready"]:
        return Check(name, WARN, found, "see the microphone checks")
    fix = "do that; the daemon then loads the model on its own. Its log: journalctl -u voiceauthd"
    return failed(name, found, fix, ExitCode.MODEL)


def check_owner(machine: Machine) -> Check:
    """The socket belongs to root, the daemon's own user, or this user: nobody else is trusted."""
    name = "daemon.owner"
    uid = machine.daemon_uid
    if uid is None:
        return Check(name, WARN, "unknown: no daemon answers", "see daemon.running")
    user = user_name(uid)
    found = f"{user}, process {machine.daemon_pid} ({_command(machine.daemon_pid)})"
    if uid in {0, os.geteuid()} or user == "voiceauthd":
        return Check(name, OK, found)
    fix = f"do not trust it: find out who made {machine.socket}"
    return failed(name, f"{found}: a stranger owns the socket", fix, ExitCode.DENIED)


def check_unit(machine: Machine) -> Check:
    """The systemd units, if there are any, have not failed."""
    name = "systemd.unit"
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        return Check(name, OK, "no systemd runs here")
    states = []
    for unit in ("voiceauthd.socket", "voiceauthd.service"):
        command = [systemctl, "show", "--property=LoadState,ActiveState", "--value", unit]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.split()
        except (OSError, subprocess.TimeoutExpired) as problem:
            return Check(name, WARN, f"systemctl does not answer: {problem}", "see `systemctl status`")
        states.append((unit, *[*answer, "unknown", "unknown"][:2]))
    found = ", ".join(f"{unit} {loaded if loaded != 'loaded' else active}" for unit, loaded, active in states)
    if any(active == "failed" for _, _, active in states):
        if machine.status is not None:  # another daemon than that of these units, which works
            return Check(name, WARN, found, "`systemctl reset-failed voiceauthd.service`; journalctl -u voiceauthd")
        return failed(
            name, found, "journalctl -u voiceauthd shows why; then `systemctl restart voiceauthd`", ExitCode.INTERNAL
        )
    return Check(name, OK, found)


def _command(pid: int | None) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "not visible"
