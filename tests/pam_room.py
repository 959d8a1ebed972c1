"""A private PAM for tests: its /etc/pam.d, accounts and passwords are visible only to commands run in it.

Each command runs in a mount namespace of its own, in which the test's files are mounted over the machine's. The
machine's /etc is never written. Needs root, `unshare` (util-linux) and, for most tests, `pamtester` or `sudo`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

OVERLAID = ("passwd", "shadow", "group", "nsswitch.conf", "sudoers")
"""The files of /etc that are replaced, besides the folder /etc/pam.d."""

MOUNT = """
set -eu
room=$1; shift
mount --make-rprivate /
mount --bind "$room/pam.d" /etc/pam.d
for file in passwd shadow group nsswitch.conf sudoers; do
    [ ! -e "$room/$file" ] || [ ! -e "/etc/$file" ] || mount --bind "$room/$file" "/etc/$file"
done
exec "$@"
"""

PASSWORDS = """\
auth    [success=1 default=ignore] pam_unix.so
auth    requisite pam_deny.so
auth    required  pam_permit.so
account required  pam_unix.so
session required  pam_permit.so
"""
"""The stack of a machine without voices: the password of the account decides."""


def what_is_missing(*programs: str) -> str | None:
    """Return why no private PAM is possible here; None if it is. `programs`: commands that tests run in it."""
    if os.geteuid() != 0:
        return "no private PAM: needs root, for a mount namespace"
    for program in ("unshare", "openssl", *programs):
        if shutil.which(program) is None:
            return f"no private PAM: {program} is missing (Debian: util-linux, openssl, pamtester, sudo)"
    probe = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs none /mnt"],
        capture_output=True,
        check=False,
    )
    return None if probe.returncode == 0 else "no private PAM: no mount namespace can be made here"


def hashed(password: str) -> str:
    """Return the hash of a password as in /etc/shadow."""
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout.strip()


class PamRoom:
    """A private PAM in `folder`, which every account that commands run as can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pam.d").mkdir(parents=True, mode=0o755)
        folder.chmod(0o755)
        for name, mode in (("passwd", 0o644), ("shadow", 0o600), ("group", 0o644)):
            shutil.copyfile(Path("/etc", name), folder / name)
            (folder / name).chmod(mode)
        (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\n")
        sudoers = folder / "sudoers"
        sudoers.write_text(
            "Defaults !lecture, passwd_tries=1, passwd_timeout=1, timestamp_timeout=0\nroot ALL=(ALL) ALL\n"
        )
        sudoers.chmod(0o440)
        self.service("other", "auth required pam_deny.so\naccount required pam_deny.so\n")

    def service(self, name: str, text: str) -> Path:
        """Write a service file, and return its path outside the namespace."""
        file = self.folder / "pam.d" / name
        file.write_text(text, encoding="utf-8")
        return file

    def account(self, name: str, uid: int, password: str, *, sudo: bool = False) -> None:
        """Create an account with its own group. `sudo`: it may become root with its own password."""
        self._append("passwd", f"{name}:x:{uid}:{uid}::/nonexistent:/bin/sh\n")
        self._append("group", f"{name}:x:{uid}:\n")
        self._append("shadow", f"{name}:{hashed(password)}:20000:0:99999:7:::\n")
        if sudo:
            self._append("sudoers", f"{name} ALL=(ALL) ALL\n")

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs a command in the namespace, as root."""
        return ["unshare", "--mount", "sh", "-c", MOUNT, "room", str(self.folder), *words]

    def run(
        self,
        *words: str,
        typed: str = "",
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 30.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace, as root or as `uid`, and return its result.

        typed  its standard input: for pamtester, the answers to its prompts, one per line
        """
        become = [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        return subprocess.run(
            self.command(*become, *words),
            input=typed,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=dict(os.environ if env is None else env),
            check=False,
        )

    def authenticate(
        self, service: str, user: str, typed: str = "", operations: Sequence[str] = ("authenticate",), **items: str
    ) -> subprocess.CompletedProcess[str]:
        """Run pamtester: its exit code is 0 if PAM granted `user` access. `items`: "rhost", "tty", "ruser"."""
        options = [word for name, value in items.items() for word in ("-I", f"{name}={value}")]
        return self.run("pamtester", *options, service, user, *operations, typed=typed)

    def _append(self, name: str, line: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(line)


@pytest.fixture
def pam_room():
    """A `PamRoom` for one test; skips if none is possible here."""
    missing = what_is_missing("pamtester")
    if missing is not None:
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="pam-room-"))
    try:
        yield PamRoom(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
