"""voiceauthd put into a box as `make install` would put it on a machine, and a caller of its socket.

Only what a box cannot have differs: this checkout with this Python runs in place of /opt/voiceauthd.
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
from box import BootError, Box, obstacle, wait_until

from voiceauthd.embed.cache import find

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICE, SOCKET = "voiceauthd.service", "voiceauthd.socket"
CONFIG = "/etc/voiceauthd/config.yaml"

SECONDS_TO_READY = 60.0
"""Imports and the model, on a machine that has other things to do; 4 s on an idle one."""

# The Python's own folder is bound at another place: homes, where it may live, are hidden from the service.
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

PROOF_SOCKET, PROOF_SERVICE = "voiceauthd-proof.socket", "voiceauthd-proof@.service"
PROOF_DROP_IN = DROP_IN.partition("ExecStart=")[0] + f"ExecStart=\nExecStart={PYTHON} -m voiceauthd.login.prove\n"

CALLER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.makefile().readline())
"""


def boot(folder: Path, config: str, drop_in: str = "", files: dict[str, str] | None = None) -> Box:
    """A box with both kinds of units and the model in it; nobody has called the daemon yet. Skips the test if none can
    be made here.

    config   the text of /etc/voiceauthd/config.yaml
    drop_in  more lines for the services' [Service]
    files    path in the box to text, of what else must be there at boot
    """
    if reason := obstacle():
        pytest.skip(reason)
    model = find("campplus", None)
    if model is None:
        pytest.skip("needs the CAM++ model: voiceauth model fetch campplus")
    box = Box(folder / "box", BINDS)
    for kind, source in (("system", CHECKOUT / "systemd"), ("user", CHECKOUT / "systemd" / "user")):
        for name in (SERVICE, SOCKET):
            box.write(f"/etc/systemd/{kind}/{name}", (source / name).read_text())
        box.write(f"/etc/systemd/{kind}/{SERVICE}.d/box.conf", DROP_IN + drop_in)
        wants = box.folder / f"etc/systemd/{kind}/sockets.target.wants"
        wants.mkdir()
        (wants / SOCKET).symlink_to(f"../{SOCKET}")  # what `systemctl enable` does
    for name in (PROOF_SOCKET, PROOF_SERVICE):
        box.write(f"/etc/systemd/system/{name}", (CHECKOUT / "systemd" / name).read_text())
    box.write(f"/etc/systemd/system/{PROOF_SERVICE}.d/box.conf", PROOF_DROP_IN)
    box.write("/etc/pam.d/voiceauthd", (CHECKOUT / "systemd" / "pam.d" / "voiceauthd").read_text())
    for kind in ("sysusers.d", "tmpfiles.d"):
        box.write(f"/etc/{kind}/voiceauthd.conf", (CHECKOUT / "systemd" / kind / "voiceauthd.conf").read_text())
    for path, text in {CONFIG: config, **(files or {})}.items():
        box.write(path, text)
    shutil.copytree(model, box.folder / "var/lib/voiceauthd/models" / model.name)
    try:
        box.boot()
    except BootError as problem:
        pytest.skip(f"a container does not boot here: {problem}")
    return box


class Caller:
    """One connection to a daemon's socket in a box, as root, in lines of JSON."""

    def __init__(self, box: Box, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS_TO_READY)
        self._socket.connect(str(box.path(path)))
        self._lines = self._socket.makefile()

    def send(self, method: str, more: bool = False, **parameters: object) -> None:
        request = {"method": f"org.voiceauthd.{method}", "parameters": parameters, "more": more}
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """The next reply; None if the daemon hung up."""
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def call(box: Box, path: str, method: str, **parameters: object) -> dict[str, Any] | None:
    """What the daemon answers to root; None if it hangs up without an answer."""
    caller = Caller(box, path)
    try:
        caller.send(method, **parameters)
    except ConnectionError:
        return None
    else:
        return caller.receive()
    finally:
        caller.close()


def call_as(box: Box, uid: int, path: str, method: str, **parameters: object) -> dict[str, Any]:
    """What the daemon answers to another user."""
    request = json.dumps({"method": f"org.voiceauthd.{method}", "parameters": parameters})
    answer: dict[str, Any] = json.loads(box.run(PYTHON, "-c", CALLER, path, request, uid=uid))
    return answer


def wait_active(box: Box) -> str:
    """Waits until the system service has said READY; its process id in the box."""
    wait_until("the service is active", lambda: box.show(SERVICE, "ActiveState") == "active" or None, SECONDS_TO_READY)
    return box.show(SERVICE, "MainPID")
