"""A machine of its own: a container in which packages can be installed, as on an empty Debian with a network.

Its /usr is an overlay over the host's, its package database a copy, and its network the host's. Nothing that happens in
it changes the host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from container import Container

CONFIGURED = (
    "adduser.conf", "alternatives", "apt", "ca-certificates", "ca-certificates.conf", "debconf.conf",
    "debian_version", "default", "dpkg", "hosts", "ld.so.conf", "ld.so.conf.d", "login.defs", "nsswitch.conf",
    "pam.conf", "pam.d", "pip.conf", "pulse", "python3", "python3.11", "resolv.conf", "security", "shells", "skel",
    "ssl", "sudo.conf", "sudoers", "sudoers.d",
)  # fmt: skip
"""What of the host's /etc the packages in /usr, apt and pip need."""


class Machine(Container):
    """A container with packages of its own."""

    def __init__(self, folder: Path, binds: Mapping[Path, str]) -> None:
        super().__init__(folder, {**binds, **_local_packages()}, own_usr=True, network=True)
        for name in CONFIGURED:
            source, target = Path("/etc", name), folder / "etc" / name
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            elif source.exists() and not target.exists():
                shutil.copy(source, target)
        for name in ("passwd", "group", "shadow"):
            shutil.copy(Path("/etc", name), folder / "etc" / name)
        (folder / "etc/shadow").chmod(0o600)
        shutil.copytree("/var/lib/dpkg", folder / "var/lib/dpkg", symlinks=True)
        for name in ("lib/apt/lists/partial", "cache/apt/archives/partial", "log/apt"):
            (folder / "var" / name).mkdir(parents=True)

    def add_user(self, name: str, uid: int) -> None:
        """Add a user with a home and the right to become root without a password, before or after the boot."""
        for file, line in (
            ("passwd", f"{name}:x:{uid}:{uid}::/home/{name}:/bin/bash"),
            ("group", f"{name}:x:{uid}:"),
            ("shadow", f"{name}:!:19000:0:99999:7:::"),
            ("sudoers.d/" + name, f"{name} ALL=(ALL) NOPASSWD: ALL"),
        ):
            with (self.folder / "etc" / file).open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        (self.folder / "etc/sudoers.d" / name).chmod(0o440)
        home = self.folder / "home" / name
        home.mkdir()
        os.chown(home, uid, uid)


def pip_environment() -> dict[str, str]:
    """Return the variables that configure pip on this machine."""
    return {key: value for key, value in os.environ.items() if key.startswith("PIP_")}


def _local_packages() -> dict[Path, str]:
    """Return the folders of this machine from which pip is configured to take packages."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    values = [line.partition("=")[2].strip("'\"") for line in listed.splitlines()]
    folders = {Path(word.removeprefix("file://")) for value in values for word in value.split() if "/" in word}
    return {folder: str(folder) for folder in folders if folder.is_absolute() and folder.is_dir()}
