"""Check that a command is safe to run as root: only root can change or replace it."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import voiceauthd
from voiceauthd.login.block import HELPER

MAX_LINKS = 40
"""Maximum number of links to follow, as in the kernel."""

HELPER_TIMEOUT = 20.0
"""Seconds for a helper that should refuse at once, on a busy machine."""

ROOT = 0


def untrusted_reason(helper: str) -> str:
    """Return why PAM must not run `helper`, in one phrase; "" if it may.

    Checks the file, every folder and link above it, and its interpreters; then runs it without PAM's variables.
    """
    reason = _who_can_change(helper)
    if reason:
        return reason
    if not os.path.isfile(helper) or not os.access(helper, os.X_OK):
        return f"{helper} is not an executable file"
    try:
        with open(helper, "rb") as stream:
            first = stream.readline(512)
    except OSError as problem:
        return f"{helper} cannot be read: {problem.strerror}"
    if not first.startswith(b"#!"):
        return _check_refuses(helper)
    words = os.fsdecode(first[2:].strip()).split()
    if not words or not words[0].startswith("/"):
        return f"the interpreter of {helper} is not an absolute path"
    python = os.path.join(os.path.dirname(os.path.realpath(helper)), "python")
    runs_python = os.path.basename(helper) == HELPER  # scripts/voiceauth-pam runs the Python beside it
    return _who_can_change(words[0]) or (_who_can_change(python) if runs_python else "") or _check_refuses(helper)


def untrusted_package_reason() -> str:
    """Return why this package, which the helper imports, is not safe to run as root; "" if it is."""
    return _who_can_change(str(Path(voiceauthd.__file__).parent / "client" / "__init__.py"))


def _check_refuses(helper: str) -> str:
    """Run the helper, which must refuse. A truncated helper, or another command, may exit with 0 in any case and would
    let everybody in."""
    try:
        ended = subprocess.run(
            [helper], env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=HELPER_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError) as problem:
        return f"{helper} does not run: {problem}"
    return f"{helper} exits with 0 although nobody spoke: install it again" if ended.returncode == 0 else ""


def _who_can_change(path: str, links: int = 0) -> str:
    """Return why users other than root can change `path`, or a folder or link on the way to it; "" if they cannot."""
    if not os.path.isabs(path):
        return f"{path} is not an absolute path"
    if links > MAX_LINKS:
        return f"{path} is behind more than {MAX_LINKS} links"
    at = Path("/")
    parts = Path(os.path.normpath(path)).parts[1:]
    for number, part in enumerate(("", *parts)):
        at = at / part
        try:
            status = os.lstat(at)
        except OSError as problem:
            return f"{at}: {problem.strerror}"
        if status.st_uid != ROOT:
            return f"{at} belongs to uid {status.st_uid}, not to root"
        if stat.S_ISLNK(status.st_mode):
            rest = parts[number:]
            return _who_can_change(os.path.join(at.parent, os.readlink(at), *rest), links + 1)
        if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != ROOT):
            return f"{at} can be changed by users other than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def has_module(module: str) -> bool:
    """Whether a PAM module is installed on this machine, in the folders that distributions use."""
    if module.startswith("/"):
        return os.path.isfile(module)
    return any(
        (folder / module).is_file()
        for above in (Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/usr/lib64"))
        for folder in (above / "security", *above.glob("*-linux-*/security"))
    )
