"""The proof service, started as systemd would start it, in a private PAM; and its callers, as other users."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pam_room import PamRoom

PYTHON = Path("/usr/bin/python3")
"""The system's Python: other users may not read this project's virtual environment."""

ANN, BOB, STRANGER = 61_001, 61_002, 61_009
"""Two accounts with passwords, and a user without an account."""

ANNS, BOBS = "correct horse", "staple, battery"

QUICK = """\
auth    required  pam_unix.so nodelay
account required  pam_unix.so
"""
"""A wrong password is answered without a delay, which a real machine must not do."""

CALLER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(60)
    s.connect(sys.argv[1])
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    answer = b""
    while more := s.recv(65536):
        answer += more
sys.stdout.buffer.write(answer)
"""


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder in which only root could have put a socket, also considering the folders above it."""
    folder = Path(tempfile.mkdtemp(prefix="voiceauthd-", dir="/run"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


Vouch = Callable[[dict[str, Any]], bytes]


def what_is_missing() -> str | None:
    """Return why calls as another user are not possible here; None if they are."""
    if shutil.which("setpriv") is None or not PYTHON.exists():
        return "needs setpriv (util-linux) and the system's python3, to call as other users"
    return None


def good(_request: dict[str, Any]) -> bytes:
    """Return the daemon's answer to Vouch."""
    return b'{"parameters":{"proof":"the daemon\'s proof","expires":60.0}}\0'


class FakeDaemon:
    """Answers every call with `answer`; records `requests`, and the uids that made them in `callers`."""

    def __init__(self, path: Path, answer: Vouch = good) -> None:
        self.path, self.answer = path, answer
        self.requests: list[dict[str, Any]] = []
        self.callers: list[int] = []
        self._listener = _listener(path)
        threading.Thread(target=_accept, args=(self._listener, self._serve), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while not data.endswith(b"\0"):
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            self.callers.append(
                struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            )
            self.requests.append(json.loads(data[:-1]))
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(self.answer(self.requests[-1]))


class ProofService:
    """Starts `voiceauthd-prove` for each connection to `path`, in `room`; `log` is the log of all of them.

    before  Python code that runs first, with the module as `prove`
    """

    def __init__(self, room: PamRoom, daemon: Path, path: Path, before: str = "") -> None:
        self.room, self.path = room, path
        program = f"import sys\nfrom voiceauthd.login import prove\n{before}\nsys.exit(prove.main())"
        self._command = room.command(sys.executable, "-c", program, "--socket", str(daemon))
        self._log = (room.folder / "prove.log").open("ab")
        self._listener = _listener(self.path)
        self.codes: list[int] = []
        threading.Thread(target=_accept, args=(self._listener, self._serve), daemon=True).start()

    @property
    def log(self) -> str:
        return (self.room.folder / "prove.log").read_text(encoding="utf-8")

    def close(self) -> None:
        self._listener.close()
        self._log.close()

    def _serve(self, connection: socket.socket) -> None:
        with subprocess.Popen(
            self._command, stdin=connection, stdout=subprocess.DEVNULL, stderr=self._log, cwd="/"
        ) as process:
            connection.close()
            self.codes.append(process.wait(60))

    def send(self, uid: int, message: bytes) -> bytes:
        """Send a message as a user, and return the whole answer, which may be empty."""
        done = as_user(uid, str(PYTHON), "-I", "-c", CALLER, str(self.path), given=message)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, uid: int, password: object, **others: object) -> dict[str, Any]:
        """Return the answer to Prove."""
        call = {"method": "org.voiceauthd.proof.Prove", "parameters": {"password": password, **others}}
        answer = self.send(uid, json.dumps(call).encode() + b"\n")
        assert answer.endswith(b"\n"), answer
        return json.loads(answer)

    def proof(self, uid: int, password: str) -> str:
        """Return the proof for the right password."""
        return str(self.ask(uid, password)["parameters"]["proof"])


def as_user(uid: int, *command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command as another user, outside the private PAM."""
    become: Sequence[str] = () if uid == 0 else ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    return subprocess.run([*become, *command], input=given, capture_output=True, timeout=60, check=False, cwd="/")


def call_as(uid: int, path: Path, method: str, /, **parameters: object) -> dict[str, Any]:
    """Return the answer of the daemon on `path` to a user's call."""
    call = json.dumps({"method": f"org.voiceauthd.{method}", "parameters": parameters}).encode() + b"\n"
    done = as_user(uid, str(PYTHON), "-I", "-c", CALLER, str(path), given=call)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def furnish(room: PamRoom) -> None:
    """Create the accounts, and the service file that `make install` would create."""
    room.service("voiceauthd", QUICK)
    room.account("ann", ANN, ANNS)
    room.account("bob", BOB, BOBS)


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen()
    return listener


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
