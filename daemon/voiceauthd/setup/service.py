"""Start, stop and describe the daemon: as a systemd service of this user or of the system, or in the background.

Which one suits the machine is decided by doctor/service_kind.py. Without a systemd, as in a container, the daemon runs
in the background until the machine stops.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import voiceauthd
from voiceauthd.atomic_file import write_file
from voiceauthd.client import Client
from voiceauthd.client.errors import daemon_ended
from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.resolve import state_folder
from voiceauthd.doctor.service_kind import SoundAccess, Suited, suited
from voiceauthd.errors import (
    DeniedError,
    NotRunningError,
    StorageError,
    UsageError,
)
from voiceauthd.protocol.credentials import credentials_of
from voiceauthd.protocol.paths import SYSTEM_SOCKET, default_socket
from voiceauthd.users import user_name

How = Literal["user", "system", "background"]

UNITS = ("voiceauthd.socket", "voiceauthd.service")
INSTALLED_COMMAND = "/usr/local/bin/voiceauthd"
"""The daemon's path in the units as they are shipped."""

START_LIMIT = 30.0
"""Seconds for the socket to answer."""

LOAD_LIMIT = 90.0
"""Seconds for the model to load: WavLM on a slow disk."""

STOP_LIMIT = 5.0
"""Seconds for the daemon to stop: more than twice what it promises."""

POLL_INTERVAL = 0.1
SYSTEMCTL_TIMEOUT = 60.0

_OF_ANOTHER_SERVICE = ("LISTEN_", "WATCHDOG_", "NOTIFY_SOCKET")
"""Beginnings of variables that belong to the service that this command runs in, if it does."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run the daemon, and why."""

    how: How
    reason: str


@dataclass(frozen=True, slots=True)
class Running:
    """The daemon that answers on `socket`: its process and user, by the kernel's word."""

    socket: str
    pid: int
    uid: int


def plan(access: SoundAccess, wanted: How | None = None) -> Plan:
    """How to run the daemon here; `wanted` is taken as it is.

    Raises `UsageError` if another user has to run this command, with which and why.
    """
    if wanted is not None:
        return Plan(wanted, "as asked for")
    right = suited(access)
    if right.owner is not None:
        raise UsageError(f"{right.reason}: run this as {right.owner}, without sudo", "wrong_user")
    if right.kind == "user":
        if has_user_manager():
            return Plan("user", right.reason)
        return Plan("background", f"{right.reason}; this user has no systemd")
    return _system_plan(access, right)


def _system_plan(access: SoundAccess, right: Suited) -> Plan:
    if not Path("/run/systemd/system").is_dir():
        return Plan("background", f"{right.reason}; no systemd runs here")
    if access.uid != 0:
        raise UsageError(f"{right.reason}: run this as root, with sudo", "wrong_user")
    return Plan("system", right.reason)


def start(how: How) -> Running:
    """Start the daemon, and for systemd also at each boot or login. Returns once its socket answers.

    Raises `UsageError` where that kind of service is not available, `NotRunningError` if the daemon does not come up.
    """
    {"user": _start_user, "system": _start_system, "background": _start_background}[how]()
    return _wait_for_socket(socket_of(how))


def stop() -> str:
    """Stop the daemon and its automatic start. Returns what was stopped.

    Raises `NotRunningError` if none runs, `DeniedError` if it belongs to another user.
    """
    for manager in ([["--user"]] if has_user_manager() else []) + ([[]] if os.geteuid() == 0 else []):
        if _is_active(manager):
            _systemctl(*manager, "disable", "--now", *UNITS)
            return f"the {'user' if manager else 'system'} service"
    path = socket_of("background")
    found = running(path)
    if found is None:
        raise NotRunningError(f"no daemon listens on {path}")
    if found.uid != os.geteuid():
        raise DeniedError(f"the daemon on {found.socket} belongs to {user_name(found.uid)}: run this as that user")
    try:
        os.kill(found.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    deadline = time.monotonic() + STOP_LIMIT
    while running(path) is not None:
        if time.monotonic() > deadline:
            raise NotRunningError(f"the daemon, process {found.pid}, did not stop within {STOP_LIMIT:.0f} s", "no_stop")
        time.sleep(POLL_INTERVAL)
    return f"the daemon in the background, process {found.pid}"


def socket_of(how: How) -> str:
    """The socket of a daemon that runs like this. Raises `ConfigError`."""
    if how == "system":
        return SYSTEM_SOCKET
    configured = load_config(find_config(None, os.environ)).socket.path
    return default_socket() if configured is None or how == "user" else str(configured)


def running(path: str) -> Running | None:
    """The daemon that listens on `path`; None if there is none. A socket that systemd holds counts as one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
            owner = credentials_of(probe)
        except OSError:
            return None
    return Running(path, owner.pid, owner.uid)


def wait_until_settled(path: str, progress: Callable[[str], None]) -> Mapping[str, Any]:
    """The daemon's status once its model has loaded, or cannot be.

    Raises `NotRunningError` if the daemon goes away, or still loads after `LOAD_LIMIT`.
    """
    deadline = time.monotonic() + LOAD_LIMIT
    while time.monotonic() < deadline:
        with Client(path) as client:
            status = client.call("Status")
        if status["state"] != "starting":
            return status
        progress("the daemon loads its model")
        time.sleep(POLL_INTERVAL)
    raise NotRunningError(f"the daemon still loads its model after {LOAD_LIMIT:.0f} s; see `voiceauth status`")


def has_user_manager() -> bool:
    """Whether a systemd runs for this user and can be reached."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime, "systemd", "private").exists() if runtime.startswith("/") else False


def daemon_log() -> Path:
    """The log of a daemon that runs in the background. Raises `ConfigError`."""
    return state_folder(load_config(find_config(None, os.environ))) / "voiceauthd.log"


def _start_user() -> None:
    if not has_user_manager():
        raise UsageError("no systemd runs for this user: use --background, or log in to a desktop", "no_systemd")
    folder = _user_unit_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for unit in UNITS:
            text = _unit_source(unit).read_text(encoding="utf-8").replace(INSTALLED_COMMAND, _daemon_command())
            write_file(folder / unit, text.encode(), prepare=lambda descriptor: os.fchmod(descriptor, 0o644))
    except OSError as problem:
        raise StorageError(f"cannot write the units into {folder}: {problem.strerror or problem}") from problem
    _systemctl("--user", "daemon-reload")
    _systemctl("--user", "enable", "--now", UNITS[0])


def _start_system() -> None:
    if os.geteuid() != 0:
        raise UsageError("the system service needs root: run this with sudo", "wrong_user")
    if not Path("/run/systemd/system").is_dir():
        raise UsageError("no systemd runs here: use --background", "no_systemd")
    if _run_systemctl("cat", UNITS[0]).returncode != 0:
        raise UsageError("the system service is not installed: run `sudo make install` in a checkout first")
    _systemctl("enable", "--now", UNITS[0])


def _start_background() -> None:
    log = daemon_log()
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise StorageError(f"cannot write the log {log}: {problem.strerror or problem}") from problem
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_ANOTHER_SERVICE)}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with os.fdopen(descriptor, "wb") as stream:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "voiceauthd.service.main"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait_for_socket(socket_of("background"), daemon)
    except NotRunningError:
        if (code := daemon.poll()) is None:
            daemon.terminate()
            raise
        raise daemon_ended(code, _last_line(log)) from None


def _wait_for_socket(path: str, daemon: subprocess.Popen[bytes] | None = None) -> Running:
    """Raises `NotRunningError` if the socket does not answer, or `daemon` ends."""
    deadline = time.monotonic() + START_LIMIT
    while (found := running(path)) is None:
        if time.monotonic() > deadline or (daemon is not None and daemon.poll() is not None):
            raise NotRunningError(f"no daemon answers on {path}; `voiceauth doctor` may say why")
        time.sleep(POLL_INTERVAL)
    return found


def _user_unit_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "systemd" / "user"


def _unit_source(unit: str) -> Path:
    """The shipped unit: in a checkout, else where pip installs data files. Raises `StorageError`."""
    checkout = Path(voiceauthd.__file__).parents[2] / "systemd" / "user" / unit
    shared = Path(sysconfig.get_path("data")) / "share" / "voiceauthd" / "systemd" / "user" / unit
    for place in (checkout, shared):
        if place.is_file():
            return place
    raise StorageError(f"the unit {unit} is missing from this installation: install voiceauthd again")


def _daemon_command() -> str:
    """The daemon of this very installation."""
    script = Path(sys.executable).with_name("voiceauthd")
    return str(script) if script.exists() else f"{sys.executable} -m voiceauthd.service.main"


def _is_active(manager: list[str]) -> bool:
    return any(_run_systemctl(*manager, "is-active", "--quiet", unit).returncode == 0 for unit in UNITS)


def _systemctl(*words: str) -> None:
    done = _run_systemctl(*words)
    if done.returncode != 0:
        detail = (done.stderr.strip().splitlines() or ["no details"])[-1]
        raise NotRunningError(f"`systemctl {' '.join(words)}` failed: {detail}", "systemctl_failed")


def _run_systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemctl")
    if program is None:
        return subprocess.CompletedProcess(words, 1, "", "there is no systemctl")
    try:
        return subprocess.run([program, *words], capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {SYSTEMCTL_TIMEOUT:.0f} s")


def _last_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it wrote no log"
