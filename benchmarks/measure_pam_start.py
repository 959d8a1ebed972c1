"""How long `voiceauth-pam` takes from its start to its request on the socket: what a voice adds to every login.

    python benchmarks/measure_pam_start.py [RUNS]

Nothing answers: a socket listens, and the program is ended once its request is there.
"""

from __future__ import annotations

import os
import pwd
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("voiceauth-pam")

DEADLINE = 10.0
"""Seconds."""


def start_to_request(path: str, listening: socket.socket) -> float:
    """Seconds from just before the executable is started to when all of its request has arrived at `listening`."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    command = [PROGRAM, "--socket", path, "--timeout", "1", "--allow-root", "--daemon-user", user]
    asked = {"PAM_TYPE": "auth", "PAM_SERVICE": "login", "PAM_USER": user}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=asked, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(DEADLINE)
            request = b""
            while not request.endswith(b"\0"):
                request += connection.recv(65536)
            return time.perf_counter() - began
    finally:
        process.wait()


def times(runs: int, folder: str) -> list[float]:
    """Seconds of each of so many runs; `folder` is one that nobody else can write to. One run before them warms up."""
    path = os.path.join(folder, "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(DEADLINE)
        return [start_to_request(path, listening) for _ in range(runs + 1)][1:]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    # Not below /tmp: the program speaks to no socket in a folder where everybody may write.
    place = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", os.path.expanduser("~"))
    with tempfile.TemporaryDirectory(dir=place) as folder:
        found = sorted(1000 * seconds for seconds in times(runs, folder))
    median, load = statistics.median(found), os.getloadavg()[0]
    print(f"start to request: median {median:.1f} ms, {found[0]:.1f} to {found[-1]:.1f}, n {runs}; load {load:.1f}")


if __name__ == "__main__":
    main()
