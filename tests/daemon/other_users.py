"""Calling the daemon as other users of this machine, as the kernel knows them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from daemon_process import DaemonProcess

from voiceauthd.protocol.interface import load

OWNER, STRANGER = "games", "www-data"
"""Accounts of every Debian: one whose voice is enrolled, and one that has nothing to do with it."""

PYTHON = Path("/usr/bin/python3")
"""Other users may not read this project's virtual environment."""

DENIED = "org.varlink.service.PermissionDenied"

Call = tuple[str, dict[str, object]]
"""Method and parameters."""


def require_other_users() -> None:
    """Skip the test if this process cannot become another user."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to call as other users")
    if shutil.which("setpriv") is None or not PYTHON.exists():
        pytest.skip("needs setpriv (util-linux) and the system's python3")
    for user in (OWNER, STRANGER):
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip(f"needs the account {user!r}, which every Debian has")


def start_calls_as(daemon: DaemonProcess, user: str, *calls: Call, groups: str = "") -> subprocess.Popen[str]:
    """Begin to make calls as another user, who must be able to read the daemon's folder. May skip the test."""
    require_other_users()
    account = pwd.getpwnam(user)
    client = daemon.folder / "other_user_client.py"
    shutil.copyfile(Path(__file__).with_name("other_user_client.py"), client)
    client.chmod(0o644)
    become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
    become += [f"--groups={groups}"] if groups else ["--clear-groups"]
    process = subprocess.Popen(
        ["setpriv", *become, str(PYTHON), "-I", str(client), str(daemon.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert process.stdin is not None
    for method, parameters in calls:
        streams = {"Verify", "Monitor", "Enroll", "VerifyRecording", "IdentifyRecording"}
        more = {"more": True} if method in streams else {}
        process.stdin.write(json.dumps({"method": f"org.voiceauthd.{method}", "parameters": parameters} | more) + "\n")
    process.stdin.close()
    process.stdin = None
    return process


def answers(process: subprocess.Popen[str], *calls: Call) -> list[dict]:
    """Return the last answer to each call, checked against the interface."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found = [json.loads(line) for line in printed.splitlines()]
    for (method, _), answer in zip(calls, found, strict=True):
        if "error" not in answer:
            load().check_reply(method, answer["parameters"])
    return found


def call_as(daemon: DaemonProcess, user: str, *calls: Call, groups: str = "") -> list[dict]:
    """Make calls as another user, and return the last answer to each."""
    return answers(start_calls_as(daemon, user, *calls, groups=groups), *calls)
