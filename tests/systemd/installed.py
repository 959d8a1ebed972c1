"""voiceauthd in a container, installed as by `make install`, and a client of its socket.

The only difference: this checkout and this Python replace /opt/voiceauthd.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from container import BootError, Container, obstacle
from waiting import wait_until

from voiceauthd.embed.cache import find

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICE, SOCKET = "voiceauthd.service", "voiceauthd.socket"
CONFIG = "/etc/voiceauthd/config.yaml"

SECONDS_TO_READY = 60.0
"""Far more than the daemon needs to import its modules and load the model (4 s on an idle machine)."""

# The folder of Python is bound elsewhere, because it may be in /home, which is hidden from the service.
BASE = Path(sys.base_prefix).resolve()
BINDS = {CHECKOUT: "/opt/checkout", Path(sysconfig.get_path("purelib")): "/opt/packages"}
if not BASE.is_relative_to("/usr"):
    BINDS[BASE] = "/opt/python"
PYTHON = f"{BINDS.get(BASE, BASE)}/bin/python{sys.version_info.major}.{sys.version_info.minor}"

DROP_IN = f"""\
[Service]
Environment=PYTHONPATH=/opt/checkout/daemon:/opt/packages PYTHONDONTWRITEBYTECODE=1
Environment=LD_LIBRARY_PATH=/opt/python/lib
ExecStart=
ExecStart={PYTHON} -m voiceauthd.service.main --config {CONFIG}
"""

STUB = f"""\
ExecStart=
ExecStart={PYTHON} /opt/checkout/tests/daemon/daemon_stub.py /nowhere voiceauthd --config {CONFIG}
"""
"""Lines for `boot` that replace the speaker model by one that loads at once; test_systemd_sudo.py uses the real one."""

PROOF_SOCKET, PROOF_SERVICE = "voiceauthd-proof.socket", "voiceauthd-proof@.service"
PROOF_DROP_IN = DROP_IN.partition("ExecStart=")[0] + f"ExecStart=\nExecStart={PYTHON} -m voiceauthd.login.prove\n"

CALLER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.makefile().readline())
"""


def boot(folder: Path, config: str, drop_in: str = "", files: dict[str, str] | None = None) -> Container:
    """Boot a container with the system's and the user's units and the model; the daemon is not started yet.

    config   the text of /etc/voiceauthd/config.yaml
    drop_in  more lines for the services' [Service]
    files    path in the container to text, of other files that must exist at boot

    Skips the test if no container can be made here.
    """
    if reason := obstacle():
        pytest.skip(reason)
    model = find("campplus", None)
    if model is None:
        pytest.skip("needs the CAM++ model: voiceauth model fetch campplus")
    container = Container(folder / "container", BINDS)
    for kind, source in (("system", CHECKOUT / "systemd"), ("user", CHECKOUT / "systemd" / "user")):
        for name in (SERVICE, SOCKET):
            container.write(f"/etc/systemd/{kind}/{name}", (source / name).read_text())
        container.write(f"/etc/systemd/{kind}/{SERVICE}.d/container.conf", DROP_IN + drop_in)
        wants = container.folder / f"etc/systemd/{kind}/sockets.target.wants"
        wants.mkdir()
        (wants / SOCKET).symlink_to(f"../{SOCKET}")  # what `systemctl enable` does
    for name in (PROOF_SOCKET, PROOF_SERVICE):
        container.write(f"/etc/systemd/system/{name}", (CHECKOUT / "systemd" / name).read_text())
    container.write(f"/etc/systemd/system/{PROOF_SERVICE}.d/container.conf", PROOF_DROP_IN)
    container.write("/etc/pam.d/voiceauthd", (CHECKOUT / "systemd" / "pam.d" / "voiceauthd").read_text())
    for kind in ("sysusers.d", "tmpfiles.d"):
        container.write(f"/etc/{kind}/voiceauthd.conf", (CHECKOUT / "systemd" / kind / "voiceauthd.conf").read_text())
    for path, text in {CONFIG: config, **(files or {})}.items():
        container.write(path, text)
    shutil.copytree(model, container.folder / "var/lib/voiceauthd/models" / model.name)
    try:
        container.boot()
    except BootError as problem:
        pytest.skip(f"a container does not boot here: {problem}")
    return container


class Caller:
    """A connection of root to a daemon's socket in a container, with lines of JSON."""

    def __init__(self, container: Container, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS_TO_READY)
        self._socket.connect(str(container.path(path)))
        self._lines = self._socket.makefile()

    def send(self, method: str, more: bool = False, **parameters: object) -> None:
        request = {"method": f"org.voiceauthd.{method}", "parameters": parameters, "more": more}
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """Return the next reply; None if the daemon closed the connection."""
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def call(container: Container, path: str, method: str, **parameters: object) -> dict[str, Any] | None:
    """Return the daemon's answer to a call of root; None if it closes the connection without one."""
    caller = Caller(container, path)
    try:
        caller.send(method, **parameters)
    except ConnectionError:
        return None
    else:
        return caller.receive()
    finally:
        caller.close()


def call_as(container: Container, uid: int, path: str, method: str, **parameters: object) -> dict[str, Any]:
    """Return the daemon's answer to a call of another user."""
    request = json.dumps({"method": f"org.voiceauthd.{method}", "parameters": parameters})
    answer: dict[str, Any] = json.loads(container.run(PYTHON, "-c", CALLER, path, request, uid=uid))
    return answer


def wait_active(container: Container) -> str:
    """Wait until the system service is ready, and return its process id in the container."""
    wait_until(
        "the service is active", lambda: container.show(SERVICE, "ActiveState") == "active" or None, SECONDS_TO_READY
    )
    return container.show(SERVICE, "MainPID")
