"""Helpers for tests of `voiceauth-pam`: a scripted daemon, and running the executable."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from voiceauthd.client.remote_session import require_local
from voiceauthd.client.socket_owner import trusted_path
from voiceauthd.errors import DeniedError

PROGRAM = Path(sys.executable).with_name("voiceauth-pam")

USER = "games"
"""An account that exists on every Debian, and is not root."""

PAM_ENVIRONMENT = {"PAM_TYPE": "auth", "PAM_USER": USER, "PAM_SERVICE": "login", "PAM_TTY": "tty1"}

DEADLINE = 10.0
"""Seconds after which something that should have happened has not."""

Piece = bytes | float
"""Bytes that a daemon sends, or seconds that it waits."""


def fixed_folder() -> Iterator[Path]:
    """A folder in which no other user could have put a socket, unlike pytest's own, which are below /tmp."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), "/run" if os.geteuid() == 0 else None, os.path.expanduser("~")]
    for candidate in candidates:
        if candidate is None or not os.access(candidate, os.W_OK):
            continue
        folder = Path(tempfile.mkdtemp(prefix="voiceauth-test-", dir=candidate))
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(f"{folder}/probe")
            with contextlib.suppress(DeniedError):
                trusted_path(f"{folder}/probe", frozenset({os.geteuid()}))
                yield folder
                return
        finally:
            shutil.rmtree(folder)
    pytest.skip("no folder here that others cannot write to: /run, $XDG_RUNTIME_DIR, home")


def need_a_local_session() -> None:
    """Skip in a remote session, in which `voiceauth-pam` refuses everything."""
    try:
        require_local({})
    except DeniedError as problem:
        pytest.skip(f"voiceauth-pam refuses everything here: {problem}")


def message(*, continues: bool = False, error: str | None = None, **parameters: object) -> bytes:
    content: dict[str, object] = {"parameters": parameters}
    if error is not None:
        content["error"] = error
    elif continues:
        content["continues"] = True
    return json.dumps(content).encode() + b"\0"


def accept(request: Mapping[str, object], **changes: object) -> bytes:
    """Return the only answer that grants access; with changes, one that does not."""
    return message(**decided(request, **changes))


def decided(request: Mapping[str, object], **changes: object) -> dict[str, object]:
    return {
        "state": "decided", "outcome": "accept", "reason": "match", "advice": None, "name": request["name"],
        "nonce": request["nonce"], "net_speech": 2.5, "net_speech_needed": 2.0, "score": 9.0, "margin": 0.4,
        "threshold": 7.0, "calibrated": True, "policy": request["policy"], "expires": 10.0,
    } | changes  # fmt: skip


def progress(request: Mapping[str, object], state: str = "listening", **changes: object) -> bytes:
    parameters: dict[str, object] = {"name": request["name"], "net_speech": 0.0, "net_speech_needed": 2.0}
    return message(continues=True, state=state, **(parameters | changes))


class Daemon:
    """Answers the call on every connection with `answer` of its parameters; `hang` keeps the connection open then."""

    def __init__(
        self,
        path: Path,
        answer: Callable[[dict], Sequence[Piece]],
        *,
        hang: bool = True,
        listening: socket.socket | None = None,
    ) -> None:
        self.calls: list[dict] = []
        self.path = path
        self._answer, self._hang = answer, hang
        self._over = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX) if listening is None else listening
        if listening is None:
            self._listening.bind(str(path))
            self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._connections: list[threading.Thread] = []

    def __enter__(self) -> Daemon:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *self._connections):
            thread.join(DEADLINE)
        self._listening.close()
        self.path.unlink()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                thread = threading.Thread(target=self._answer_call, args=[connection])
                self._connections.append(thread)
                thread.start()

    def _answer_call(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while not data.endswith(b"\0"):
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            call = json.loads(data[:-1])
            self.calls.append(call)
            for step in self._answer(call["parameters"]):
                if self._over.is_set():
                    return
                if isinstance(step, bytes):
                    connection.sendall(step)
                else:
                    self._over.wait(step)
            if self._hang:
                connection.settimeout(0.05)
                while not self._over.is_set():
                    with contextlib.suppress(TimeoutError):
                        if not connection.recv(1):
                            return


@dataclass(frozen=True)
class Ended:
    """The result of a run: exit code (negative for a signal), lines of output, duration, standard error."""

    code: int
    lines: list[str]
    seconds: float
    errors: str = ""


def owner_arguments() -> list[str]:
    """Return the arguments that allow this process's user to own the socket."""
    return [] if os.geteuid() == 0 else ["--daemon-user", pwd.getpwuid(os.geteuid()).pw_name]


def run(
    socket_path: Path | str,
    *arguments: str,
    program: Path = PROGRAM,
    environment: Mapping[str, str] | None = None,
    **how: object,
) -> Ended:
    """Run the executable as pam_exec.so does: with only PAM's variables in the environment."""
    began = time.monotonic()
    ended = subprocess.run(
        [program, "--socket", str(socket_path), *owner_arguments(), *arguments],
        env=dict(PAM_ENVIRONMENT if environment is None else environment),
        timeout=70,
        check=False,
        **({"stdin": subprocess.DEVNULL, "capture_output": True} | how),
    )
    return Ended(
        ended.returncode,
        (ended.stdout or b"").decode().splitlines(),
        time.monotonic() - began,
        (ended.stderr or b"").decode(),
    )


class Environment:
    """A Python environment with a copy of the files of `voiceauth-pam`, for a test to damage."""

    SOURCES = ("__init__.py", "errors.py", "protocol", "client")

    def __init__(self, folder: Path) -> None:
        import compileall
        import venv

        import voiceauthd

        venv.create(folder, symlinks=True, with_pip=False)
        self.program = folder / "bin" / "voiceauth-pam"
        shutil.copy(PROGRAM, self.program)
        (site,) = folder.glob("lib/python*/site-packages")
        self.package = site / "voiceauthd"
        self.package.mkdir()
        for name in self.SOURCES:
            source = Path(voiceauthd.__file__).with_name(name)
            if source.is_dir():
                shutil.copytree(source, self.package / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.package / name)
        compileall.compile_dir(self.package, quiet=1)

    def modules(self) -> list[Path]:
        """Return the files of voiceauthd that a run imports."""
        code = (
            "import sys, voiceauthd.client.pam\n"
            "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('voiceauthd')), sep='\\n')"
        )
        python = self.program.with_name("python")
        run = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
        return sorted(map(Path, run.stdout.split()))

    @contextlib.contextmanager
    def broken(self, file: Path, content: bytes | None) -> Iterator[None]:
        """Replace a file's content temporarily; None removes the file."""
        original, status = file.read_bytes(), file.stat()
        file.unlink()
        if content is not None:
            file.write_bytes(content)
            file.chmod(status.st_mode)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            file.write_bytes(original)
            file.chmod(status.st_mode)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # makes its .pyc file valid again
