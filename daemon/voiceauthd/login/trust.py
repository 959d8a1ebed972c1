"""Whether a command may be run as root: nobody but root can change it, or put another in its place."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import voiceauthd
from voiceauthd.login.block import HELPER

MAX_LINKS = 40
"""Links on the way to a file, as the kernel follows them."""

HELPER_TIMEOUT = 20.0
"""Seconds for a helper that is to say no at once, on a machine that is busy."""

ROOT = 0


def why_not(helper: str) -> str:
    """Why PAM must not run `helper`, in one phrase; "" if it may. Looks at the file, at every folder and link above it,
    and at the interpreters that it runs; then runs it, without anything that PAM would say."""
    reason = _changeable(helper)
    if reason:
        return reason
    if not os.path.isfile(helper) or not os.access(helper, os.X_OK):
        return f"{helper} is no command"
    try:
        with open(helper, "rb") as stream:
            first = stream.readline(512)
    except OSError as problem:
        return f"{helper} cannot be read: {problem.strerror}"
    if not first.startswith(b"#!"):
        return _ends_well(helper)
    words = os.fsdecode(first[2:].strip()).split()
    if not words or not words[0].startswith("/"):
        return f"{helper} names no interpreter by an absolute path"
    beside = os.path.join(os.path.dirname(os.path.realpath(helper)), "python")
    ours = os.path.basename(helper) == HELPER  # which runs the Python that it lies beside
    return _changeable(words[0]) or (_changeable(beside) if ours else "") or _ends_well(helper)


def why_not_package() -> str:
    """The same for this package, which the helper is a part of."""
    return _changeable(str(Path(voiceauthd.__file__).parent / "client" / "__init__.py"))


def _ends_well(helper: str) -> str:
    """A helper that was cut off, or is another command, may end with 0 whatever it is asked: everybody would get in."""
    try:
        ended = subprocess.run(
            [helper], env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=HELPER_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError) as problem:
        return f"{helper} does not run: {problem}"
    return f"{helper} ends with 0 though nobody spoke: install it again" if ended.returncode == 0 else ""


def _changeable(path: str, links: int = 0) -> str:
    """Who other than root may change `path`, or what it is reached by; "" for nobody."""
    if not os.path.isabs(path):
        return f"{path} is no absolute path"
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
            return _changeable(os.path.join(at.parent, os.readlink(at), *rest), links + 1)
        if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != ROOT):
            return f"{at} can be changed by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def has_module(module: str) -> bool:
    """A module of PAM's is on this machine, where distributions keep them."""
    if module.startswith("/"):
        return os.path.isfile(module)
    return any(
        (folder / module).is_file()
        for above in (Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/usr/lib64"))
        for folder in (above / "security", *above.glob("*-linux-*/security"))
    )
