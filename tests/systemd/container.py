"""A container with a real systemd as PID 1: systemd-nspawn on a small root folder, with the host's /usr.

It boots in about a second, and shares nothing else with the host: it has its own /etc, /run, /var, processes and
network. With `own_usr` it may also write to /usr: what it writes goes to a layer of its own above the host's. The test
runs outside: `run` enters the container's namespaces, `path` accesses its files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

BOOT_SECONDS = 30.0
"""Far more than a boot takes on a busy machine (1 s on an idle one)."""

POWER_OFF_SECONDS = 5.0
"""Powering off takes 0.2 s unless something hangs; then it is killed."""

FOLDERS = ("etc", "usr", "var", "tmp", "run", "proc", "sys", "dev", "root", "home", "opt")
LINKS = ("bin", "sbin", "lib", "lib64")
HOST_FILES = ("os-release", "ld.so.cache")
ROOT = "root:x:0:0:root:/root:/bin/bash\n"  # systemd-sysusers creates all other users at boot
PAM = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "password", "session"))
TOOLS = ("systemd-nspawn", "nsenter", "systemctl")


class BootError(Exception):
    """The container did not boot; the message is the last one of nspawn."""


def obstacle() -> str | None:
    """Return why no container can be made on this machine; None if it can."""
    if os.geteuid() != 0:
        return "needs root, to boot a systemd in a container"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: systemd-container, util-linux)"
    if not Path("/usr/lib/systemd/systemd").exists() or not Path("/bin").is_symlink():
        return "needs systemd in a merged /usr, to share it with the container"
    return None


class Container:
    """One container. `folder` becomes its root; `binds` maps folders of the host to read-only mount points inside.

    own_usr: what is written to /usr is kept in the folder `usr_layer`, and the host's /usr is not changed
    network: that of the host; otherwise none
    """

    def __init__(
        self, folder: Path, binds: Mapping[Path, str], *, own_usr: bool = False, network: bool = False
    ) -> None:
        self.folder = folder
        self.usr_layer = folder.with_name(folder.name + ".usr")
        self._own_usr = own_usr
        self._network = network
        self._binds = binds
        self._log = folder.with_name(folder.name + ".log")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        for name in FOLDERS:
            (folder / name).mkdir(parents=True)
        for name in LINKS:
            (folder / name).symlink_to(f"usr/{name}")
        for name in HOST_FILES:
            shutil.copy(Path("/etc", name), folder / "etc" / name)
        self.write("/etc/passwd", ROOT)
        self.write("/etc/group", "root:x:0:\n")
        for service in ("systemd-user", "other"):
            self.write(f"/etc/pam.d/{service}", PAM)
        # A user's manager needs its runtime folder. Normally pam_systemd sets it, which may not be installed.
        self.write(
            "/etc/systemd/system/user@.service.d/container.conf",
            "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n",
        )
        self.write("/etc/machine-id", uuid.uuid4().hex + "\n")

    def write(self, inside: str, text: str) -> None:
        """Write a file in the container, before or after it boots; not below /run or /tmp, which are mounted over."""
        target = self.folder / inside.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def boot(self) -> None:
        """Boot the container. Raises `BootError` if it does not reach its normal state."""
        command = ["systemd-nspawn", "--quiet", f"--directory={self.folder}", "--boot"]
        command += ["--register=no", "--keep-unit", "--console=pipe"]
        command += ["--resolv-conf=off"] if self._network else ["--private-network"]
        if self._own_usr:
            self.usr_layer.mkdir()
            command += [f"--overlay=/usr:{self.usr_layer}:/usr"]
        else:
            command += ["--bind-ro=/usr"]
        command += [f"--bind-ro={outside}:{inside}" for outside, inside in self._binds.items()]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [*command, "systemd.unit=multi-user.target"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._up():
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise BootError((self._log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1])
            time.sleep(0.05)

    def _up(self) -> bool:
        assert self._nspawn is not None
        pid = self._nspawn.pid
        try:
            self._leader = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            if not self.path("/run/systemd/private").exists():
                return False
        except (OSError, IndexError):
            return False
        return self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}

    def run(self, *command: str, check: bool = True, uid: int = 0, seconds: float = 60.0) -> str:
        """Run a command inside, and return its output. seconds: that it may take."""
        ended = subprocess.run(
            self.inside(*command, uid=uid), capture_output=True, text=True, timeout=seconds, check=False
        )
        assert ended.returncode == 0 or not check, f"{' '.join(command)}: {ended.stderr or ended.stdout}"
        return ended.stdout

    def inside(self, *command: str, uid: int = 0) -> list[str]:
        """Return the command line that runs a command inside."""
        return ["nsenter", f"--target={self._leader}", "--all", f"--setuid={uid}", f"--setgid={uid}", *command]

    def show(self, unit: str, field: str) -> str:
        """Return a property of a unit, as printed by `systemctl show`."""
        return self.run("systemctl", "show", "--value", f"--property={field}", unit).strip()

    def path(self, inside: str) -> Path:
        """Return the host's path of a file in the running container."""
        return Path(f"/proc/{self._leader}/root") / inside.lstrip("/")

    def close(self) -> None:
        """Power the container off."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return
        # At the first signal nspawn tells its systemd to power off; at the second it ends at once.
        for _ in range(2):
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(POWER_OFF_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return
        self._nspawn.kill()
        self._nspawn.wait()
